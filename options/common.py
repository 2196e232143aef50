"""Declaration of flags, and groups of flags that several scripts share.

`option(default, help)` declares a flag; `options/cli.py` builds the parser from these declarations. The modules in `options/`
do not import torch, because importing torch would slow down `--help`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

PRECISIONS = ("auto", "fp32", "bf16")
DATASETS = ("t2m", "kit", "open", "synthetic")
DATASET_HELP = "t2m: HumanML3D; kit: KIT-ML; open, synthetic: the datasets of these names in docs/data.md"


def option(
    default: Any,
    help: str,
    *,
    choices: tuple | None = None,
    flags: tuple[str, ...] = (),
    nargs: str | int | None = None,
    positional: bool = False,
) -> Any:
    """Declare a dataclass field that is a command-line flag or, with `positional`, a positional argument.

    `flags` are other names of the flag. If `default` is None, the script chooses the flag's value at run time.
    """
    metadata = {"help": help, "choices": choices, "flags": flags, "nargs": nargs, "positional": positional}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Common:
    """Flags that most scripts share.

    `legacy` maps the names of the legacy flags (options/legacy.py) that were given on the command line to their values.
    """

    name: str = option("", "name of the run to train; its folder is <checkpoints_dir>/<dataset_name>/<name>")
    dataset_name: str = option("t2m", f"dataset; {DATASET_HELP}", choices=DATASETS)
    checkpoints_dir: str = option("./checkpoints", "folder that contains the folders of all runs")
    gpu_id: int | None = option(None, "index of the CUDA device; -1 selects the CPU; default: 0 if CUDA is available, otherwise -1")
    seed: int = option(3407, "random seed")
    legacy: dict[str, Any] = field(default_factory=dict)
    resumes_from_opt: ClassVar[bool] = True  # whether --is_continue reads flags from the run's opt.txt


@dataclass(frozen=True)
class Configured:
    """The flag `--config`, which reads other flags from a file (`options.cli.read_config`)."""

    config: str = option(
        "", "file that sets flags, with one `flag: value` per line as in opt.txt; flags on the command line take precedence"
    )


@dataclass(frozen=True)
class OnDataset:
    """Flags of scripts that read a dataset."""

    data_root: str = option("", "dataset folder; default: the folder of the dataset under dataset/")
    cache_dir: str = option(
        "", "folder for cached files; default: the dataset folder, or ~/.cache if the dataset folder is read-only"
    )


@dataclass(frozen=True)
class Split:
    """Flags of scripts that evaluate a split."""

    split: str = option("test", "split to evaluate; the file <split>.txt in the dataset folder lists the clips of the split")
    num_batch: int = option(0, "number of batches of 32 clips in each evaluation pass; 0: all clips")


@dataclass(frozen=True)
class Judged:
    """Flags that choose the evaluator. FID, R-precision and MM-Dist are computed from the embeddings of the evaluator."""

    evaluator: str = option(
        "guo", "evaluator; guo: the matching model of Guo et al.; lamp: LaMP; none: no evaluator", choices=("guo", "lamp", "none")
    )
    evaluator_name: str = option(
        "",
        "evaluator run (train_evaluator.py --name); default: the released evaluator or, if this evaluator is missing, the only "
        "evaluator run of the dataset",
    )


@dataclass(frozen=True)
class Sampled:
    """Flags of scripts that sample motions."""

    cond_scale: float | None = option(
        None, "guidance scale of the base tokens; 1: no guidance; default: 4, or 2 with the embedded weights"
    )
    res_cond_scale: float | None = option(
        None, "guidance scale of the residual tokens; 1: no guidance; default: 5, or 2 with the embedded weights"
    )
    temperature: float = option(1.0, "sampling temperature, above 0; higher values give more varied motions")
    choice_temperature: float | None = option(
        None, "scale of the random noise that is added to the confidence of each sampled base token; each sampling step keeps the "
        "tokens with the highest sum of confidence and noise; 0: no noise; default: 0, or 4 with the embedded weights",
    )  # fmt: skip
    topkr: float = option(
        0.9, "fraction of the codes, 0 to 1, that is excluded from sampling, beginning with the least likely code"
    )
    precision: str = option(
        "auto", "precision of the transformers; auto: bf16 on GPUs and CPUs that support bf16 natively, fp32 on all other devices",
        choices=PRECISIONS,
    )  # fmt: skip


@dataclass(frozen=True)
class Selected:
    """Flags for generating several motions for each result and keeping the best of them."""

    candidates: int | None = option(
        None, "number of motions to generate for each result; the selector or, if there is no selector, LaMP's matching head "
        "keeps the motion that matches the prompt best; default: 1, or 8 with the embedded weights",
    )  # fmt: skip
    selector_name: str = option(
        "", "run of the selector (train_selector.py --name) that chooses the motion to keep if --candidates is above 1"
    )


@dataclass(frozen=True)
class Prompted(Selected):
    """Flags for the generation of motions from prompts.

    The flags set how many motions are generated for each result, which of these motions is kept, whether the steps of a prompt
    (actions in sequence) are generated separately, and whether two simultaneous actions are generated separately.
    """

    stepwise: bool = option(
        True, 'if a prompt describes several actions in sequence ("squats, then jumps"), generate one action after another, and '
        'keep the best of --candidates motions for each action; requires a masked transformer that was trained with --infill',
    )  # fmt: skip
    layered: bool = option(
        True, 'if a prompt describes two simultaneous actions ("walks while waving"), generate one motion for the whole prompt and '
        'one motion for each action; if one action is a gesture, the result is composed of the motions of the two actions; '
        'otherwise, the result is the motion of the whole prompt; requires a masked transformer that was trained with --infill',
    )  # fmt: skip


@dataclass(frozen=True)
class Tabled:
    """Flags of scripts that report metrics."""

    table: str | None = option(
        None, "also print a table that compares the results with published results, and write this table next to the report as "
        ".tex, .md or .csv",
        choices=("latex", "markdown", "csv"),
    )  # fmt: skip


@dataclass(frozen=True)
class BertScored:
    """Flags of the metric BERTScore."""

    bert_score: str = option(
        "", "name or folder of the model that computes BERTScore; default: roberta-large if it is available, otherwise MiniLM"
    )
    bert_score_layer: int = option(
        0, "layer whose features BERTScore compares; 0: the default layer of the package bert-score or, if --bert_score is a "
        "folder, the last layer",
    )  # fmt: skip
