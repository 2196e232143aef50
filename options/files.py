"""Flags of scripts that read or write motion files (motion/files)."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import option

UNITS = ("m", "dm", "cm", "mm", "in", "ft", "cmu")
AXES = ("y", "z")
SKELETONS = ("standard", "symmetric", "fitted")


@dataclass(frozen=True)
class InputFiles:
    """Flags that describe input files and override their headers (`motion.files.read.InputOptions`)."""

    input_unit: str | None = option(
        None, "unit of length in input files; default: as stated in the file, else estimated from the body size", choices=UNITS
    )
    input_up: str | None = option(
        None, "axis that points up in input files; default: as stated in the file, else estimated", choices=AXES
    )
    input_fps: float | None = option(
        None, "frames per second of input files; default: as stated in the file; .npy: 20 (12.5 with 21 joints); .amc: 120"
    )
    skip_frames: int | None = option(
        None, "number of frames to skip at the start of input files; default: the frames that show the rest pose"
    )
    input_sample: int = option(0, "index, from 0, of the motion to read from input files that contain several motions")
    asf: str = option("", "skeleton of .amc files; default: the .asf of the same subject in the same folder")
    smpl: str = option("", "SMPL model file for SMPL and AMASS motions; default: the motion's rest pose, else HumanML3D's skeleton")
    joint_map: str = option("", "JSON file that maps the joints of the input file to HumanML3D's, if the skeleton is unknown")


@dataclass(frozen=True)
class Rig:
    """Flags that control the skeleton of animated files."""

    up: str = option("y", "axis that points up in .bvh files", choices=AXES)
    fps: float | None = option(None, "frame rate of all files except .npy, such as 24 or 30; default: that of the motion")
    skeleton: str = option(
        "standard",
        "bone lengths of animated skeletons; standard: those of the dataset; symmetric: those of the motion, averaged over left "
        "and right; fitted: those of the motion, not averaged",
        choices=SKELETONS,
    )  # fmt: skip
    bone_names: str = option("mixamo", "names of the bones", choices=("mixamo", "mixamorig", "plain", "unreal"))
    root: str = option(
        "keep", "how horizontal travel is stored; keep: in the hips; in_place: removed; bone: in an additional root bone",
        choices=("keep", "in_place", "bone"),
    )  # fmt: skip


@dataclass(frozen=True)
class WrittenFiles(Rig):
    """Flags that control how motion files are written (`motion.files.export.OutputOptions`)."""

    unit: str = option("cm", "unit of length in .bvh files", choices=UNITS, flags=("--bvh_unit",))
    smpl: str = option("", "SMPL model file whose body shape --formats smpl uses; default: HumanML3D's uniform skeleton")


@dataclass(frozen=True)
class OutputFiles(WrittenFiles):
    """Flags that control which files a generating script writes, and what happens to the files of earlier runs."""

    formats: list[str] = option(
        ["npy", "bvh", "mp4"],
        "file formats to write; html: one page with all motions; smpl: an .npz in AMASS's layout; fbx: needs Blender",
        choices=("npy", "bvh", "glb", "smpl", "fbx", "mp4", "gif", "png", "html"),
    )  # fmt: skip
    grid: bool = option(
        False, "also draw all motions together in one file per format (grid.mp4, grid.gif, grid.png), if --formats lists the format"
    )
    name_files: str = option(
        "number", "number: file names are only numbers; prompt: they begin with the prompt's words", choices=("number", "prompt")
    )
    overwrite: bool = option(False, "delete the motions of earlier runs in the result folder before generating")
    is_continue: bool = option(False, "resume an interrupted run: keep its motions and generate the missing ones")


@dataclass(frozen=True)
class Convert(Rig, InputFiles):
    """Convert a motion file to another format."""

    source: str = option("", "motion file to read: .npy, .npz, .bvh, .amc, .glb or .gltf", positional=True)
    target: str = option("", "file to write; its suffix names the format", positional=True)
    input_sample: int = option(
        0, "index, from 0, of the motion to read from an input file that contains several motions", flags=("--sample",)
    )
    start: float = option(0.0, "start time in the input, in seconds")
    end: float | None = option(None, "end time in the input, in seconds; default: the end of the input")
    caption: str = option("", "text to show, if the output format can show text")
    unit: str | None = option(
        None, "unit of length in a .bvh or .npy output; default: cm in .bvh, m in .npy", choices=UNITS, flags=("--bvh_unit",)
    )
    up: str = option("y", "axis that points up in a .bvh or .npy output", choices=AXES)
    fps: float | None = option(None, "frame rate of the output, such as 24, 30 or 60; default: the frame rate of the input")
    skeleton: str = option(
        "symmetric",
        "bone lengths of an animated skeleton; standard: those of HumanML3D; symmetric: those of the input, averaged over left and "
        "right; fitted: those of the input, not averaged",
        choices=SKELETONS,
    )  # fmt: skip
    features: bool = option(False, "write HumanML3D features at 20 fps instead of joints; the output is a .npy")
