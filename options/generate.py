"""Flags of the scripts that generate motions or captions: one frozen dataclass per script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from options.common import DATASETS, PRECISIONS, Common, option
from options.files import InputFiles, OutputFiles


@dataclass(frozen=True)
class Sampling(OutputFiles, Common):
    """Flags of the scripts that generate motion. Without --name: the only run, else downloaded or embedded weights."""

    resumes_from_opt: ClassVar[bool] = False

    name: str = option("", "run of the masked transformer; its folder is <checkpoints_dir>/<dataset_name>/<name>")
    dataset_name: str | None = option(None, "dataset of the weights; default: the one whose folder holds them", choices=DATASETS)
    res_name: str = option("", "residual transformer that goes with --name")
    length_name: str = option("", "length predictor that goes with --name")
    fill_name: str = option("", "masked transformer trained with --infill, which fills gaps when a motion is edited or continued")
    which_epoch: str = option("", "weights of --name: net_best_accuracy, latest, ...; default: the best")
    repeat_times: int = option(1, "motions per prompt")
    ext: str = option("text2motion", "name of the folder of results, <output_dir>/<ext>")
    output_dir: str = option("./generation", "folder of result folders")
    batch_size: int = option(32, "motions generated at a time")
    time_steps: int = option(18, "sampling steps of the masked transformer")
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
    strict: bool = option(False, "refuse prompts that the weights do not know, with exit code 2; default: print a note")


@dataclass(frozen=True)
class GenT2M(Sampling):
    """Generate motions from text. Without --name: the only run, else downloaded or embedded weights."""

    text_prompt: str = option("", "prompt")
    text_path: str = option("", "file of prompts, one per line: <text>#<frames> or <text>#NA; see --lengths_as_given")
    motion_length: int = option(0, "frames of --text_prompt's motion, rounded to a multiple of 4; 0: predicted from the text")
    lengths_as_given: bool = option(False, "if some lines of --text_path end in #NA: keep the lengths of the other lines")
    candidates: int = option(1, "motions generated per result; LaMP's matching head keeps the best")
    stepwise: bool = option(
        True, "generate a prompt of several steps (squats, then jumps) step by step, if the weights fill gaps; false: as a whole"
    )
    layered: bool = option(
        True, "generate two simultaneous actions (walks while waving) separately and compose them, if one is a gesture and the "
        "weights fill gaps; false: as a whole"
    )  # fmt: skip
    join: bool = option(False, "join all prompts, one after another, into one motion of any length")
    loop: bool = option(False, "generate loops: the end leads into the start")


@dataclass(frozen=True)
class EditT2M(InputFiles, Sampling):
    """Edit a motion: regenerate sections of it from text. Without --name: the weights that gen_t2m.py would use."""

    source_motion: str = option("", "motion file to edit: .npy of joints or features, .npz of SMPL rotations, .bvh, .glb or .amc")
    mask_edit_section: list[str] = option(
        [], "sections to regenerate, each A,B: fractions of the motion (0.3,0.6) or frames (40,80)", flags=("-msec",), nargs="*"
    )
    text_prompt: str = option("", "prompt for the edited sections; default: in-betweening without text")
    before: int = option(0, "frames to add before the motion")
    after: int = option(0, "frames to add after the motion")
    loop: bool = option(False, "make the motion a loop: new frames after its end lead back to its start")
    motion_length: int = option(0, "frames of the result: shorter motions are continued, longer ones cut; 0: unchanged")
    ext: str = option("edit", "name of the folder of results, <output_dir>/<ext>")


@dataclass(frozen=True)
class Captioning(Common):
    """Flags of the scripts that write captions."""

    resume_trans: str = option("", "captioner: run or weights file; default: --name, else the only captioner in --checkpoints_dir")
    which_epoch: str = option("", "weights of the run, such as latest; default: the best, else the latest")
    lm: str = option(
        "", "folder of the captioner's language model, if it has moved; released captioner: that of OPT's vocab.json and merges.txt"
    )
    batch_size: int = option(32, "motions captioned at a time")
    beams: int = option(5, "width of the beam search; 1: greedy search")
    candidates: int = option(1, "captions proposed per motion; LaMP's matching head keeps the best")
    sample: bool = option(False, "sample words (nucleus sampling) instead of searching")
    top_p: float = option(0.9, "with --sample: cumulative probability of the words to sample from")
    temperature: float = option(1.0, "with --sample: above 1 more varied, below 1 more certain")
    no_repeat: int = option(3, "size of n-grams that may not repeat within a caption; 0 disables this")
    repetition_penalty: float = option(1.0, "above 1: words that were already used become less likely")
    length_penalty: float = option(1.0, "beam search divides log-probabilities by length ** X; above 1: longer captions")
    max_tokens: int = option(40, "longest caption, in word pieces")


@dataclass(frozen=True)
class GenM2T(InputFiles, Captioning):
    """Caption motion files. Without --name or --resume_trans: the only captioner in --checkpoints_dir, else the embedded one."""

    name: str = option("", "run of the captioner; its folder is <checkpoints_dir>/<dataset_name>/<name>")
    dataset_name: str | None = option(None, "dataset of the captioner; default: the one whose folder holds it", choices=DATASETS)
    motions: list[str] = option(
        [], "motion files to caption (.npy, .npz, .bvh, .glb, or .amc with .asf), or folders of them", nargs="+"
    )
    candidates: int = option(9, "captions proposed per motion; LaMP's matching head keeps the best")
    num_captions: int = option(1, "captions per motion, ranked by LaMP's matching head")
    window: int = option(
        196, "maximum frames per window, at least 24, at the dataset's rate; longer motions are split into even windows"
    )
    ext: str = option("motion2text", "name of the folder of results, <output_dir>/<ext>")
    output_dir: str = option("./generation", "folder of result folders")
    formats: list[str] = option(
        ["txt", "json", "srt"], "files to write: captions.txt, captions.json, subtitles of each motion",
        choices=("txt", "json", "srt"), nargs="+",
    )  # fmt: skip
