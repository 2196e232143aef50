"""SMPL-H: forward kinematics equals a plain loop, and files are checked and never unpickled."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motion.files.smpl import read_amass, read_body_model, read_body_models
from motion.rotation import rotation_vectors_to_matrices
from motion.skeleton import HUMANML3D
from utils.errors import UserError

BONES = (*HUMANML3D.parents, *(20, 22, 23) * 5, *(21, 37, 38) * 5)[:52]  # 15 joints in each hand; their tree does not matter


def model_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """A body of 60 vertices in the published file's layout, whose joints lie where the HumanML3D skeleton rests."""
    rng = np.random.default_rng(seed)
    rest = np.zeros((52, 3))
    for joint in range(1, 22):
        rest[joint] = rest[HUMANML3D.parents[joint]] + HUMANML3D.offsets()[joint].numpy()
    regressor = rng.random((52, 60))
    tree = np.array([np.array(BONES).astype(np.uint32), np.arange(52, dtype=np.uint32)])  # the root's parent is 2³² − 1
    return {
        "J_regressor": regressor,
        "v_template": np.linalg.pinv(regressor) @ rest,
        "shapedirs": rng.normal(size=(60, 3, 16)) * 0.002,
        "kintree_table": tree,
        "weights_prior": np.array([{}], dtype=object),  # there too, and never read
    }


def amass_arrays(frames: int = 30, seed: int = 0, **changes) -> dict[str, np.ndarray]:
    """A motion in AMASS's layout: a person who faces -Y, Z up, with every joint moving a little."""
    rng = np.random.default_rng(seed)
    poses = np.cumsum(rng.normal(size=(frames, 156)) * 0.01, axis=0)
    poses[:, 0] += np.pi / 2
    return {
        "poses": poses,
        "trans": np.cumsum(rng.normal(size=(frames, 3)) * 0.01, axis=0),
        "betas": rng.normal(size=16),
        "mocap_framerate": np.array(120.0),
        "gender": np.array("male"),
        **changes,
    }


def naive_joints(model: dict[str, np.ndarray], motion: dict[str, np.ndarray]) -> np.ndarray:
    """The 22 body joints (T, 22, 3), with scalar loops and 4 × 4 matrices over all 52 joints."""
    vertices = model["v_template"] + sum(motion["betas"][i] * model["shapedirs"][:, :, i] for i in range(10))
    rest = model["J_regressor"] @ vertices
    joints = np.zeros((len(motion["poses"]), 52, 3))
    for frame, pose in enumerate(motion["poses"]):
        placed = []
        for joint in range(52):
            local = np.eye(4)
            local[:3, :3] = Rotation.from_rotvec(pose[3 * joint : 3 * joint + 3]).as_matrix()
            local[:3, 3] = rest[joint] - (rest[BONES[joint]] if joint else 0)
            placed.append(placed[BONES[joint]] @ local if joint else local)
            joints[frame, joint] = placed[-1][:3, 3] + motion["trans"][frame]
    return joints[:, :22]


def saved(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def test_rotation_vectors_match_scipy_and_are_smooth_at_zero():
    vectors = torch.randn(50, 3) * 2
    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    torch.testing.assert_close(rotation_vectors_to_matrices(vectors).numpy(), expected.astype(np.float32), atol=1e-5, rtol=0)

    zero = torch.zeros(2, 3, requires_grad=True)
    torch.testing.assert_close(rotation_vectors_to_matrices(zero), torch.eye(3).expand(2, 3, 3))
    rotation_vectors_to_matrices(zero).sum().backward()
    assert zero.grad.isfinite().all()


def test_joints_equal_a_plain_loop_over_the_whole_body(tmp_path):
    model, motion = model_arrays(), amass_arrays()
    joints = read_body_model(saved(tmp_path / "model.npz", model)).joints(read_amass(saved(tmp_path / "motion.npz", motion)))
    assert joints.shape == (30, 22, 3)
    np.testing.assert_allclose(joints.numpy(), naive_joints(model, motion), atol=1e-5)


def test_in_the_rest_pose_the_joints_are_the_regressed_ones(tmp_path):
    model, motion = model_arrays(), amass_arrays(poses=np.zeros((30, 156)), betas=np.zeros(16))
    joints = read_body_model(saved(tmp_path / "model.npz", model)).joints(read_amass(saved(tmp_path / "motion.npz", motion)))
    expected = (model["J_regressor"] @ model["v_template"])[:22] + motion["trans"][:, None]
    np.testing.assert_allclose(joints.numpy(), expected, atol=1e-5)


def test_only_the_first_ten_shape_coefficients_count(tmp_path):
    motion = amass_arrays()
    fewer = {**motion, "betas": motion["betas"][:10]}
    full, short = (read_amass(saved(tmp_path / f"{n}.npz", arrays)) for n, arrays in enumerate((motion, fewer)))
    model = read_body_model(saved(tmp_path / "model.npz", model_arrays()))
    assert torch.equal(model.joints(full), model.joints(short))


def test_every_nth_frame(tmp_path):
    motion = read_amass(saved(tmp_path / "motion.npz", amass_arrays(frames=31)))
    fewer = motion.every(6)
    assert fewer.fps == 20 and len(fewer.rotations) == len(fewer.translation) == 6
    assert torch.equal(fewer.rotations[1], motion.rotations[6])


@pytest.mark.parametrize("gender", ["female", b"female"])
@pytest.mark.parametrize("rate", ["mocap_framerate", "mocap_frame_rate"])
def test_amass_spellings(tmp_path, gender, rate):
    arrays = amass_arrays(gender=np.array(gender))
    arrays[rate] = arrays.pop("mocap_framerate")
    motion = read_amass(saved(tmp_path / "motion.npz", arrays))
    assert (motion.gender, motion.fps, motion.betas.shape) == ("female", 120.0, (10,))


def test_models_are_found_by_gender(tmp_path):
    for seed, gender in enumerate(("male", "female")):
        saved(tmp_path / gender / "model.npz", model_arrays(seed))
    models = read_body_models(tmp_path)
    assert not torch.equal(models["male"].shape, models["female"].shape)

    (tmp_path / "female" / "model.npz").unlink()
    with pytest.raises(UserError, match=r"female/model\.npz: no such file"):
        read_body_models(tmp_path)


class Trap:
    """Unpickling one of these makes the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_arrays_are_refused_and_not_run(tmp_path):
    sprung = tmp_path / "sprung"
    path = saved(tmp_path / "model.npz", {**model_arrays(), "J_regressor": np.array([Trap(sprung)], dtype=object)})
    with pytest.raises(UserError, match="holds pickled objects"):
        read_body_model(path)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("J_regressor", None, "no J_regressor in it"),
        ("J_regressor", np.ones((16, 60)), "J_regressor"),
        ("v_template", np.ones((59, 3)), "v_template"),
        ("shapedirs", np.ones((60, 3, 9)), "shapedirs"),
        ("kintree_table", np.zeros((2, 52), np.int64), "not SMPL's body"),
        ("v_template", np.full((60, 3), "x"), "expected numbers"),
    ],
)
def test_wrong_models_are_named(tmp_path, name, value, message):
    arrays = {**model_arrays(), name: value}
    path = saved(tmp_path / "model.npz", {key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=message) as error:
        read_body_model(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("poses", None, "no poses in it"),
        ("mocap_framerate", None, "no mocap_framerate in it"),
        ("poses", np.zeros((30, 63)), "poses"),
        ("trans", np.zeros((29, 3)), "trans"),
        ("betas", np.zeros(8), "betas"),
        ("gender", np.array(["male", "female"]), "one word"),
    ],
)
def test_wrong_motions_are_named(tmp_path, name, value, message):
    arrays = {**amass_arrays(), name: value}
    path = saved(tmp_path / "motion.npz", {key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=message) as error:
        read_amass(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"x" * 1000])
def test_damaged_files_are_named(tmp_path, damage):
    path = saved(tmp_path / "motion.npz", amass_arrays())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"motion\.npz: not a complete"):
        read_amass(path)


def test_damage_inside_the_archive_is_named(tmp_path):
    path = saved(tmp_path / "motion.npz", amass_arrays())
    whole = bytearray(path.read_bytes())
    whole[2000:2100] = bytes(100)
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"motion\.npz: cannot be read"):
        read_amass(path)
