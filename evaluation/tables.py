"""Results of an evaluation as a LaTeX, Markdown or CSV table, together with published results on the same dataset.

Published results are in `published.json`, each with its source. For each difference between the evaluation and the published
protocol, such as another evaluator or fewer repeats, the table has a warning.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.judges import Judge
from evaluation.report import FEW
from utils.checkpoint import atomic_path

PUBLISHED = Path(__file__).with_name("published.json")
SUFFIXES = {"latex": "tex", "markdown": "md", "csv": "csv"}
OURS = "this evaluation"  # the source of rows that are not published
# Arrow → metrics. ↓: lower is better; →: closer to real motion is better; "": no arrow. All other metrics have ↑: higher is better.
ARROWS = {"↓": ("FID", "MM-Dist", "MPJPE, mm", "median rank"), "→": ("Diversity",), "": ("MultiModality",)}
ONE_DIGIT = ("median rank", "MPJPE, mm", "BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr", "BERTScore")
GENERATION = ("FID", "R@1", "R@2", "R@3", "MM-Dist", "Diversity", "MultiModality")
CAPTIONING = ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr", "BERTScore", "R@1", "R@2", "R@3", "MM-Dist")
DIRECTIONS = {"text_to_motion": "text to motion", "motion_to_text": "motion to text"}
LATEX = str.maketrans({char: f"\\{char}" for char in "_%&#$"} | {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "→": r"$\rightarrow$"})

Value = tuple[float, float | None]  # mean, and half the width of its 95 % confidence interval


@dataclass(frozen=True)
class Row:
    """The results of one method, as a row of a table.

    Only rows with the same `setting`, such as the retrieval protocol, are comparable; "": the table has no settings.
    """

    method: str
    values: Mapping[str, Value]
    setting: str = ""
    source: str = OURS


class Protocol(NamedTuple):
    """The settings of an evaluation that affect its comparison with published results.

    Attributes:
        batches: value of --num_batch: batches per pass, 0 for all.
        variant: value of --protocol.
    """

    dataset: str
    split: str
    repeats: int
    batches: int
    judge: Judge
    variant: str = "standard"


@dataclass(frozen=True)
class Table:
    """A table of results. `names` are the possible columns. Rows and columns are displayed in the given order."""

    names: Sequence[str]
    rows: Sequence[Row]
    warnings: Sequence[str] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """The names of the columns in which at least one row has a number."""
        return [name for name in self.names if any(name in row.values for row in self.rows)]

    @property
    def has_settings(self) -> bool:
        """Whether the table needs a column for the settings."""
        return any(row.setting for row in self.rows)

    def render(self, form: str) -> str:
        """The table as text in the format latex, markdown or csv."""
        return {"latex": self._latex, "markdown": self._markdown, "csv": self._csv}[form]()

    def _heads(self) -> list[str]:
        setting = ["setting"] if self.has_settings else []
        return [*setting, "method", *(f"{name} {arrow(name)}".strip() for name in self.columns)]

    def _names(self, row: Row) -> list[str]:
        return [*([row.setting] if self.has_settings else []), row.method]

    def _markdown(self) -> str:
        heads = [*self._heads(), "source"]
        rows = [[*self._names(row), *self._cells(row, "{0} ± {1}"), row.source] for row in self.rows]
        lines = [heads, ["---"] * len(heads), *rows]
        text = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
        return text + "".join(f"\n\nwarning: {line}" for line in self.warnings)

    def _latex(self) -> str:
        texts = 1 + self.has_settings
        lines = [f"% warning: {line}" for line in self.warnings]
        lines += [f"% {', '.join(self._names(row))}: {row.source}" for row in self.rows if row.source != OURS]
        lines += [rf"\begin{{tabular}}{{{'l' * texts}{'r' * len(self.columns)}}}", r"\toprule"]
        lines.append(" & ".join(head.translate(LATEX) for head in self._heads()) + r" \\")
        previous = None
        for row in self.rows:
            if (block := (row.setting, row.source == OURS)) != previous:
                lines.append(r"\midrule")
                previous = block
            names = [name.translate(LATEX) for name in self._names(row)]
            lines.append(" & ".join([*names, *self._cells(row, "${0}^{{\\pm {1}}}$")]) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])

    def _csv(self) -> str:
        """The table as CSV: numbers with all digits, and a separate column for each interval."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        pairs = [part for name in self.columns for part in (name, f"{name} ±")]
        writer.writerow(["setting", "method", *pairs, "source", "warnings"])
        for row in self.rows:
            numbers = [value for name in self.columns for value in row.values.get(name, (None, None))]
            shown = ["" if value is None or math.isnan(value) else repr(value) for value in numbers]
            writer.writerow([row.setting, row.method, *shown, row.source, "; ".join(self.warnings) if row.source == OURS else ""])
        return stream.getvalue().rstrip("\n")

    def _cells(self, row: Row, with_interval: str) -> Iterator[str]:
        for name in self.columns:
            mean, half = row.values.get(name, (None, None))
            if mean is None or math.isnan(mean):
                yield "-"
            else:
                number = digits(name).format(mean)
                yield number if half is None else with_interval.format(number, digits(name).format(half))


def arrow(name: str) -> str:
    """The arrow that shows which values of a metric are better (see `ARROWS`)."""
    return next((sign for sign, names in ARROWS.items() if name in names), "↑")


def digits(name: str) -> str:
    """The format string that sets the number of decimals of a metric's values."""
    return "{:.1f}" if name in ONE_DIGIT else "{:.3f}"


def write_table(folder: Path, ext: str, form: str | None, table: Table) -> None:
    """Print a table in the format `form` and write it to `<ext>.tex`, `.md` or `.csv`. Without a format, do nothing."""
    if not form:
        return
    text = table.render(form)
    print(text)
    with atomic_path(folder / f"{ext}.{SUFFIXES[form]}") as path:
        path.write_text(text + "\n", encoding="utf-8")


# Published rows


def published(task: str, dataset: str, setting: str, variant: str = "") -> tuple[list[Row], list[str]]:
    """Return published results and notes about them, for a task (generation, reconstruction, retrieval or captioning).

    `setting` is, for example, the retrieval protocol. Notes that do not apply to the evaluation protocol `variant` are left out.
    """
    entries = [
        row
        for row in json.loads(PUBLISHED.read_text(encoding="utf-8"))["rows"]
        if (row["task"], row["dataset"], row["setting"]) == (task, dataset, setting)
    ]
    metrics = [{name: (value, None) for name, value in row["metrics"].items()} for row in entries]
    rows = [Row(row["method"], values, setting, row["source"]) for row, values in zip(entries, metrics)]
    notes = [f"{row['method']}: {row['note']}" for row in entries if "note" in row and row.get("unless", "") != (variant or None)]
    return rows, notes


def missing(task: str, dataset: str, rows: Sequence[Row]) -> list[str]:
    """Return a list with one warning if `rows` contains no published row; otherwise, return []."""
    if any(row.source != OURS for row in rows):
        return []
    if dataset not in ("t2m", "kit"):
        return [f"results on '{dataset}' cannot be compared with published results, which are on HumanML3D and KIT-ML"]
    return [f"no published {task} result of this setting on '{dataset}' is known"]


def differences(protocol: Protocol, clips: int) -> Iterator[str]:
    """Warnings about differences between an evaluation of `clips` clips and the published protocol."""
    standard = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    if protocol.judge.name == "none":
        yield "no evaluator: FID, R-precision and MM-Dist are missing"
    elif not protocol.judge.released:
        name = {"guo": "the released matching evaluator", "lamp": "the released LaMP"}[protocol.judge.name]
        yield f"the evaluator is not {name}; therefore, FID, R-precision and MM-Dist cannot be compared with published results"
    if protocol.split != "test":
        yield f"split '{protocol.split}'; published results are on the test split"
    if protocol.batches:
        yield f"only {protocol.batches} batches of 32 clips (--num_batch); published results use the whole split"
    if protocol.repeats != standard["repeats"]:
        yield f"{protocol.repeats} repeats; published results have {standard['repeats']}"
    if not protocol.batches and clips < standard["clips"].get(protocol.dataset, 0):
        yield f"{clips} clips; the full batches of the published test split have {standard['clips'][protocol.dataset]}"
    if clips < FEW:
        yield f"only {clips} clips: FID and Diversity are not reliable below {FEW} clips"
    if protocol.variant != "standard":
        yield f"protocol '{protocol.variant}' uses first captions; published results other than LaMP's use random captions"


# Tables of each evaluation


def generation(protocol: Protocol, results: Mapping[str, Mapping[str, Any]]) -> Table:
    """The results table of text-to-motion generation. `results` maps row names to results of `evaluation.protocol.evaluate`."""
    rows, notes = published("generation", protocol.dataset, protocol.judge.name, protocol.variant)
    first = next(iter(results.values()))
    warnings = [*missing("generation", protocol.dataset, rows), *differences(protocol, first["clips"]), *notes]
    evaluated = [Row(name, pairs(of_row["ours"])) for name, of_row in results.items()]
    return Table(GENERATION, [Row("real motion", pairs(first["real"])), *unset(rows), *evaluated], warnings)


def reconstruction(protocol: Protocol, name: str, results: Mapping[str, Any]) -> Table:
    """The results table of a tokeniser. `results` come from eval_t2m_vq.py, with the key `judged` if there is an evaluator."""
    judged = results.get("judged")
    values = {"MPJPE, mm": (results["mpjpe_mm"], None)} | (pairs(judged["ours"]) if judged else {})
    rows = unset(published("reconstruction", protocol.dataset, protocol.judge.name)[0])
    warnings = [*missing("reconstruction", protocol.dataset, rows), *differences(protocol, (judged or results)["clips"])]
    real = [Row("real motion", pairs(judged["real"]))] if judged else []
    return Table(("MPJPE, mm", *GENERATION), [*real, *rows, Row(name, values)], warnings)


def retrieval(dataset: str, name: str, results: Mapping[str, Any]) -> Table:
    """The results table of retrieval, with a block of rows per protocol and direction. `results` come from eval_retrieval.py."""
    rows, warnings = [], []
    for kind, scores in results["protocols"].items():
        for direction, title in DIRECTIONS.items():
            setting = f"{kind}, {title}"
            published_rows, notes = published("retrieval", dataset, setting)
            values = {metric.replace("_", " "): (value, None) for metric, value in scores[direction].items()}
            rows += [*published_rows, Row(name, values, setting)]
            warnings += notes
    warnings = [*missing("retrieval", dataset, rows), *retrieval_differences(results), *warnings]
    return Table([*("R@1", "R@2", "R@3", "R@5", "R@10"), "median rank"], rows, warnings)


def retrieval_differences(results: Mapping[str, Any]) -> Iterator[str]:
    """Warnings about differences between a retrieval evaluation and the published protocol."""
    if results["split"] != "test":
        yield f"split '{results['split']}'; published results are on the test split"
    if results["caption"] != 1:
        yield "clips are not paired with their first caption (--caption)"
    if results["pool"] != "mean":
        yield "similarity is the maximum over queries; LaMP's released code takes the mean (--pool mean)"
    if results["rerank"]:
        yield f"the best {results['rerank']} matches are re-ranked by the matching head (--rerank)"
    if {"threshold", "dissimilar"} & set(results["protocols"]):
        yield "captions are compared with MiniLM; TMR's threshold and dissimilar protocols use another text encoder"


def captioning(
    protocol: Protocol, name: str, results: Mapping[str, Any], references: Iterable[str], clips: int, bert: str
) -> Table:
    """The results table of captioning, with a block of rows per kind of references ("raw" or "tokens").

    `results` come from M2T_eval.py; `bert` describes the BERTScore setting.
    """
    rows, notes = [], []
    for kind in references:
        published_rows, further_notes = published("captioning", protocol.dataset, kind)
        human = [Row("people", of_kind(results["people"], kind), kind)] if results["people"] else []
        rows += [*human, *published_rows, Row(name, of_kind(results["ours"], kind), kind)]
        notes += further_notes
    warnings = [*missing("captioning", protocol.dataset, rows), *differences(protocol._replace(repeats=20), clips), *notes]
    if "roberta-large" not in bert:
        warnings.append(f"{bert}; published BERTScores use roberta-large")
    return Table(CAPTIONING, rows, warnings)


def of_kind(values: Mapping[str, Any], kind: str) -> dict[str, Value]:
    """The scores against references of one `kind`, named without the suffix for the kind: `BLEU-4 (raw)` becomes `BLEU-4`."""
    return pairs({name.removesuffix(f" ({kind})"): value for name, value in values.items()})


def pairs(values: Mapping[str, Sequence[float]]) -> dict[str, Value]:
    """Metrics as (mean, half-width of its confidence interval); the half-width 0 of a single pass is replaced by None."""
    return {name: (mean, half or None) for name, (mean, half) in values.items()}


def unset(rows: Iterable[Row]) -> list[Row]:
    """Return copies of rows without their setting, for tables in which all rows have the same setting."""
    return [Row(row.method, row.values, "", row.source) for row in rows]
