"""Pictures and videos: a person on a floor, in sight, coloured by side; captions whole; files that players open."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from utils.errors import UserError
from utils.motion.render import ahead, caption_image, contact_sheet, font, wrap, write_mp4
from utils.motion.scene import LEFT, RIGHT, Scene, capsules, smooth
from utils.motion.skeleton import HUMANML3D, KIT

SIDES = {"Left": LEFT, "Right": RIGHT}


def standing(frames: int = 8, speed: float = 0.0, skeleton=HUMANML3D) -> np.ndarray:
    """Joints (T, J, 3) of someone who stands facing +Z with arms out, or glides forward at `speed` metres a frame."""
    joints = np.zeros((skeleton.num_joints, 3))
    for joint, (bone, parent) in enumerate(zip(skeleton.bones, skeleton.parents)):
        side = bone.startswith("Left") - float(bone.startswith("Right"))
        limb = bone.removeprefix("Left").removeprefix("Right")
        steps = {"UpLeg": (0.1 * side, 0, 0), "Leg": (0, -0.45, 0), "Foot": (0, -0.45, 0), "MidFoot": (0, -0.05, 0.1)}
        steps |= {"Toe": (0, 0, 0.12), "Shoulder": (0.08 * side, 0.1, 0), "Arm": (0.12 * side, 0, 0)}
        steps |= {"ForeArm": (0.27 * side, 0, 0), "Hand": (0.26 * side, 0, 0), "Hips": (0, 0.95, 0)}
        joints[joint] = joints[parent] * (joint > 0) + steps.get(limb, (0, 0.15, 0))
    return joints + np.arange(frames)[:, None, None] * [0, 0, speed]


def coloured(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where (height, width) a picture has about this hue, whatever its brightness."""
    picture = picture.astype(float) + 1
    want = np.array(colour, float) / np.linalg.norm(colour)
    return (picture / np.linalg.norm(picture, axis=-1, keepdims=True)) @ want > 0.995


def test_the_person_is_upright_in_sight_and_below_the_caption():
    scene = Scene(standing(), fps=20, top=100)
    pixels, _ = scene.camera.project(scene.points[0])
    assert pixels.min() > 20
    assert pixels.max() < 700
    assert pixels[:, 1].min() > 100
    height = pixels[:, 1].max() - pixels[:, 1].min()
    assert height > 300  # large enough to look at
    head, hips, foot = (pixels[HUMANML3D.bones.index(bone), 1] for bone in ("Head", "Hips", "LeftFoot"))
    assert head < hips < foot  # rows count downwards


@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=["22 joints", "21 joints"])
@pytest.mark.parametrize("side", SIDES)
def test_each_hand_has_the_colour_of_its_side(skeleton, side):
    scene = Scene(standing(skeleton=skeleton), fps=20)
    column, row = scene.camera.project(scene.points[0])[0][skeleton.bones.index(side + "Hand")].round().astype(int)
    assert coloured(scene.draw(0), SIDES[side])[row, column]
    # The person faces the camera, so that the left hand is on the right of the picture.
    assert (column > 360) == (side == "Left")


def test_the_camera_follows_and_the_figure_moves():
    scene = Scene(standing(60, speed=0.1), fps=20)
    first, last = (np.argwhere(coloured(scene.draw(frame), LEFT)).mean(axis=0) for frame in (0, 59))
    assert np.abs(first - last).max() < 40  # six metres on, still in the middle of the picture
    waving = standing(20)
    waving[:, HUMANML3D.bones.index("LeftHand"), 1] += np.linspace(0, 0.5, 20)
    scene = Scene(waving, fps=20)
    changed = (scene.draw(0) != scene.draw(19)).any(-1)
    assert 200 < changed.sum() < 0.1 * changed.size


def test_whatever_the_person_does_stays_in_the_picture():
    joints = standing(50)
    joints[25] += [4.0, 1.5, -3.0]  # a leap that no camera can follow smoothly
    scene = Scene(joints, fps=20, top=120)
    pixels, _ = scene.camera.project(scene.points)
    assert pixels[..., 0].min() > 0 and pixels[..., 0].max() < 720
    assert pixels[..., 1].min() > 120 and pixels[..., 1].max() < 720


def test_a_shadow_lies_under_the_feet():
    scene = Scene(standing(), fps=20)
    shadow = scene.shadow(0)
    feet = scene.camera.project(scene.points[0, HUMANML3D.bones.index("LeftToe")] * [1, 0, 1])[0].round().astype(int)
    assert shadow[feet[1], feet[0]] > 20
    assert shadow[:200].max() == 0


def test_capsules_hold_both_discs():
    ends, radii = np.array([[10.0, 20.0], [40.0, 60.0]]), np.array([5.0, 9.0])
    outline = capsules(ends, radii, corners=200)
    distance = np.linalg.norm(outline[:, None] - ends, axis=-1) - radii
    np.testing.assert_allclose(distance.min(axis=1), 0, atol=1e-9)  # on one disc's rim, and in neither
    swallowed = capsules(np.zeros((2, 2)), np.array([5.0, 2.0]))
    assert np.linalg.norm(swallowed, axis=-1).max() == pytest.approx(5)


def test_smoothing_keeps_a_steady_walk():
    walk = np.arange(50.0)[:, None] * [0.03, 0, 0.05]
    np.testing.assert_allclose(smooth(walk, 12), walk, atol=1e-9)
    np.testing.assert_allclose(smooth(walk[:1], 12), walk[:1])


def test_captions_wrap_between_words_and_lose_nothing():
    text = "a person walks forward slowly, then bows deeply and waves with both hands " * 6 + "supercalifragilistic" * 9
    for size in (12, 26):
        lines = wrap(text, font(size), 400)
        assert all(font(size).getlength(line) <= 400 for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert lines[0].split() == text.split()[: len(lines[0].split())]


@pytest.mark.parametrize("words", [1, 20, 200])
def test_a_caption_fits_its_place_however_long(words):
    picture = caption_image("walking " * words, 720, 216)
    assert picture.shape[0] <= 216 and picture.shape[1:] == (720, 3)
    dark = (picture < 128).all(-1)
    assert dark.any()
    assert not dark[:, :10].any() and not dark[:, -10:].any() and not dark[-1].any()  # nothing touches an edge


def test_a_video_has_the_right_size_rate_and_frames(tmp_path):
    write_mp4(tmp_path / "clip.mp4", standing(9, speed=0.05), "a person glides forward", fps=12.5)
    with av.open(str(tmp_path / "clip.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == Fraction(25, 2)
        pictures = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
    assert len(pictures) == 9
    assert pictures[0].shape == (720, 720, 3)
    for picture in pictures:
        assert coloured(picture, LEFT).sum() > 1000 and coloured(picture, RIGHT).sum() > 1000
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_contact_sheet_has_a_row_for_each_motion(tmp_path):
    contact_sheet([("a person stands", standing()), ("a person glides", standing(12, 0.1))], tmp_path / "sheet.png", columns=4)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    figures = coloured(sheet, LEFT)
    assert sheet.shape[1] == 4 * 200
    for cell in np.split(figures, 4, axis=1):
        assert cell[: len(cell) // 2].sum() > 100 and cell[len(cell) // 2 :].sum() > 100


def test_a_broken_motion_leaves_no_file(tmp_path):
    joints = standing()
    joints[2, 3] = np.nan
    with pytest.raises(UserError, match="NaN"):
        write_mp4(tmp_path / "clip.mp4", joints, "a person stands")
    with pytest.raises(UserError, match="joints"):
        write_mp4(tmp_path / "clip.mp4", standing()[:, :10], "a person stands")
    assert list(tmp_path.iterdir()) == []


def test_working_ahead_keeps_order_and_passes_errors_on():
    assert list(ahead(lambda x: x * x, range(20))) == [x * x for x in range(20)]
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda x: 1 / x, [1, 0, 2]))
