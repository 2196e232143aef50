"""SMPL files: rotations that pose the body they were solved for as the motion does, in AMASS's layout and axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from motion.files.animation import RigOptions
from motion.files.convert import main
from motion.files.export import OutputOptions, export
from motion.files.read import InputOptions, read_motion
from motion.files.smpl import note_no_model, read_amass, read_body_model
from motion.files.smpl_writer import write_smpl
from motion.ik import fit_pose, retarget
from motion.rest import standard_rest
from motion.skeleton import HUMANML3D
from prepare.synthetic import KINDS, walker
from tests.test_smpl import model_arrays, saved
from tests.tiny import walk
from utils.errors import UserError

HUBS = [joint for children in HUMANML3D.children if len(children) > 1 for joint in children]
LIMBS = [joint for joint in range(1, 22) if joint not in HUBS]


@pytest.fixture(params=["walker", "waver", "bower"])
def clip(request) -> np.ndarray:
    """A motion (T, 22, 3) of a body whose bones keep their lengths."""
    joints = torch.from_numpy(KINDS[request.param]()).double()
    return fit_pose(joints, HUMANML3D, standard_rest(HUMANML3D)).joints(HUMANML3D).numpy()


@pytest.fixture(params=[0, 1, 2])
def model(request, tmp_path):
    """A small body model in the published layout: the standard T-pose with other proportions, its limbs a little askew."""
    rng = np.random.default_rng(request.param)
    offsets = standard_rest(HUMANML3D) * rng.uniform(0.85, 1.2, (22, 1))
    offsets[LIMBS] += 0.01 * rng.normal(size=(len(LIMBS), 3))
    rest = np.zeros((52, 3))
    rest[:22] = np.array(HUMANML3D.paths) @ offsets + [0.0, -0.22, 0.03]
    arrays = model_arrays()
    arrays["v_template"] = np.linalg.pinv(arrays["J_regressor"]) @ rest
    return saved(tmp_path / "model.npz", arrays)


def directions(joints: np.ndarray) -> np.ndarray:
    bones = joints[:, 1:] - joints[:, list(HUMANML3D.parents[1:])]
    return bones / np.linalg.norm(bones, axis=-1, keepdims=True)


def test_forward_kinematics_of_the_body_gives_the_motion_retargeted_to_it(clip, model, tmp_path):
    write_smpl(tmp_path / "motion.npz", clip, 20, smpl=model)
    body = read_body_model(model)
    posed = body.joints(read_amass(tmp_path / "motion.npz")).double().numpy()[..., [0, 2, 1]] * (-1, 1, 1)  # AMASS's axes to ours
    rest = body.rest.double().numpy()
    goal = retarget(clip, HUMANML3D, rest - rest[[max(parent, 0) for parent in HUMANML3D.parents]])
    assert np.linalg.norm(posed - goal, axis=-1).max() < 0.01
    cosines = (directions(posed) * directions(clip)).sum(-1)[:, [joint - 1 for joint in LIMBS]]
    assert np.rad2deg(np.arccos(cosines.clip(-1, 1))).max() < 2


def test_the_layout_is_amass_s(clip, model, tmp_path):
    write_smpl(tmp_path / "motion.npz", clip, 20, smpl=model)
    with np.load(tmp_path / "motion.npz", allow_pickle=False) as archive:
        arrays = dict(archive)
    assert arrays["poses"].shape == (len(clip), 156) and arrays["trans"].shape == (len(clip), 3) and arrays["betas"].shape == (16,)
    assert arrays["gender"] == "neutral" and arrays["mocap_framerate"] == 20
    assert not arrays["poses"][:, 66:].any()  # hands lie flat
    for joint in (10, 11, 15, 20, 21):  # toes, head, wrists
        assert not arrays["poses"][:, 3 * joint : 3 * joint + 3].any()
    rest = read_body_model(model).rest.double().numpy()
    assert np.allclose(np.diff(arrays["trans"] + rest[0], axis=0)[:, 2].sum(), 0, atol=0.2)  # Z is up: it stays about the same


def test_without_a_model_the_uniform_skeleton_stands_in(clip, tmp_path, capsys):
    note_no_model.cache_clear()
    export(tmp_path / "motion.npz", clip, "", 20, OutputOptions(rig=RigOptions("standard")))
    assert "note: no SMPL model" in capsys.readouterr().err
    loaded = read_motion(tmp_path / "motion.npz")
    assert loaded.fps == 20
    np.testing.assert_allclose(loaded.joints, clip, atol=1e-4)


def test_the_note_on_the_uniform_skeleton_is_printed_only_where_it_is_posed(clip, tmp_path, capsys):
    note_no_model.cache_clear()
    for kind in ("symmetric", "fitted"):
        write_smpl(tmp_path / "motion.npz", clip * 1.15, 20, rig=RigOptions(kind))
    assert capsys.readouterr().err == ""
    write_smpl(tmp_path / "motion.npz", clip * 1.15, 20, rig=RigOptions("standard"))
    assert "note: no SMPL model" in capsys.readouterr().err


def test_files_of_a_run_share_its_body(clip, tmp_path):
    """A dataset's rest pose differs from HumanML3D's in the pelvis and the chest; files of SMPL rotations keep it."""
    body = standard_rest(replace(HUMANML3D, hubs=None), mean_pose=walk(1)[0] + np.linspace(0, 0.02, 66).reshape(22, 3))
    assert np.abs(body - standard_rest(HUMANML3D)).max() > 0.01
    joints = fit_pose(torch.from_numpy(clip.astype(np.float64)), HUMANML3D, body).joints(HUMANML3D).numpy()
    for name in ("motion.npz", "motion.bvh"):
        export(tmp_path / name, joints, "", 20, OutputOptions(rig=RigOptions("standard", body)))
        np.testing.assert_allclose(read_motion(tmp_path / name).joints, joints, atol=1e-3)


def test_other_bodies_are_retargeted_to_the_uniform_skeleton(clip, tmp_path):
    joints = clip * 1.15
    write_smpl(tmp_path / "own.npz", joints, 20)
    np.testing.assert_allclose(read_motion(tmp_path / "own.npz").joints, joints, atol=0.02)
    write_smpl(tmp_path / "motion.npz", joints, 20, rig=RigOptions("standard"))
    loaded = read_motion(tmp_path / "motion.npz").joints
    np.testing.assert_allclose(loaded, retarget(joints, HUMANML3D, standard_rest(HUMANML3D)), atol=1e-3)
    assert (directions(loaded) * directions(joints)).sum(-1)[:, [joint - 1 for joint in LIMBS]].min() > 0.9999


def test_a_body_model_reads_its_own_motions_back(clip, model, tmp_path):
    write_smpl(tmp_path / "motion.npz", clip, 20, smpl=model)
    rest = read_body_model(model).rest.double().numpy()
    goal = retarget(clip, HUMANML3D, rest - rest[[max(parent, 0) for parent in HUMANML3D.parents]])
    np.testing.assert_allclose(read_motion(tmp_path / "motion.npz", InputOptions(smpl=model)).joints, goal, atol=0.01)


def test_the_suffix_does_not_matter(tmp_path):
    write_smpl(tmp_path / "motion.npz", walker(), 20)
    (tmp_path / "motion.npz").rename(tmp_path / "motion.npy")
    assert read_motion(tmp_path / "motion.npy").joints.shape == walker().shape


def test_keys_at_another_rate(tmp_path):
    joints = fit_pose(torch.from_numpy(walker()), HUMANML3D, standard_rest(HUMANML3D)).joints(HUMANML3D).numpy()
    write_smpl(tmp_path / "motion.npz", joints, 20, rig=RigOptions(fps=60))
    loaded = read_motion(tmp_path / "motion.npz")
    assert loaded.fps == 60 and len(loaded) == 3 * (len(joints) - 1) + 1
    np.testing.assert_allclose(loaded.joints[::3], joints, atol=1e-3)


def test_convert_there_and_back(tmp_path, capsys):
    np.save(tmp_path / "walk.npy", walker())
    main([str(tmp_path / "walk.npy"), str(tmp_path / "walk.npz")])
    main([str(tmp_path / "walk.npz"), str(tmp_path / "back.npy")])
    assert np.linalg.norm(np.load(tmp_path / "back.npy") - walker(), axis=-1).mean() < 0.02


def test_the_small_skeleton_has_no_smpl_file(tmp_path):
    with pytest.raises(UserError, match="KIT-ML"):
        export(tmp_path / "motion.npz", np.zeros((3, 21, 3)), "", 12.5, OutputOptions())
