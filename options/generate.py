"""Flags of the scripts that generate motions or captions: one frozen dataclass per script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from options.common import DATASETS, Common, Prompted, Sampled, Selected, option
from options.files import InputFiles, OutputFiles


@dataclass(frozen=True)
class Sampling(Selected, Sampled, OutputFiles, Common):
    """Flags of the scripts that generate motion."""

    resumes_from_opt: ClassVar[bool] = False

    name: str = option("", "run of the masked transformer; its folder is <checkpoints_dir>/<dataset_name>/<name>")
    dataset_name: str | None = option(
        None, "dataset of the weights; default: the dataset in the path of the weights", choices=DATASETS
    )
    res_name: str = option("", "run of the residual transformer that is combined with the masked transformer given by --name")
    length_name: str = option("", "run of the length predictor that is combined with the masked transformer given by --name")
    fill_name: str = option(
        "", "run of the masked transformer (trained with --infill) that fills gaps when motions are edited or continued"
    )
    which_epoch: str = option(
        "", "name of the masked transformer's weights, such as net_best_accuracy or latest; default: the best weights"
    )
    repeat_times: int = option(1, "number of motions that are generated per prompt")
    ext: str = option("text2motion", "name of the result folder, <output_dir>/<ext>")
    output_dir: str = option("./generation", "folder that contains the result folders")
    batch_size: int = option(32, "number of motions that are generated in one batch")
    time_steps: int = option(18, "number of sampling steps of the masked transformer")
    strict: bool = option(
        False, "exit with code 2 if a prompt is unlike the training captions; without this flag, only a note is printed"
    )


@dataclass(frozen=True)
class GenT2M(Prompted, Sampling):
    """Generate motions from text.

    Without --name, the script uses the only masked transformer in --checkpoints_dir that was trained or converted with this
    project. If there is none, the script uses released weights of LaMP or MoMask in --checkpoints_dir or, if there are none, the
    embedded weights.
    """

    text_prompt: str = option("", "prompt that describes the motion")
    text_path: str = option("", "file of prompts, one per line; a line is <text>#<frames>, or <text>#NA to predict the length")
    motion_length: int = option(
        0, "number of frames of the motion for --text_prompt, rounded to a multiple of 4; 0: predict the number from the text"
    )
    lengths_as_given: bool = option(
        False, "keep the lengths in the file given by --text_path even if some lines end in #NA; without this flag, all lengths "
        "are predicted if any line ends in #NA",
    )  # fmt: skip
    join: bool = option(False, "generate one motion that follows all prompts, one after another; the motion may have any length")
    loop: bool = option(False, "generate motions that can be played in a loop; the last frame leads back to the first frame")


@dataclass(frozen=True)
class EditT2M(InputFiles, Sampling):
    """Edit a motion by regenerating sections of it from text.

    Without --name, edit_t2m.py uses the weights that gen_t2m.py uses without --name.
    """

    source_motion: str = option("", "motion file to edit: .npy of joints or features, .npz of SMPL rotations, .bvh, .glb or .amc")
    mask_edit_section: list[str] = option(
        [], "sections to regenerate; A,B are the start and the end of a section, as fractions of the motion (0.3,0.6) or as frame "
        "numbers (40,80)",
        flags=("-msec",), nargs="*",
    )  # fmt: skip
    text_prompt: str = option(
        "", "prompt for the regenerated sections; default: no prompt; the sections then connect the kept frames (in-betweening)"
    )
    before: int = option(0, "number of frames to add before the motion")
    after: int = option(0, "number of frames to add after the motion")
    loop: bool = option(False, "make the motion a loop, by adding frames after its end that lead back to its start")
    motion_length: int = option(
        0, "number of frames of the result; a shorter source motion is continued, and a longer source motion is cut; 0: keep the "
        "length of the source motion",
    )  # fmt: skip
    ext: str = option("edit", "name of the result folder, <output_dir>/<ext>")


@dataclass(frozen=True)
class Captioning(Common):
    """Flags of the scripts that write captions."""

    resume_trans: str = option(
        "", "captioner to use: a run or a weights file; default: the run given by --name or, without --name, the only captioner in "
        "--checkpoints_dir",
    )  # fmt: skip
    which_epoch: str = option(
        "", "name of the captioner's weights, such as latest; default: the best weights or, if there are none, the latest"
    )
    lm: str = option(
        "", "folder of the captioner's language model; needed only if this folder was moved after the training; for the released "
        "captioner: the folder of OPT's vocab.json and merges.txt",
    )  # fmt: skip
    batch_size: int = option(32, "number of motions that are captioned in one batch")
    beams: int = option(5, "number of beams of the beam search; 1: greedy search")
    candidates: int = option(
        1, "number of captions that are proposed for each motion; LaMP's matching head selects the best of them"
    )
    sample: bool = option(False, "use nucleus sampling instead of beam search")
    top_p: float = option(
        0.9, "with --sample: each word piece is sampled from the smallest set of most likely word pieces whose probabilities sum "
        "to at least X",
    )  # fmt: skip
    temperature: float = option(1.0, "with --sample: sampling temperature, above 0; higher values give more varied captions")
    no_repeat: int = option(3, "length (in words) of the n-grams that may not occur twice in a caption; 0: repetition is allowed")
    repetition_penalty: float = option(1.0, "penalty on repeated words; values above 1 make repetition less likely; 1: no penalty")
    length_penalty: float = option(
        1.0, "exponent X in the score of beam search, log-probability / length ** X; larger values favour longer captions"
    )
    max_tokens: int = option(40, "maximum length of a caption in word pieces")


@dataclass(frozen=True)
class GenM2T(InputFiles, Captioning):
    """Caption motion files.

    Without --name and --resume_trans, the script uses the only captioner in --checkpoints_dir. If there is none, it uses the
    embedded captioner.
    """

    name: str = option("", "run of the captioner; its folder is <checkpoints_dir>/<dataset_name>/<name>")
    dataset_name: str | None = option(
        None, "dataset on which the captioner was trained; default: the dataset name in the captioner's path", choices=DATASETS
    )
    motions: list[str] = option(
        [], "motion files to caption (.npy, .npz, .bvh, .glb, or .amc with .asf), or folders of such files", nargs="+"
    )
    candidates: int = option(
        9, "number of captions that are proposed for each motion; LaMP's matching head selects the best of them"
    )
    num_captions: int = option(1, "number of captions to write for each motion; LaMP's matching head selects and ranks them")
    window: int = option(
        196, "maximum length of a window, at least 24, in frames at the frame rate of the dataset; longer motions are split into "
        "windows of about equal length",
    )  # fmt: skip
    ext: str = option("motion2text", "name of the result folder, <output_dir>/<ext>")
    output_dir: str = option("./generation", "folder that contains the result folders")
    formats: list[str] = option(
        ["txt", "json", "srt"], "files to write; txt: captions.txt; json: captions.json; srt: one file of subtitles per motion",
        choices=("txt", "json", "srt"), nargs="+",
    )  # fmt: skip
