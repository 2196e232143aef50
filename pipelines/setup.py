"""Functions that scripts call before they generate motion: check flags, find models and load them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from motion.spec import DatasetSpec
from options.cli import check_ext
from options.generate import Sampling
from options.ranges import check_ranges
from utils.errors import UserError, note

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    import numpy as np

    from pipelines.runs import Generator
    from pipelines.text2motion import TextToMotion

GRIDS = ("mp4", "gif", "png")  # formats that --grid can write
MEASURED = 50  # minimum number of clips whose bones are measured; smaller datasets are measured completely


def check_flags(config: Sampling) -> None:
    """Raise `UserError` for numbers out of range, an invalid --ext, and formats that cannot be written."""
    check_ranges(vars(config))
    check_ext(config.ext)
    if config.grid and not set(config.formats) & set(GRIDS):
        raise UserError(f"--grid: needs one of {', '.join(GRIDS)} in --formats")
    if getattr(config, "loop", False) and (config.candidates or 1) > 1:
        raise UserError("--candidates cannot be combined with --loop; leave one of them out")
    check_formats(config.formats)


def check_formats(formats: Sequence[str]) -> None:
    """Raise `UserError` if `formats` contains fbx and Blender is not installed."""
    if "fbx" in formats:
        from motion.files.fbx import blender

        blender()


def find_generator(config: Sampling) -> Generator:
    """Find the models that the flags select, without loading them. Raises `UserError` if no model or several models fit."""
    from pipelines.runs import resolve_generator

    names = (config.name, config.res_name, config.length_name, config.fill_name, config.selector_name)
    return resolve_generator(config.checkpoints_dir, config.dataset_name, *names, candidates=config.candidates)


def load_generator(config: Sampling, runs: Generator) -> TextToMotion:
    """Load the models of `runs`, and print the paths and the text encoder. Raises `UserError` if a model cannot be loaded."""
    from pipelines.text2motion import TextToMotion
    from utils.runtime import resolve_device

    tag = config.which_epoch or None
    settings = {"device": resolve_device(config.gpu_id), "tag": tag, "precision": config.precision}
    model = TextToMotion.load(*runs.masked.address, **runs.companions, **settings)
    print(f"weights: {runs}; text encoder: {model.encoder.title}")
    if model.residual is None and model.tokeniser.num_quantizers > 1:
        note("no --res_name: only the base tokens are decoded, so motion is coarser than with residual tokens")
    return model


def note_causal_loops(model: TextToMotion) -> None:
    """Print a note if there is no masked transformer with full attention, which loops need."""
    if model.filling is None and model.masked.config.attention != "full":
        effect = "the end of a loop is generated without the loop's start as input"
        note(f"no masked transformer with full attention (--fill_name): {effect}")


def standard_body(model: TextToMotion, spec: DatasetSpec) -> np.ndarray | None:
    """The rest pose (J, 3), in metres, that all animated files of a dataset share; None if the bone lengths are not known.

    The bone lengths of HumanML3D's skeleton are constants. The bone lengths of KIT-ML's skeleton are medians over clips of the
    dataset, if the dataset folder exists; the directions of its bones at pelvis and chest come from the dataset's mean pose.
    """
    import numpy as np

    from motion.features import features_to_joints, skeleton_for
    from motion.rest import fitted_rest, lengths_of, standard_rest

    skeleton = skeleton_for(spec.num_joints)
    mean_pose = features_to_joints(model.mean.float().cpu()[None], spec.num_joints)[0].double().numpy()
    lengths = None
    if skeleton.lengths is None:
        files = sorted((spec.root / "new_joints").glob("*.npy"))
        clips = [np.load(file).astype(np.float64) * spec.unit_scale for file in files[:: max(1, len(files) // MEASURED)]]
        if not clips:
            return None
        lengths = np.median([lengths_of(fitted_rest(clip, skeleton)) for clip in clips], axis=0)
        lengths = (lengths + lengths[list(skeleton.mirror)]) / 2
    return standard_rest(skeleton, mean_pose, lengths)
