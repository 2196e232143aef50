"""Flags of the evaluation scripts: one frozen dataclass per script."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import DATASETS, PRECISIONS, BertScored, Common, Configured, Judged, OnDataset, Split, Tabled, option
from options.files import SKELETONS, InputFiles, WrittenFiles
from options.generate import Captioning


@dataclass(frozen=True)
class EvalVQ(Tabled, Judged, Split, OnDataset, Configured, Common):
    """Evaluate a tokeniser's reconstructions."""

    name: str = option("", "tokeniser run (train_vq.py --name); its folder is <checkpoints_dir>/<dataset_name>/<name>")
    which_epoch: str = option("", "weights of the run, such as latest; default: the best, else the latest")
    repeat_times: int = option(20, "evaluation passes, each with different random draws")
    ext: str = option("reconstruction", "name of the result files: eval/<ext>.log and eval/<ext>.json")


@dataclass(frozen=True)
class StoreSplits(OnDataset):
    """Flags of `python -m evaluation.stored`: stores splits as an evaluator sees them, to evaluate without the dataset."""

    name: str = option("evaluator", "evaluator run (train_evaluator.py --name), as released")
    dataset_name: str = option("open", "dataset", choices=DATASETS)
    checkpoints_dir: str = option("./checkpoints", "folder of checkpoint folders")
    splits: list[str] = option(["test"], "splits to store", nargs="+")


@dataclass(frozen=True)
class EvalT2M(Tabled, BertScored, Judged, Split, OnDataset, Configured, Common):
    """Evaluate text to motion by the published protocol."""

    evaluator: str = option("guo", "evaluator: Guo's matching model, or LaMP (the paper's table 2)", choices=("guo", "lamp"))
    name: str = option("", "masked transformer to evaluate; default: the only one in --checkpoints_dir, else the embedded one")
    res_name: str = option("", "residual transformer that goes with --name")
    which_epoch: str = option("", "weights of --name, such as latest; default: every weights file of the run")
    protocol: str = option(
        "standard", "standard: random captions; lamp: as in LaMP's release, each clip's first caption in the split's order",
        choices=("standard", "lamp"),
    )  # fmt: skip
    repeat_times: int = option(20, "evaluation passes, each with different random draws")
    mm_batches: int = option(3, "batches of texts for MultiModality, 30 motions per text; 0: no MultiModality")
    batch_size: int = option(256, "motions generated at a time")
    time_steps: int = option(10, "sampling steps of the masked transformer")
    cond_scale: float | None = option(None, "guidance scale of the base tokens; 1: none; default: 4, embedded weights 2")
    res_cond_scale: float | None = option(None, "guidance scale of the residual tokens; 1: none; default: 5, embedded weights 2")
    temperature: float = option(1.0, "sampling temperature; above 1 more varied, below 1 more certain")
    choice_temperature: float | None = option(
        None, "noise on the order in which base tokens are kept; 0: the most certain first; default: 0, embedded weights 4"
    )
    topkr: float = option(0.9, "fraction of the codes, least likely first, that are never sampled, 0 to 1")
    precision: str = option(
        "auto", "precision of the transformers; auto: bf16 on GPUs and CPUs that compute in bf16, else fp32", choices=PRECISIONS
    )
    lamp_bertscore: bool = option(False, "also LaMP-BertScore: caption the motions and compare the captions with the prompts")
    captioner: str = option("", "captioner of LaMP-BertScore; default: the only one in --checkpoints_dir, else the embedded one")
    ext: str = option("text2motion", "name of the result files: eval/<ext>.log and eval/<ext>.json")


@dataclass(frozen=True)
class EvalRetrieval(Tabled, InputFiles, WrittenFiles, OnDataset, Configured, Common):
    """Evaluate text-motion retrieval with LaMP, or with --query search motions."""

    name: str = option(
        "", "LaMP run (train_lamp.py --name); default: the only one in --checkpoints_dir, else the embedded one",
        flags=("--lamp_name",)
    )
    dataset_name: str | None = option(
        None, "dataset; default: t2m, or with --query the one whose folder holds a LaMP run", choices=DATASETS
    )
    split: str = option("test", "split to evaluate: the file <split>.txt of the dataset folder")
    protocol: list[str] = option(
        ["all", "threshold", "dissimilar", "batches"], "protocols; they differ in the gallery and in what counts as a match",
        choices=("all", "threshold", "dissimilar", "batches"), nargs="+",
    )  # fmt: skip
    pool: str = option("max", "how the similarities of the queries are pooled", choices=("max", "mean"))
    rerank: int = option(0, "number of top matches to re-rank with the matching head; 0: none")
    caption: int = option(1, "which caption of each clip to use, from 1; clips with fewer: the last; 0: random, by --seed")
    which_epoch: str = option("", "weights of the run, such as latest; default: the best, else the latest")
    ext: str = option("retrieval", "name of the results: eval/<ext>.log and .json; with --query the folder <output_dir>/<ext>")
    query: str = option("", "text to search motions by, instead of evaluating")
    strict: bool = option(False, "refuse a --query that the weights do not know, with exit code 2; default: print a note")
    motions: str = option("", "folder of motion files to search; default: the motions of the dataset")
    top: int = option(5, "number of motions to return")
    formats: list[str] = option(
        [], "formats in which to write the matches; default: none, only print them",
        choices=("html", "npy", "bvh", "glb", "smpl", "fbx", "mp4", "gif", "png"), nargs="+",
    )  # fmt: skip
    skeleton: str = option(
        "symmetric",
        "bone lengths of animated skeletons: HumanML3D's (standard); the motion's, averaged over left and right (symmetric); "
        "the motion's (fitted)",
        choices=SKELETONS,
    )  # fmt: skip
    output_dir: str = option("./generation", "folder of result folders")


@dataclass(frozen=True)
class EvalM2T(Tabled, BertScored, Judged, Split, OnDataset, Configured, Captioning):
    """Evaluate captions of a split's motions against human captions. Size flags, if given, must match the captioner's."""

    name: str = option("", "name of the results, and of the captioner run unless --resume_trans is given", flags=("--exp_name",))
    dataset_name: str = option("t2m", "dataset", choices=DATASETS, flags=("--dataname",))
    out_dir: str = option("", "results go to <out_dir>/<dataset_name>/<name>/eval; default: checkpoints_dir")
    references: list[str] = option(
        ["raw", "tokens"], "references: captions as written, or HumanML3D's processed tokens",
        choices=("raw", "tokens"), nargs="+",
    )  # fmt: skip
    repeat_times: int = option(1, "evaluation passes, each with different crops; more than one gives confidence intervals")
    samples: int = option(12, "number of captions to print and to show, with their motions, in <ext>.html")
    ext: str = option("captioning", "name of the result files: eval/<ext>.log, .json and .html")
