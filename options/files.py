"""Flags of scripts that read or write motion files (motion/files)."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import option

UNITS = ("m", "dm", "cm", "mm", "in", "ft", "cmu")
CMU_UNIT = "cmu: the unit of CMU's motion captures, 5.6 cm"
AXES = ("y", "z")
SKELETONS = ("standard", "symmetric", "fitted")


@dataclass(frozen=True)
class InputFiles:
    """Flags that describe input files and override their headers (`motion.files.read.InputOptions`)."""

    input_unit: str | None = option(
        None, f"unit of length in input files; {CMU_UNIT}; default: the unit that the file states or, if the file states none, a "
        "unit estimated from the body size",
        choices=UNITS,
    )  # fmt: skip
    input_up: str | None = option(
        None, "axis that points up in input files; default: the axis that the file states or, if the file states none, an "
        "estimated axis",
        choices=AXES,
    )  # fmt: skip
    input_fps: float | None = option(
        None, "frame rate of input files; default: the frame rate that the file states; for .npy: 20, or 12.5 if the motion "
        "has 21 joints; for .amc: 120",
    )  # fmt: skip
    skip_frames: int | None = option(
        None, "number of frames to skip at the start of each input file; default: skip all frames at the start that show the rest "
        "pose",
    )  # fmt: skip
    input_sample: int = option(0, "index (from 0) of the motion to read, for input files that contain several motions")
    asf: str = option(
        "", "skeleton file (.asf) of .amc files; default: the .asf file of the same subject in the folder of the .amc file"
    )
    smpl: str = option(
        "", "SMPL model file from which the skeleton of SMPL and AMASS motions is taken; default: the skeleton is taken from the "
        "rest pose in the motion file or, if the file has no rest pose, from HumanML3D",
    )  # fmt: skip
    joint_map: str = option(
        "", "JSON file that maps the joints of an input file to the joints of HumanML3D; needed if the skeleton is not recognised"
    )


@dataclass(frozen=True)
class Rig:
    """Flags that control the skeleton of animated files."""

    up: str = option("y", "axis that points up in written .bvh files", choices=AXES)
    fps: float | None = option(
        None, "frame rate of all written files except .npy, such as 24 or 30; default: the frame rate of the motion"
    )
    skeleton: str = option(
        "standard", "bone lengths of the skeletons in written .bvh, .glb, .npz and .fbx files; standard: those of the dataset; "
        "symmetric: those of the motion, averaged over left and right; fitted: those of the motion, without averaging",
        choices=SKELETONS,
    )  # fmt: skip
    bone_names: str = option(
        "mixamo", "naming scheme of the bones in written files, with the left upper arm as an example; mixamo: LeftArm; mixamorig: "
        "mixamorig:LeftArm; plain (SMPL's names): left_shoulder; unreal (names of Unreal's mannequin): upperarm_l",
        choices=("mixamo", "mixamorig", "plain", "unreal"),
    )  # fmt: skip
    root: str = option(
        "keep", "bone that stores the horizontal movement of the body; keep: the hips; in_place: no bone, so the body stays in "
        "place; bone: an additional root bone",
        choices=("keep", "in_place", "bone"),
    )  # fmt: skip


@dataclass(frozen=True)
class WrittenFiles(Rig):
    """Flags that control how motion files are written (`motion.files.export.OutputOptions`)."""

    unit: str = option("cm", f"unit of length in written .bvh files; {CMU_UNIT}", choices=UNITS, flags=("--bvh_unit",))
    smpl: str = option(
        "", "SMPL model file that gives the body shape for --formats smpl; default: a body with the bone lengths of --skeleton"
    )


@dataclass(frozen=True)
class OutputFiles(WrittenFiles):
    """Flags that control which files a generating script writes, and what happens to the files of earlier runs."""

    formats: list[str] = option(
        ["npy", "bvh", "mp4"], "file formats to write; html: one page with all motions; smpl: an .npz file in AMASS's layout; "
        "fbx: needs Blender",
        choices=("npy", "bvh", "glb", "smpl", "fbx", "mp4", "gif", "png", "html"),
    )  # fmt: skip
    grid: bool = option(
        False, "also draw all motions in one grid; one grid file is written for each of mp4, gif and png that --formats contains"
    )
    name_files: str = option(
        "number", "names of the output files; number: names such as sample<k>_…; prompt: the same names, preceded by the words "
        "of the prompt",
        choices=("number", "prompt"),
    )  # fmt: skip
    overwrite: bool = option(False, "delete the motions of earlier runs from the result folder before the generation")
    is_continue: bool = option(False, "resume an interrupted run: keep its finished motions, and generate all other motions")


@dataclass(frozen=True)
class Convert(Rig, InputFiles):
    """Convert a motion file to another format."""

    source: str = option("", "motion file to read: .npy, .npz, .bvh, .amc, .glb or .gltf", positional=True)
    target: str = option("", "file to write; the suffix of this file selects the format", positional=True)
    input_sample: int = option(
        0, "index (from 0) of the motion to read, for input files that contain several motions", flags=("--sample",)
    )
    start: float = option(0.0, "start time in the input, in seconds")
    end: float | None = option(None, "end time in the input, in seconds; default: the end of the input")
    caption: str = option("", "text to show in the output; formats that cannot show text ignore this flag")
    unit: str | None = option(
        None, f"unit of length in a .bvh or .npy output; {CMU_UNIT}; default: cm in .bvh, m in .npy",
        choices=UNITS, flags=("--bvh_unit",),
    )  # fmt: skip
    up: str = option("y", "axis that points up in a .bvh or .npy output", choices=AXES)
    fps: float | None = option(None, "frame rate of the output, such as 24, 30 or 60; default: the frame rate of the input")
    skeleton: str = option(
        "symmetric", "bone lengths of the skeleton in a written file; standard: those of HumanML3D; symmetric: those of the input, "
        "averaged over left and right; fitted: those of the input, without averaging",
        choices=SKELETONS,
    )  # fmt: skip
    features: bool = option(False, "write HumanML3D features at 20 frames per second, instead of joints; the output is a .npy file")
