"""Pictures and videos: a person on a floor, in sight, coloured by side; captions whole; files that players open."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw

from motion.drawing.body import LEFT, RIGHT, standing_feet
from motion.drawing.lettering import PAGE_SECONDS, caption_pages, font, typeface, wrap
from motion.drawing.render import ahead, contact_sheet, gif_delays, key_moments, tiled, write_video
from motion.drawing.scene import Scene, capsules
from motion.files.animation import smoothed
from motion.skeleton import HUMANML3D, KIT
from utils.errors import UserError

SIDES = {"Left": LEFT, "Right": RIGHT}


def standing(frames: int = 8, speed: float = 0.0, skeleton=HUMANML3D) -> np.ndarray:
    """Joints (T, J, 3) of someone who stands facing +Z with arms out, or glides forward at `speed` metres a frame."""
    joints = np.zeros((skeleton.num_joints, 3))
    for joint, (bone, parent) in enumerate(zip(skeleton.bones, skeleton.parents)):
        side = bone.startswith("Left") - float(bone.startswith("Right"))
        limb = bone.removeprefix("Left").removeprefix("Right")
        steps = {"UpLeg": (0.1 * side, 0, 0), "Leg": (0, -0.45, 0), "Foot": (0, -0.45, 0), "MidFoot": (0, -0.05, 0.1)}
        steps |= {"ToeBase": (0, 0, 0.12), "Shoulder": (0.08 * side, 0.1, 0), "Arm": (0.12 * side, 0, 0)}
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
    feet = scene.camera.project(scene.points[0, HUMANML3D.bones.index("LeftToeBase")] * [1, 0, 1])[0].round().astype(int)
    assert 200 < scene.horizon < feet[1]
    assert shadow[feet[1] - scene.horizon, feet[0]] > 20
    assert shadow[:5].max() == 0


def test_capsules_hold_both_discs():
    ends, radii = np.array([[10.0, 20.0], [40.0, 60.0]]), np.array([5.0, 9.0])
    outline = capsules(ends, radii, corners=200)
    distance = np.linalg.norm(outline[:, None] - ends, axis=-1) - radii
    np.testing.assert_allclose(distance.min(axis=1), 0, atol=1e-9)  # on one disc's rim, and in neither
    swallowed = capsules(np.zeros((2, 2)), np.array([5.0, 2.0]))
    assert np.linalg.norm(swallowed, axis=-1).max() == pytest.approx(5)


def test_smoothing_keeps_a_steady_walk():
    walk = np.arange(50.0)[:, None] * [0.03, 0, 0.05]
    np.testing.assert_allclose(smoothed(walk, 12), walk, atol=1e-9)
    np.testing.assert_allclose(smoothed(walk[:1], 12), walk[:1])


def test_captions_wrap_between_words_and_lose_nothing():
    text = "a person walks forward slowly, then bows deeply and waves with both hands " * 6 + "supercalifragilistic" * 9
    for size in (12, 26):
        lines = wrap(text, font(size), 400)
        assert all(font(size).getlength(line) <= 400 for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert lines[0].split() == text.split()[: len(lines[0].split())]


@pytest.mark.parametrize("words", [1, 20, 200, 1000])
@pytest.mark.parametrize("width", [240, 720])
def test_a_caption_fits_its_place_however_long(words, width):
    pages = caption_pages("walking " * words, width, int(0.3 * width), seconds=6.0)
    assert len(pages) <= 6.0 / PAGE_SECONDS  # time to read each
    for picture in pages:
        assert picture.shape == pages[0].shape
        assert picture.shape[0] <= 0.3 * width and picture.shape[1:] == (width, 3)
        dark = (picture < 160).any(-1)
        assert dark.any()
        assert not dark[0].any() and not dark[-1].any() and not dark[:, 0].any() and not dark[:, -1].any()  # nothing cut at an edge


def test_pages_hold_the_whole_caption_in_readable_letters(monkeypatch):
    shown = []
    draw = ImageDraw.ImageDraw.text
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, xy, text, **more: shown.append((text, more["font"].size)) or draw(
        self, xy, text, **more))  # fmt: skip
    text = " ".join(f"word{number}" for number in range(300))
    pages = caption_pages(text, 720, 216, seconds=10.0)
    assert len(pages) > 1
    assert " ".join(line for line, _ in shown) == text
    assert min(size for _, size in shown) >= 13
    shown.clear()
    assert len(caption_pages(text, 720, 216, seconds=0.2)) == 1  # no time to turn pages: smaller letters
    assert " ".join(line for line, _ in shown) == text


def test_captions_may_be_in_any_script():
    assert typeface(frozenset("čeština, ελληνικά, русский, עברית, ‘quotes’")) == typeface(frozenset())
    unknown = caption_pages("人が歩く 🕺 \U000e0001", 720, 216, seconds=5.0)  # with or without a font for it, no error
    assert (unknown[0] < 128).any()


def video_pictures(path) -> list[np.ndarray]:
    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


def test_a_video_has_the_right_size_rate_and_frames(tmp_path):
    write_video(tmp_path / "clip.mp4", [("a person glides forward", standing(9, speed=0.05))], fps=12.5)
    with av.open(str(tmp_path / "clip.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == Fraction(25, 2)
    pictures = video_pictures(tmp_path / "clip.mp4")
    assert len(pictures) == 9
    assert pictures[0].shape == (720, 720, 3)
    for picture in pictures:
        assert coloured(picture, LEFT).sum() > 1000 and coloured(picture, RIGHT).sum() > 1000
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_several_motions_share_a_video_and_early_ones_stand_still(tmp_path):
    motions = [("a person glides", standing(12, 0.2)), ("a person stands", standing(4)), ("a person glides", standing(12, 0.1))]
    write_video(tmp_path / "grid.mp4", motions)
    pictures = video_pictures(tmp_path / "grid.mp4")
    assert len(pictures) == 12
    assert pictures[0].shape == (720, 720, 3)  # 2 × 2 panels, one free
    for picture in (pictures[0], pictures[-1]):
        figures = coloured(picture, LEFT)
        assert all(figures[cell].sum() > 300 for cell in (np.s_[:360, :360], np.s_[:360, 360:], np.s_[360:, :360]))
        assert figures[360:, 360:].sum() == 0
    still = np.abs(pictures[-1][:300, 360:].astype(int) - pictures[5][:300, 360:]).mean()
    moving = np.abs(pictures[-1][:300, :360].astype(int) - pictures[5][:300, :360]).mean()
    assert still < 0.2 * moving


@pytest.mark.parametrize("count", [1, 3, 40])
def test_a_grid_is_no_larger_than_players_take(tmp_path, count):
    write_video(tmp_path / "grid.mp4", [("a person stands", standing(1))] * count)
    height, width, _ = video_pictures(tmp_path / "grid.mp4")[0].shape
    assert 720 <= width <= 1920 and height <= 1920 and height % 2 == width % 2 == 0


def test_tiles_are_laid_row_by_row():
    cells = [np.full((2, 2, 3), shade, np.uint8) for shade in (10, 20, 30)]
    np.testing.assert_array_equal(tiled(cells, 2)[::2, ::2, 0], [[10, 20], [30, 10]])  # the free one looks like an empty corner


@pytest.mark.parametrize("fps, shown, milliseconds", [(20, 10, 50), (12.5, 10, 80), (120, 2, 40), (50, 5, 40)])
def test_a_gif_loops_at_the_speed_of_the_motion(tmp_path, fps, shown, milliseconds):
    write_video(tmp_path / "clip.gif", [("a person glides", standing(10, speed=1.0 / fps))], fps=fps)
    with Image.open(tmp_path / "clip.gif") as gif:
        assert (gif.size, gif.n_frames, gif.info["duration"], gif.info["loop"]) == ((360, 360), shown, milliseconds, 0)
        assert coloured(np.asarray(gif.convert("RGB")), LEFT).sum() > 300


def test_the_way_and_the_footprints_are_left_on_the_floor():
    gliding = standing(40, speed=0.05)
    scene = Scene(gliding, fps=20)
    assert len(scene.prints[0]) == 0  # a foot that slides at 1 m/s does not stand
    stepping = standing(40)
    stepping[18:, :, 2] += 0.5  # one jump ahead
    stepping[14:22, :, 1] += 0.3
    scene = Scene(stepping, fps=20)
    starts, outlines, colours = scene.prints
    assert len(starts) == 4 and (starts == 0).sum() == 2
    for outline, colour in zip(outlines, colours):  # left feet leave blue prints at x > 0
        assert (colour[2] > colour[0]) == (outline[:, 0].mean() > 0)
        assert np.ptp(outline[:, 2]) > 0.15 and not outline[:, 1].any()
    picture = scene.draw(39)
    behind = scene.camera.project(outlines[0].mean(axis=0) - scene.followed[39])[0].round().astype(int)
    assert np.ptp(picture[behind[1], behind[0]].astype(int)) > 30  # a tint where the floor is grey
    ahead_of_time = Scene(stepping, fps=20).draw(0)
    assert not np.array_equal(picture, ahead_of_time)


def test_feet_stand_where_toes_or_heels_do():
    joints = standing(30)
    joints[10:20, [HUMANML3D.bones.index(bone) for bone in ("LeftFoot", "LeftToeBase")], 1] += 0.2
    stands = standing_feet(joints, 20, HUMANML3D)
    assert stands.shape == (30, 2)
    assert stands[:9].all() and stands[21:].all()
    assert stands[10:20].tolist() == [[False, True]] * 10
    assert not standing_feet(joints[:1], 20, HUMANML3D).any()  # one frame does not tell


@pytest.mark.parametrize("fps", [24, 30, 50, 12.5, 120])
def test_the_delays_of_a_gif_add_up_to_the_motion(fps):
    moments = range(60)[:: ceil(fps / 25)]
    delays = gif_delays(moments, fps)
    assert len(delays) == len(moments) and abs(sum(delays) - 1000 * 60 / fps) <= 10
    assert max(delays) - min(delays) <= 10 or fps == 120
    assert all(delay % 10 == 0 for delay in delays)


def test_a_contact_sheet_shows_where_the_pose_changes():
    """Someone who stands still for long and then raises an arm: the arm is in most pictures, in order."""
    joints = standing(100)
    arm = [HUMANML3D.bones.index(bone) for bone in ("LeftForeArm", "LeftHand")]
    joints[80:, arm, 1] += np.linspace(0, 0.8, 20)[:, None]
    moments = key_moments(joints, 8)
    assert moments[0] == 0 and moments[-1] == 99 and moments == sorted(moments)
    assert sum(moment >= 80 for moment in moments) >= 5
    assert key_moments(joints[:1], 8) == [0] * 8


def test_front_and_back_can_be_distinguished():
    """The face is seen from the front and not from behind."""
    front, seen = standing(2), []
    for joints in (front, front * [-1, 1, -1]):
        red, green, blue = Scene(joints, 20, (400, 400)).draw(0).astype(int).transpose(2, 0, 1)
        skin = (red > 150) & (red - blue > 35) & (red - blue < 90) & (abs(red + blue - 2 * green) < 12)  # neither grey nor orange
        seen.append(skin.sum())
    assert seen[0] > 40 > 4 * seen[1]


def test_a_contact_sheet_has_a_row_for_each_motion(tmp_path):
    contact_sheet(tmp_path / "sheet.png", [("a person stands", standing()), ("a person glides", standing(12, 0.1))], columns=4)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    figures = coloured(sheet, LEFT)
    assert sheet.shape[1] == 4 * 200
    for cell in np.split(figures, 4, axis=1):
        assert cell[: len(cell) // 2].sum() > 100 and cell[len(cell) // 2 :].sum() > 100


def test_a_broken_motion_leaves_no_file(tmp_path):
    joints = standing()
    joints[2, 3] = np.nan
    with pytest.raises(UserError, match="NaN"):
        write_video(tmp_path / "clip.mp4", [("a person stands", joints)])
    with pytest.raises(UserError, match="joints"):
        write_video(tmp_path / "clip.gif", [("a person stands", standing()[:, :10])])
    assert list(tmp_path.iterdir()) == []


def test_working_ahead_keeps_order_and_passes_errors_on():
    assert list(ahead(lambda x: x * x, range(20))) == [x * x for x in range(20)]
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda x: 1 / x, [1, 0, 2]))
