"""Files in Blender: frame ranges, .fbx, and the retargeting script on a skinned character.

Skipped where LAMP_BLENDER names no Python with Blender's module:

LAMP_BLENDER=<venv of Python 3.11 with bpy 5.0.1>/bin/python pytest tests/test_blender.py
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.files.animation import RigOptions
from motion.files.export import OutputOptions, export
from motion.files.fbx import VARIABLE, write_fbx
from motion.files.read import read_motion
from motion.ik import fit_pose
from motion.rest import standard_rest, standing
from motion.skeleton import HUMANML3D
from options.generate import GenT2M
from pipelines.setup import check_flags
from prepare.synthetic import walker
from utils.errors import UserError

PYTHON = os.environ.get(VARIABLE, "")
ROOT = Path(__file__).parent.parent
needs_blender = pytest.mark.skipif(
    not PYTHON or "blender" in Path(PYTHON).name, reason=f"{VARIABLE} names no Python with Blender's module"
)
HUBS = [joint for children in HUMANML3D.children if len(children) > 1 for joint in children]
LIMBS = [joint for joint in range(1, 22) if joint not in HUBS]


def blender(*words: object) -> str:
    ended = subprocess.run([PYTHON, *map(str, words)], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return ended.stdout


def body() -> np.ndarray:
    """A walk (T, 22, 3) of the uniform skeleton."""
    return fit_pose(torch.from_numpy(walker()), HUMANML3D, standard_rest(HUMANML3D)).joints(HUMANML3D).numpy()


def directions(joints: np.ndarray) -> np.ndarray:
    bones = joints[:, LIMBS] - joints[:, [HUMANML3D.parents[joint] for joint in LIMBS]]
    return bones / np.linalg.norm(bones, axis=-1, keepdims=True)


@pytest.fixture
def proportions(tmp_path) -> Path:
    """Bones of someone with longer arms and shorter legs."""
    longer, shorter = ("Arm", "Hand"), ("Leg", "Foot")
    factors = [
        1.3 if any(part in bone for part in longer) else 0.8 if any(part in bone for part in shorter) else 1.0
        for bone in HUMANML3D.bones
    ]
    positions = standing(standard_rest(HUMANML3D) * np.array(factors)[:, None], HUMANML3D)
    data = {"names": HUMANML3D.bones, "parents": HUMANML3D.parents, "places": positions.tolist()}
    (tmp_path / "bones.json").write_text(json.dumps(data))
    return tmp_path / "bones.json"


@needs_blender
@pytest.mark.parametrize("prefix", ["mixamorig:", "mixamorig", "mixamorig_", "mixamorig7:", ""])
def test_a_skinned_character_of_other_proportions_does_the_same(proportions, tmp_path, prefix):
    suffix = ".blend" if prefix == "mixamorig" else ".fbx"
    blender(ROOT / "tests" / "blender_character.py", proportions, prefix, tmp_path / f"character{suffix}")
    rig, flags = RigOptions(bone_names="mixamorig" if prefix else "mixamo"), []
    if not prefix:  # of the .bvh, whose axes and unit do not matter either
        flags = ["--input_unit", "m", "--input_up", "z"]
    export(tmp_path / "walk.bvh", body(), "", 20, OutputOptions(*(("m", "z") if flags else ()), rig=rig))
    words = tmp_path / "walk.bvh", tmp_path / f"character{suffix}", tmp_path / "out.glb"
    blender(ROOT / "assets" / "retarget_blender.py", *words, *flags)
    loaded = read_motion(tmp_path / "out.glb")
    assert len(loaded) == len(body()) and loaded.fps == pytest.approx(20, rel=0.01)
    apart = np.rad2deg(np.arccos((directions(loaded.joints) * directions(body())).sum(-1).clip(-1, 1)))
    assert apart.mean() < 0.5 and apart.max() < 3
    content = (tmp_path / "out.glb").read_bytes()
    assert b'"skins"' in content and b'"WEIGHTS_0"' in content


@needs_blender
@pytest.mark.parametrize("fps", [24, 30, 60])
def test_keys_lie_on_whole_frames(tmp_path, fps):
    export(tmp_path / "walk.bvh", body(), "", 20, OutputOptions(rig=RigOptions(fps=fps)))
    output = blender(
        "-c",
        "import bpy, sys; bpy.ops.wm.read_factory_settings(use_empty=True);"
        f"bpy.ops.import_anim.bvh(filepath={str(tmp_path / 'walk.bvh')!r}, update_scene_fps=True, update_scene_duration=True);"
        "scene = bpy.context.scene; action = bpy.context.object.animation_data.action;"
        "print('RANGE', *action.frame_range, scene.frame_start, scene.frame_end, scene.render.fps / scene.render.fps_base)",
    )
    first, last, start, end, rate = map(float, output.split("RANGE")[1].split()[:5])
    frames = int((len(body()) - 1) * fps / 20) + 1
    assert (first, last, start) == (1, frames, 1) and end >= frames  # Blender lengthens its scene, it does not shorten it
    assert rate == pytest.approx(fps, abs=1e-3)


@needs_blender
def test_an_fbx_holds_the_motion(tmp_path):
    write_fbx(tmp_path / "walk.fbx", body(), "a person walks", 20, RigOptions(fps=30))
    glb = str(tmp_path / "back.glb")
    blender(
        "-c",
        "import bpy; bpy.ops.wm.read_factory_settings(use_empty=True); bpy.context.scene.render.fps = 30;"
        f"bpy.ops.import_scene.fbx(filepath={str(tmp_path / 'walk.fbx')!r});"
        f"bpy.ops.export_scene.gltf(filepath={glb!r}, export_format='GLB')",
    )
    loaded = read_motion(glb)
    assert loaded.fps == pytest.approx(30, rel=0.01)
    assert np.linalg.norm(loaded.joints[0] - body()[0], axis=-1).max() < 0.02
    assert np.linalg.norm(loaded.joints[-1] - body()[-1], axis=-1).max() < 0.05


def test_without_blender_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="pip install bpy"):
        write_fbx(tmp_path / "walk.fbx", walker(), "", 20)
    with pytest.raises(UserError, match="pip install bpy"):
        check_flags(GenT2M(formats=["npy", "fbx"]))
    assert not list(tmp_path.iterdir())
