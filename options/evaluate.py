"""Flags of the evaluation scripts: one frozen dataclass per script."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import DATASET_HELP, DATASETS, BertScored, Common, Configured, Judged, OnDataset, Sampled, Split, Tabled, option
from options.files import SKELETONS, InputFiles, WrittenFiles
from options.generate import Captioning


@dataclass(frozen=True)
class EvalVQ(Tabled, Judged, Split, OnDataset, Configured, Common):
    """Evaluate how well a tokeniser reconstructs motions."""

    name: str = option("", "tokeniser run (train_vq.py --name); its folder is <checkpoints_dir>/<dataset_name>/<name>")
    which_epoch: str = option(
        "", "name of the weights to evaluate, such as latest; default: the best weights or, if there are none, the latest"
    )
    repeat_times: int = option(20, "number of evaluation passes, each with different random numbers")
    ext: str = option("reconstruction", "name of the result files: eval/<ext>.log and eval/<ext>.json")


@dataclass(frozen=True)
class StoreSplits(OnDataset):
    """Store the captions and motion embeddings of splits. An evaluation with these files does not need the dataset."""

    name: str = option(
        "evaluator",
        "evaluator run (train_evaluator.py --name) that computes the embeddings; if you distribute this evaluator with rounded "
        "weights, name the run with the rounded weights",
    )
    dataset_name: str = option("open", f"dataset; {DATASET_HELP}", choices=DATASETS)
    checkpoints_dir: str = option("./checkpoints", "folder that contains the folders of all runs")
    splits: list[str] = option(["test"], "splits to store", nargs="+")


@dataclass(frozen=True)
class EvalT2M(Sampled, Tabled, BertScored, Judged, Split, OnDataset, Configured, Common):
    """Evaluate text-to-motion generation by the published protocol."""

    evaluator: str = option(
        "guo", "evaluator; guo: the matching model of Guo et al.; lamp: LaMP, as in table 2 of the paper", choices=("guo", "lamp")
    )
    name: str = option(
        "", "run of the masked transformer to evaluate; default: the only masked transformer in --checkpoints_dir or, if there is "
        "none, the embedded masked transformer",
    )  # fmt: skip
    res_name: str = option("", "run of the residual transformer that is combined with the masked transformer given by --name")
    which_epoch: str = option(
        "", "name of the weights to evaluate, such as latest; default: every weights file of the run is evaluated"
    )
    protocol: str = option(
        "standard", "choice of the prompts; standard: a random caption of each clip; lamp: the first caption of each clip, with "
        "the clips in the order of <split>.txt, as in LaMP's release",
        choices=("standard", "lamp"),
    )  # fmt: skip
    repeat_times: int = option(20, "number of evaluation passes, each with different random numbers")
    mm_batches: int = option(
        3, "number of batches of captions for MultiModality; 30 motions are generated per caption; 0: no MultiModality"
    )
    batch_size: int = option(256, "number of motions that are generated in one batch")
    time_steps: int = option(10, "number of sampling steps of the masked transformer")
    lamp_bertscore: bool = option(
        False, "also compute LaMP-BertScore: caption the generated motions, and compare these captions with the prompts"
    )
    captioner: str = option(
        "", "captioner run that LaMP-BertScore uses; default: the only captioner in --checkpoints_dir or, if there is none, the "
        "embedded captioner",
    )  # fmt: skip
    ext: str = option("text2motion", "name of the result files: eval/<ext>.log and eval/<ext>.json")


@dataclass(frozen=True)
class EvalRetrieval(Tabled, InputFiles, WrittenFiles, OnDataset, Configured, Common):
    """Evaluate text-motion retrieval with LaMP. With --query, search motions by a text instead."""

    name: str = option(
        "", "LaMP run (train_lamp.py --name); default: the only LaMP run in --checkpoints_dir or, if there is none, the embedded "
        "LaMP",
        flags=("--lamp_name",),
    )  # fmt: skip
    dataset_name: str | None = option(
        None, "dataset; default: t2m or, with --query, the dataset for which --checkpoints_dir has a LaMP run", choices=DATASETS
    )
    split: str = option("test", "split to evaluate; <split>.txt in the dataset folder lists its clips")
    protocol: list[str] = option(
        ["all", "threshold", "dissimilar", "batches"], "protocols to evaluate; all: the gallery has all clips; threshold: as all, "
        "but clips with very similar captions also count as matches; dissimilar: up to 100 clips with dissimilar captions; "
        "batches: galleries of 32 clips",
        choices=("all", "threshold", "dissimilar", "batches"), nargs="+",
    )  # fmt: skip
    pool: str = option(
        "max", "pooling of the similarities between a text and the Q-Former queries of a motion; max: maximum; mean: mean",
        choices=("max", "mean"),
    )  # fmt: skip
    rerank: int = option(0, "number of best matches per query that LaMP's matching head re-ranks; 0: no re-ranking")
    caption: int = option(
        1, "index (from 1) of the caption that represents each clip; if a clip has fewer captions, its last caption is used; 0: a "
        "random caption",
    )  # fmt: skip
    which_epoch: str = option(
        "", "name of the weights to evaluate, such as latest; default: the best weights or, if there are none, the latest"
    )
    ext: str = option(
        "retrieval", "name of the result files eval/<ext>.log and .json or, with --query, of the result folder <output_dir>/<ext>/"
    )
    query: str = option("", "text to search for; with this flag, the script evaluates nothing")
    strict: bool = option(
        False, "exit with code 2 if the text given by --query is unlike the training captions; without this flag, only a note is "
        "printed",
    )  # fmt: skip
    motions: str = option("", "folder of the motion files that --query searches; default: the motions of the dataset")
    top: int = option(5, "number of best matches to return for --query")
    formats: list[str] = option(
        [], "file formats in which the matches are written; html: one page with all matches; smpl: an .npz file in AMASS's layout; "
        "fbx: needs Blender; default: the matches are printed and no files are written",
        choices=("html", "npy", "bvh", "glb", "smpl", "fbx", "mp4", "gif", "png"), nargs="+",
    )  # fmt: skip
    skeleton: str = option(
        "symmetric", "bone lengths of the skeletons in written .bvh, .glb, .npz and .fbx files; standard: those of HumanML3D; "
        "symmetric: those of the motion, averaged over left and right; fitted: those of the motion, without averaging",
        choices=SKELETONS,
    )  # fmt: skip
    output_dir: str = option("./generation", "folder that contains the result folders")


@dataclass(frozen=True)
class EvalM2T(Tabled, BertScored, Judged, Split, OnDataset, Configured, Captioning):
    """Caption the motions of a split, and compare these captions with human captions.

    If flags for the captioner's sizes are given, their values must equal the captioner's sizes.
    """

    name: str = option(
        "",
        "captioner run to evaluate; if --resume_trans is given, --name only sets the name of the result folder",
        flags=("--exp_name",),
    )
    dataset_name: str = option("t2m", f"dataset; {DATASET_HELP}", choices=DATASETS, flags=("--dataname",))
    out_dir: str = option(
        "", "folder for results; they are written to <out_dir>/<dataset_name>/<name>/eval; default: --checkpoints_dir"
    )
    references: list[str] = option(
        ["raw", "tokens"], "references that captions are compared with; raw: the human captions as written; tokens: HumanML3D's "
        "processed tokens of the human captions",
        choices=("raw", "tokens"), nargs="+",
    )  # fmt: skip
    repeat_times: int = option(
        1, "number of evaluation passes; each pass crops the motions differently; with two or more passes, the log also contains "
        "confidence intervals",
    )  # fmt: skip
    samples: int = option(
        12, "number of example captions that are printed; <ext>.html shows these captions together with the captioned motions"
    )
    ext: str = option("captioning", "name of the result files: eval/<ext>.log, .json and .html")
