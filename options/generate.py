"""Flags of the scripts that generate motions or captions: one frozen dataclass per script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from options.common import DATASETS, Common, Sampled, option
from options.files import InputFiles, OutputFiles


@dataclass(frozen=True)
class Sampling(Sampled, OutputFiles, Common):
    """Flags of the scripts that generate motion."""

    resumes_from_opt: ClassVar[bool] = False

    name: str = option("", "run of the masked transformer; its folder is <checkpoints_dir>/<dataset_name>/<name>")
    dataset_name: str | None = option(None, "dataset of the weights; default: taken from the path of the weights", choices=DATASETS)
    res_name: str = option("", "residual transformer to use with --name")
    length_name: str = option("", "length predictor to use with --name")
    fill_name: str = option("", "masked transformer (trained with --infill) that fills gaps when a motion is edited or continued")
    which_epoch: str = option(
        "", "name of the masked transformer's weights, such as net_best_accuracy or latest; default: the best"
    )
    repeat_times: int = option(1, "number of motions per prompt")
    ext: str = option("text2motion", "name of the result folder, <output_dir>/<ext>")
    output_dir: str = option("./generation", "folder that contains the result folders")
    batch_size: int = option(32, "number of motions generated at once")
    time_steps: int = option(18, "sampling steps of the masked transformer")
    strict: bool = option(False, "exit with code 2 if a prompt is unlike the training captions, instead of printing a note")


@dataclass(frozen=True)
class GenT2M(Sampling):
    """Generate motions from text. Without --name, the only run is used, or else the downloaded or the embedded weights."""

    text_prompt: str = option("", "prompt")
    text_path: str = option("", "file of prompts, one per line: <text>#<frames>, or <text>#NA to predict the length")
    motion_length: int = option(0, "number of frames for --text_prompt, rounded to a multiple of 4; 0: predicted from the text")
    lengths_as_given: bool = option(
        False, "keep the lengths in --text_path even if other lines end in #NA; by default, a single #NA makes the script predict "
        "all lengths"
    )  # fmt: skip
    candidates: int = option(1, "number of motions generated per result; LaMP's matching head keeps the best one")
    stepwise: bool = option(
        True, 'generate a prompt of several steps ("squats, then jumps") step by step, if the weights can fill gaps'
    )
    layered: bool = option(
        True, 'generate two simultaneous actions ("walks while waving") separately and compose them, if the weights can fill gaps'
    )
    join: bool = option(False, "join all prompts, one after another, into one motion of any length")
    loop: bool = option(False, "generate loops: motions whose end leads into their start")


@dataclass(frozen=True)
class EditT2M(InputFiles, Sampling):
    """Edit a motion: regenerate sections of it from text. Without --name, the same weights as in gen_t2m.py are used."""

    source_motion: str = option("", "motion file to edit: .npy of joints or features, .npz of SMPL rotations, .bvh, .glb or .amc")
    mask_edit_section: list[str] = option(
        [], "sections to regenerate, each A,B: fractions of the motion (0.3,0.6) or frames (40,80)", flags=("-msec",), nargs="*"
    )
    text_prompt: str = option("", "prompt for the edited sections; default: in-betweening without text")
    before: int = option(0, "number of frames to add before the motion")
    after: int = option(0, "number of frames to add after the motion")
    loop: bool = option(False, "make the motion a loop: new frames after its end lead back to its start")
    motion_length: int = option(
        0, "length of the result in frames: a shorter motion is continued, a longer one is cut; 0: unchanged"
    )
    ext: str = option("edit", "name of the result folder, <output_dir>/<ext>")


@dataclass(frozen=True)
class Captioning(Common):
    """Flags of the scripts that write captions."""

    resume_trans: str = option("", "captioner: run or weights file; default: --name, else the only captioner in --checkpoints_dir")
    which_epoch: str = option("", "name of the captioner's weights, such as latest; default: the best, else the latest")
    lm: str = option(
        "", "folder of the captioner's language model, if the model has moved; for the released captioner, the folder with OPT's "
        "vocab.json and merges.txt"
    )  # fmt: skip
    batch_size: int = option(32, "number of motions captioned at once")
    beams: int = option(5, "width of the beam search; 1: greedy search")
    candidates: int = option(1, "number of captions proposed per motion; LaMP's matching head keeps the best")
    sample: bool = option(False, "sample words (nucleus sampling) instead of using beam search")
    top_p: float = option(0.9, "with --sample: cumulative probability of the most likely words, from which words are sampled")
    temperature: float = option(1.0, "with --sample: sampling temperature, above 0; higher values give more varied captions")
    no_repeat: int = option(3, "size of n-grams that may not repeat within a caption; 0 disables this")
    repetition_penalty: float = option(1.0, "values above 1 make it less likely that words are repeated; 1: no penalty")
    length_penalty: float = option(
        1.0, "beam search divides log-probabilities by length ** X, so values above 1 favour longer captions"
    )
    max_tokens: int = option(40, "maximum length of a caption in word pieces")


@dataclass(frozen=True)
class GenM2T(InputFiles, Captioning):
    """Caption motion files.

    Without --name or --resume_trans, the only captioner in --checkpoints_dir is used, or else the embedded captioner.
    """

    name: str = option("", "run of the captioner; its folder is <checkpoints_dir>/<dataset_name>/<name>")
    dataset_name: str | None = option(None, "dataset of the captioner; default: taken from the captioner's path", choices=DATASETS)
    motions: list[str] = option(
        [], "motion files to caption (.npy, .npz, .bvh, .glb, or .amc with .asf), or folders of them", nargs="+"
    )
    candidates: int = option(9, "number of captions proposed per motion; LaMP's matching head keeps the best")
    num_captions: int = option(1, "number of captions per motion, ranked by LaMP's matching head")
    window: int = option(
        196, "maximum frames per window at the dataset's frame rate, 24 or more; longer motions are split into windows of about "
        "equal length"
    )  # fmt: skip
    ext: str = option("motion2text", "name of the result folder, <output_dir>/<ext>")
    output_dir: str = option("./generation", "folder that contains the result folders")
    formats: list[str] = option(
        ["txt", "json", "srt"], "files to write; txt: captions.txt; json: captions.json; srt: subtitles of each motion",
        choices=("txt", "json", "srt"), nargs="+",
    )  # fmt: skip
