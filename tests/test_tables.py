"""Tables of results: formats, published rows, and warnings where protocols differ."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from evaluation import tables
from evaluation.tables import PUBLISHED, Protocol, Row, Table

GUO, OTHER = (SimpleNamespace(name="guo", released=released) for released in (True, False))
SCORES = {"FID": (0.0456, 0.002), "R@1": (0.5, 0.001), "R@3": (0.8, 0.002), "MM-Dist": (3.0, 0.01), "jerk_m_s3": (70.0, 1.0)}
REAL = {"FID": (0.002, 0.0), "R@1": (0.51, 0.001), "jerk_m_s3": (60.0, 1.0)}


def results(clips: int = 4640) -> dict:
    return {"masked, latest": {"clips": clips, "real": REAL, "ours": SCORES}}


def generation(clips: int = 4640, **changes) -> Table:
    usual = {"dataset": "t2m", "split": "test", "repeats": 20, "batches": 0, "judge": GUO, "variant": "lamp"}
    return tables.generation(Protocol(**(usual | changes)), results(clips))


def test_every_published_row_has_numbers_and_a_source():
    facts = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    for row in facts["rows"]:
        assert row["source"] and row["metrics"] and row["dataset"] in ("t2m", "kit")
        assert row["task"] in ("generation", "retrieval", "captioning")
        for name, value in row["metrics"].items():
            assert 0 < value < (1 if name.startswith("R@") else 100)
    keys = [(row["method"], row["task"], row["dataset"], row["setting"]) for row in facts["rows"]]
    assert len(keys) == len(set(keys))


def test_published_rows_are_those_of_the_readme():
    text = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    heads, rows = re.search(r"^\| (\| FID \|.*\|)\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE).groups()
    metrics = {row.method: row.values for row in tables.published("generation", "t2m", "guo")[0]}
    names = heads.strip("| ").split(" | ")
    for row in rows.splitlines():
        method, *numbers = row.strip("| ").split(" | ")
        assert [metrics[method][name][0] for name in names] == [float(number) for number in numbers], method


def test_ours_stands_beside_published_rows_and_real_motion():
    table = generation()
    methods = [row.method for row in table.rows]
    assert methods[0] == "real motion" and methods[-1] == "masked, latest" and "LaMP (paper)" in methods and "MoMask" in methods
    assert table.columns == ["FID", "R@1", "R@3", "MM-Dist", "MultiModality"]  # nobody has R@2; physics is no part of it
    assert "protocol 'lamp'" in table.warnings[0] and len(table.warnings) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"judge": OTHER}, "not the released matching evaluator"),
        ({"repeats": 5}, "5 repeats; published results have 20"),
        ({"batches": 3}, "only 3 batches"),
        ({"split": "val"}, "split 'val'"),
        ({"clips": 4000}, "4000 clips; the full batches of the published test split have 4640"),
        ({"clips": 64}, "not reliable below 300"),
        ({"variant": "standard"}, "LaMP (paper): its released code evaluates the first caption"),
        ({"dataset": "open"}, "results on 'open' cannot be compared"),
        ({"dataset": "kit"}, "MoMask: its abstract gives FID 0.228"),
    ],
)
def test_other_protocols_are_warned_of(changes, expected):
    assert any(expected in line for line in generation(**changes).warnings)


def test_other_datasets_have_no_published_rows():
    assert [row.method for row in generation(dataset="open").rows] == ["real motion", "masked, latest"]


def test_the_papers_judge_has_the_papers_row():
    table = generation(judge=SimpleNamespace(name="lamp", released=False))
    assert [row.values["R@1"][0] for row in table.rows if row.method == "LaMP (paper)"] == [0.867]
    assert any("not the released LaMP" in line for line in table.warnings)


OURS, THEIRS = Row("a_b", {"FID": (0.1234, 0.01), "R@1": (float("nan"), None)}), Row("B & C", {"FID": (0.5, None)}, "", "x")
TABLE = Table(("FID", "R@1"), [OURS, THEIRS], ["w"])


def test_markdown():
    head, rule, first, second, _, warning = TABLE.render("markdown").splitlines()
    assert head == "| method | FID ↓ | R@1 ↑ | source |"
    assert set(rule) <= set("|- ") and first == "| a_b | 0.123 ± 0.010 | - | this evaluation |"
    assert second == "| B & C | 0.500 | - | x |" and warning == "warning: w"


def test_latex_is_escaped_and_has_rules():
    text = TABLE.render("latex")
    assert r"a\_b & $0.123^{\pm 0.010}$ & - \\" in text and r"B \& C & 0.500 & - \\" in text
    assert text.startswith("% warning: w\n% B & C: x\n\\begin{tabular}{lrr}\n\\toprule\n")
    assert r"method & FID $\downarrow$ & R@1 $\uparrow$ \\" in text
    assert text.count(r"\midrule") == 2 and text.endswith("\\bottomrule\n\\end{tabular}")


def test_csv_has_all_digits_and_reads_back():
    rows = list(csv.DictReader(io.StringIO(TABLE.render("csv"))))
    assert rows[0]["FID"] == "0.1234" and rows[0]["FID ±"] == "0.01" and rows[0]["R@1"] == "" and rows[0]["warnings"] == "w"
    assert rows[1]["method"] == "B & C" and rows[1]["warnings"] == "" and rows[1]["source"] == "x"


def test_retrieval_has_a_block_per_protocol_and_direction():
    scores = {"R@1": 0.5, "R@10": 0.9, "median_rank": 1.0}
    facts = {"split": "test", "caption": 1, "pool": "mean", "rerank": 0}
    protocols = {kind: {"text_to_motion": scores, "motion_to_text": scores} for kind in ("all", "batches")}
    table = tables.retrieval("t2m", "lamp", {**facts, "protocols": protocols})
    assert [(row.setting, row.method) for row in table.rows] == [
        ("all, text to motion", "lamp"), ("all, motion to text", "lamp"), ("batches, text to motion", "LaMP (paper)"),
        ("batches, text to motion", "lamp"), ("batches, motion to text", "lamp"),
    ]  # fmt: skip
    assert table.columns == ["R@1", "R@10", "median rank"] and len(table.warnings) == 1
    changed = {"pool": "max", "caption": 0, "rerank": 9, "split": "val", "protocols": protocols}
    assert len(tables.retrieval("t2m", "lamp", changed).warnings) == 5


def test_captioning_has_a_block_per_kind_of_references():
    metrics = {"BLEU-4 (raw)": (7.0, 0.0), "BLEU-4 (tokens)": (20.0, 0.0), "R@1": (0.5, 0.0)}
    protocol = Protocol("t2m", "test", 1, 0, GUO)
    table = tables.captioning(protocol, "m2t", {"people": metrics, "ours": metrics}, ["raw", "tokens"], 4640, "BERTScore: MiniLM")
    assert [(row.setting, row.method) for row in table.rows] == [
        (kind, method) for kind in ("raw", "tokens") for method in ("people", "TM2T", "m2t")
    ]
    assert table.rows[2].values == {"BLEU-4": (7.0, None), "BLEU-4 (tokens)": (20.0, None), "R@1": (0.5, None)}
    assert table.columns == ["BLEU-4", "CIDEr", "R@1"]
    assert table.warnings == ["BERTScore: MiniLM; published BERTScores use roberta-large"]


def test_a_table_is_printed_and_written(tmp_path, capsys):
    tables.write_table(tmp_path, "rows", None, TABLE)
    assert not list(tmp_path.iterdir())
    for form, suffix in tables.SUFFIXES.items():
        tables.write_table(tmp_path, "rows", form, TABLE)
        assert (tmp_path / f"rows.{suffix}").read_text(encoding="utf-8") == capsys.readouterr().out
