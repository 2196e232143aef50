"""Flags of the evaluation scripts: one frozen dataclass per script."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import DATASETS, BertScored, Common, Configured, Judged, OnDataset, Sampled, Split, Tabled, option
from options.files import SKELETONS, InputFiles, WrittenFiles
from options.generate import Captioning


@dataclass(frozen=True)
class EvalVQ(Tabled, Judged, Split, OnDataset, Configured, Common):
    """Evaluate a tokeniser's reconstructions."""

    name: str = option("", "tokeniser run (train_vq.py --name); its folder is <checkpoints_dir>/<dataset_name>/<name>")
    which_epoch: str = option("", "name of the weights to evaluate, such as latest; default: the best, else the latest")
    repeat_times: int = option(20, "number of evaluation passes, each with different random numbers")
    ext: str = option("reconstruction", "name of the result files: eval/<ext>.log and eval/<ext>.json")


@dataclass(frozen=True)
class StoreSplits(OnDataset):
    """Store the captions and motion embeddings of splits, so that generated motions can be evaluated without the dataset."""

    name: str = option("evaluator", "evaluator run (train_evaluator.py --name) whose weights will be distributed")
    dataset_name: str = option("open", "dataset", choices=DATASETS)
    checkpoints_dir: str = option("./checkpoints", "folder that contains the folders of all runs")
    splits: list[str] = option(["test"], "splits to store", nargs="+")


@dataclass(frozen=True)
class EvalT2M(Sampled, Tabled, BertScored, Judged, Split, OnDataset, Configured, Common):
    """Evaluate text to motion by the published protocol."""

    evaluator: str = option("guo", "evaluator: Guo's matching model, or LaMP (the paper's table 2)", choices=("guo", "lamp"))
    name: str = option("", "masked transformer to evaluate; default: the only one in --checkpoints_dir, else the embedded one")
    res_name: str = option("", "residual transformer to use with --name")
    which_epoch: str = option("", "name of the weights to evaluate, such as latest; default: every weights file of the run")
    protocol: str = option(
        "standard", "standard: a random caption of each clip; lamp: each clip's first caption, in the order of the split, as in "
        "LaMP's release",
        choices=("standard", "lamp"),
    )  # fmt: skip
    repeat_times: int = option(20, "number of evaluation passes, each with different random numbers")
    mm_batches: int = option(3, "batches of captions for MultiModality, with 30 motions per caption; 0: do not compute it")
    batch_size: int = option(256, "number of motions generated at once")
    time_steps: int = option(10, "sampling steps of the masked transformer")
    lamp_bertscore: bool = option(
        False, "also compute LaMP-BertScore: caption the motions and compare the captions with the prompts"
    )
    captioner: str = option("", "captioner for LaMP-BertScore; default: the only one in --checkpoints_dir, else the embedded one")
    ext: str = option("text2motion", "name of the result files: eval/<ext>.log and eval/<ext>.json")


@dataclass(frozen=True)
class EvalRetrieval(Tabled, InputFiles, WrittenFiles, OnDataset, Configured, Common):
    """Evaluate text-motion retrieval with LaMP, or search motions with --query."""

    name: str = option(
        "", "LaMP run (train_lamp.py --name); default: the only one in --checkpoints_dir, else the embedded one",
        flags=("--lamp_name",)
    )
    dataset_name: str | None = option(
        None, "dataset; default: t2m, or with --query the dataset for which --checkpoints_dir has a LaMP run", choices=DATASETS
    )
    split: str = option("test", "split to evaluate; <split>.txt in the dataset folder lists its clips")
    protocol: list[str] = option(
        ["all", "threshold", "dissimilar", "batches"], "protocols; they differ in the gallery and in what counts as a match",
        choices=("all", "threshold", "dissimilar", "batches"), nargs="+",
    )  # fmt: skip
    pool: str = option("max", "how the similarities of the queries are pooled", choices=("max", "mean"))
    rerank: int = option(0, "number of top matches to re-rank with the matching head; 0: none")
    caption: int = option(
        1, "index, from 1, of the caption to use for each clip (the last caption if a clip has fewer captions); 0: a random caption"
    )
    which_epoch: str = option("", "name of the weights to evaluate, such as latest; default: the best, else the latest")
    ext: str = option("retrieval", "name of the files eval/<ext>.log and .json; with --query, of the folder <output_dir>/<ext>/")
    query: str = option("", "text to search motions by, instead of evaluating")
    strict: bool = option(False, "exit with code 2 if --query is unlike the training captions, instead of printing a note")
    motions: str = option("", "folder of motion files to search; default: the motions of the dataset")
    top: int = option(5, "number of motions to return")
    formats: list[str] = option(
        [], "file formats in which to write the matches; default: the matches are only printed",
        choices=("html", "npy", "bvh", "glb", "smpl", "fbx", "mp4", "gif", "png"), nargs="+",
    )  # fmt: skip
    skeleton: str = option(
        "symmetric",
        "bone lengths of animated skeletons; standard: those of HumanML3D; symmetric: those of the motion, averaged over left and "
        "right; fitted: those of the motion, not averaged",
        choices=SKELETONS,
    )  # fmt: skip
    output_dir: str = option("./generation", "folder that contains the result folders")


@dataclass(frozen=True)
class EvalM2T(Tabled, BertScored, Judged, Split, OnDataset, Configured, Captioning):
    """Evaluate captions of a split's motions against human captions. Size flags, if given, must match the captioner's sizes."""

    name: str = option("", "captioner run, unless --resume_trans is given; also names the result folder", flags=("--exp_name",))
    dataset_name: str = option("t2m", "dataset", choices=DATASETS, flags=("--dataname",))
    out_dir: str = option("", "results are written to <out_dir>/<dataset_name>/<name>/eval; default: --checkpoints_dir")
    references: list[str] = option(
        ["raw", "tokens"], "references; raw: captions as written; tokens: HumanML3D's processed tokens",
        choices=("raw", "tokens"), nargs="+",
    )  # fmt: skip
    repeat_times: int = option(1, "number of evaluation passes, each with different crops; two or more give confidence intervals")
    samples: int = option(12, "number of captions to print, and to show with their motions in <ext>.html")
    ext: str = option("captioning", "name of the result files: eval/<ext>.log, .json and .html")
