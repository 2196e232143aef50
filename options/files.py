"""Flags of scripts that read or write motion files; the choices are those of motion/files."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import option

UNITS = ("m", "dm", "cm", "mm", "in", "ft", "cmu")
AXES = ("y", "z")
SKELETONS = ("standard", "symmetric", "fitted")


@dataclass(frozen=True)
class InputFiles:
    """Flags about input files; they override the file's header (`motion.files.read.InputOptions`)."""

    input_unit: str | None = option(None, "unit of input files; default: the file's, else estimated from the body", choices=UNITS)
    input_up: str | None = option(None, "axis that points up in input files; default: the file's, else estimated", choices=AXES)
    input_fps: float | None = option(None, "frames per second of input files; default: the header's; .npy: 20 or 12.5, .amc: 120")
    skip_frames: int | None = option(None, "frames to skip at the start of input files; default: those in the rest pose")
    input_sample: int = option(0, "index of the motion in input files that contain several, from 0")
    asf: str = option("", "skeleton of .amc files; default: their subject's .asf in the same folder")
    smpl: str = option("", "SMPL model file for SMPL and AMASS motions; default: HumanML3D's uniform skeleton in a T-pose")
    joint_map: str = option("", "JSON file that maps the joint names of input files with an unknown skeleton")


@dataclass(frozen=True)
class Rig:
    """Flags of the skeleton in animated files."""

    up: str = option("y", "axis that points up in .bvh files", choices=AXES)
    fps: float | None = option(None, "frames per second of all files but .npy, such as 24, 30 or 60; default: the motion's rate")
    skeleton: str = option(
        "standard",
        "bone lengths of animated skeletons: the dataset's (standard); the motion's, averaged over left and right (symmetric); "
        "the motion's (fitted)",
        choices=SKELETONS,
    )  # fmt: skip
    bone_names: str = option("mixamo", "names of the bones", choices=("mixamo", "mixamorig", "plain", "unreal"))
    root: str = option(
        "keep", "bone that moves over the floor: the hips (keep), none (in_place), or an extra root bone (bone)",
        choices=("keep", "in_place", "bone"),
    )  # fmt: skip


@dataclass(frozen=True)
class WrittenFiles(Rig):
    """Flags that say how motion files are written (`motion.files.export.OutputOptions`)."""

    unit: str = option("cm", "unit of .bvh files", choices=UNITS, flags=("--bvh_unit",))
    smpl: str = option("", "SMPL model file for the body of --formats smpl; default: HumanML3D's uniform skeleton")


@dataclass(frozen=True)
class OutputFiles(WrittenFiles):
    """Flags of the scripts that generate motion files: which are written, and what happens to those of earlier runs."""

    formats: list[str] = option(
        ["npy", "bvh", "mp4"],
        "files to write; html: one page with all motions; smpl: an .npz in AMASS's layout; fbx: through Blender",
        choices=("npy", "bvh", "glb", "smpl", "fbx", "mp4", "gif", "png", "html"),
    )  # fmt: skip
    grid: bool = option(False, "also write all motions in one grid.mp4, grid.gif or grid.png, as listed in --formats")
    name_files: str = option(
        "number", "file names: numbers only, or the words of the prompt first", choices=("number", "prompt")
    )
    overwrite: bool = option(False, "first delete the motions of earlier runs in the folder of results")
    is_continue: bool = option(False, "keep the motions that an interrupted run has written, and generate the others")


@dataclass(frozen=True)
class Convert(Rig, InputFiles):
    """Convert a motion file to another format."""

    source: str = option("", "motion file to read: .npy, .npz, .bvh, .amc, .glb or .gltf", positional=True)
    target: str = option("", "file to write; its suffix names the format", positional=True)
    input_sample: int = option(0, "index of the motion in an input file that contains several, from 0", flags=("--sample",))
    start: float = option(0.0, "second of the input to begin at")
    end: float | None = option(None, "second of the input to end at; default: the end")
    caption: str = option("", "text for formats that show one")
    unit: str | None = option(None, "unit of a .bvh or .npy; default: cm in .bvh, m in .npy", choices=UNITS, flags=("--bvh_unit",))
    up: str = option("y", "axis that points up in a .bvh or .npy", choices=AXES)
    fps: float | None = option(None, "frames per second of the output, such as 24, 30 or 60; default: those of the input")
    skeleton: str = option(
        "symmetric",
        "bone lengths of an animated skeleton: HumanML3D's (standard); the input's, averaged over left and right (symmetric); "
        "the input's (fitted)",
        choices=SKELETONS,
    )  # fmt: skip
    features: bool = option(False, "write features at 20 fps instead of joints; the output is a .npy")
