"""The page: one file without a network that holds the motion to a millimetre, and a player that obeys mouse, touch and keys."""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from motion.clip import Motion, framed
from motion.drawing.body import body_points
from motion.drawing.html import write_html
from motion.files.export import export
from motion.skeleton import HUMANML3D, KIT
from tests.browser import EXECUTABLE, Browser, Page
from tests.test_render import standing
from utils.errors import UserError

NASTY = "walks </script><script>alert(1)</script> <!-- & \"quotes\" 'and' ünïcödé 人が歩く 🕺 \u2028 </title>"


class Reader(HTMLParser):
    """The scripts, the title and all addresses in the page."""

    def __init__(self, page: str):
        super().__init__()
        self.scripts, self.addresses, self.titles, self.tags = [], [], [], ["document"]
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "data", "srcset")]

    def handle_data(self, text):
        if self.tags[-1] == "script" and text.strip():
            self.scripts.append(text)
        if self.tags[-1] == "title" and text.strip():
            self.titles.append(text)


def walk(frames: int, far: float = 1.0, skeleton=HUMANML3D) -> np.ndarray:
    """Joints (T, J, 3) of someone who wanders about, `far` metres wide."""
    noise = np.random.default_rng(0).normal(size=(frames, skeleton.num_joints, 3)) * 0.02
    way = far * np.sin(np.linspace(0, 3, frames))[:, None, None] * [1, 0, 1]
    return standing(frames, skeleton=skeleton) + noise + way


def data_of(page: str) -> dict:
    return json.loads(Reader(page).scripts[0])


def unpack(packed: dict, frames: int) -> np.ndarray:
    return (np.frombuffer(b64decode(packed["values"]), "<i2") * packed["scale"]).reshape(frames, -1, 3)


def test_other_points_are_kept_to_two_millimetres_of_their_joints(tmp_path):
    joints = walk(20)
    page = data_of(written(tmp_path, motion("", joints)))
    clip, body = page["clips"][0], page["skeletons"]["22"]
    steps = np.frombuffer(b64decode(clip["plain"]["others"]), "i1").reshape(20, -1, 3) * body["reach"] / 127
    expected = body_points(joints, HUMANML3D)[:, 22:]
    assert np.abs(unpack(clip["plain"], 20)[:, body["owners"]] + steps - expected).max() < 2e-3


def test_a_page_links_to_the_files_beside_it(tmp_path):
    files = ["animation/0/sample0.bvh", "animation/0/sample0_ik.bvh"]
    page = data_of(written(tmp_path, motion("", walk(4)), motion("", walk(4)), files=[files]))
    assert [clip["files"] for clip in page["clips"]] == [files, []]


def motion(text: str, joints: np.ndarray, fps: float = 20, locked=None, contacts=None) -> Motion:
    return Motion(joints, fps, text, locked, contacts)


def written(tmp_path, *clips: Motion, **more) -> str:
    write_html(tmp_path / "page.html", clips, **more)
    return (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("far", [0.5, 10.0, 30.0])
@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=["22 joints", "21 joints"])
def test_the_joints_are_kept_to_a_millimetre(tmp_path, far, skeleton):
    plain, locked = walk(50, far, skeleton), walk(50, far / 2, skeleton)
    clip = data_of(written(tmp_path, motion("a person wanders", plain, 12.5, locked)))["clips"][0]
    assert (clip["frames"], clip["joints"], clip["fps"], clip["caption"]) == (50, skeleton.num_joints, 12.5, "a person wanders")
    assert np.abs(unpack(clip["plain"], 50) - plain).max() < 1e-3
    assert np.abs(unpack(clip["ik"], 50) - locked).max() < 1e-3


def test_a_page_is_small_and_needs_no_network(tmp_path):
    page = written(tmp_path, motion("a person wanders", walk(196), 20, walk(196)))
    assert len(page.encode()) < 160_000
    assert Reader(page).addresses == []
    code = page.replace(Reader(page).scripts[0], "")  # the data are letters by chance
    assert not re.search(r"https?:|//[a-z]|@import|url\(|\bimport\b|fetch\(|XMLHttp", code)
    assert "default-src 'none'" in page  # and the browser would not let it
    assert len(written(tmp_path, *[motion("a person wanders", walk(196), 20)] * 8).encode()) < 8 * 59_000 + 50_000


def test_captions_stay_text(tmp_path):
    page = Reader(written(tmp_path, motion(NASTY, walk(4)), motion("", walk(4))))
    assert page.tags.count("script") == len(page.scripts) == 3  # the data and ours
    assert json.loads(page.scripts[0])["clips"][0]["caption"] == NASTY
    assert page.titles == [NASTY]
    assert Reader(written(tmp_path, motion(NASTY, walk(4)), title="a < b")).titles == ["a < b"]
    assert data_of(written(tmp_path, motion("not a letter: \udcff", walk(4))))["clips"][0]["caption"] == "not a letter: ?"


def test_contacts_are_stretches_of_frames(tmp_path):
    contacts = np.zeros((30, 4))
    contacts[2:12, 1] = contacts[20:, 0] = contacts[:, 3] = 1.0  # left toe, left heel, right toe
    still = standing(30)
    given, result = data_of(written(tmp_path, motion("", still, contacts=contacts), motion("", still)))["clips"]
    assert given["stands"] == [[[2, 12], [20, 30]], [[0, 30]]]
    assert result["stands"] == [[[0, 30]], [[0, 30]]]


def test_the_script_has_the_body_of_the_videos(tmp_path):
    body = data_of(written(tmp_path, motion("", walk(4)), motion("", walk(4, skeleton=KIT))))["skeletons"]
    assert set(body) == {"22", "21"}
    for skeleton in (HUMANML3D, KIT):
        parts = body[str(skeleton.num_joints)]
        points = skeleton.num_joints + len(parts["owners"])
        drawn = {end for start, end, *_ in parts["limbs"]} | {start for start, *_ in parts["limbs"]}
        assert drawn == set(range(points))
        owners = [*range(skeleton.num_joints), *parts["owners"]]
        assert all(side == "left" for start, *_, side, _ in parts["limbs"] if skeleton.bones[owners[start]].startswith("Left"))
        assert parts["feet"] == [list(skeleton.feet[:2]), list(skeleton.feet[2:])]


def test_export_writes_a_page(tmp_path):
    export(tmp_path / "clip.html", walk(8).astype(np.float32), "a person wanders", 20)
    assert data_of((tmp_path / "clip.html").read_text(encoding="utf-8"))["clips"][0]["frames"] == 8


def test_a_broken_motion_leaves_no_page(tmp_path):
    broken = walk(8)
    broken[3, 2] = np.inf
    with pytest.raises(UserError, match="infinity"):
        written(tmp_path, motion("", walk(8)), motion("", walk(8), locked=broken))
    assert list(tmp_path.iterdir()) == []


# ---- In a browser ----


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if EXECUTABLE is None:
        pytest.skip("no Chromium or Chrome here")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "index.html"
    clips = [motion("a person wanders", walk(60), 20, walk(60, 0.5)), motion(NASTY, walk(30)), motion("one frame", walk(1))]
    write_html(path, [*clips, motion("another body", walk(20, skeleton=KIT), 12.5)])
    return path.as_uri()


def test_the_player_plays_and_scrubs(browser, address):
    page = Page(browser, address)
    page.wait("document.body.dataset.playing == 'true' && Number(document.body.dataset.frame) > 3")  # it plays by itself
    page.click("#play")
    page.wait("document.body.dataset.playing == 'false'")
    page.click("#timeline", fraction=0.5)
    page.wait("Math.abs(document.body.dataset.frame - 29.5) <= 1")
    page.drag(page.centre("#timeline", 0.5), page.centre("#timeline", 0.98))
    page.wait("document.body.dataset.frame == 59")
    assert page.evaluate("document.getElementById('timeline').getAttribute('aria-valuenow')") == "59"
    assert "frame 60 / 60" in page.evaluate("document.getElementById('time').textContent")
    page.key("Home")
    page.key("ArrowRight")
    page.wait("document.body.dataset.frame == 1")
    page.click("#play")
    page.wait("Number(document.body.dataset.frame) > 5")
    page.key(" ")
    page.wait("document.body.dataset.playing == 'false'")
    assert browser.errors == []


def test_samples_are_chosen_by_mouse_and_keys(browser, address):
    page = Page(browser, address)
    shown = "document.querySelectorAll('figure:not([hidden])').length"
    page.wait("document.body.dataset.clip == 0")
    assert page.evaluate(shown) == 1
    assert not page.evaluate("document.getElementById('ik').parentElement.hidden")  # locked feet first
    page.evaluate("(document.getElementById('which').value = 'both', showViews())")
    assert page.evaluate(shown) == 2  # to compare
    page.click("#samples button:nth-child(2)")
    page.wait("document.body.dataset.clip == 1")
    assert page.evaluate("document.getElementById('caption').textContent") == NASTY
    assert page.evaluate(shown) == 1
    for expected in (2, 3, 3):  # one of a single frame; one of another skeleton; the last stays the last
        page.key("ArrowDown")
        page.wait(f"document.body.dataset.clip == {expected}")
    assert browser.errors == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_person_is_seen_and_turns(browser, address, dark):
    page = Page(browser, address, width=900, height=600, dark=dark)
    page.wait("Number(document.body.dataset.frame) > 0")
    page.key("Home")

    def figure() -> str:
        return page.evaluate("(draw(), document.getElementById('ik').toDataURL())")

    def sides() -> tuple[float, float]:  # where blue and orange lie
        pixels = np.asarray(Image.open(BytesIO(b64decode(figure().split(",")[1]))).convert("RGB")).astype(int)
        blue = (pixels[..., 2] - pixels[..., 0] > 80).nonzero()[1]
        orange = (pixels[..., 0] - pixels[..., 2] > 80).nonzero()[1]
        assert len(blue) > 500 and len(orange) > 500
        return blue.mean(), orange.mean()

    page.key("1")
    left, right = sides()
    assert left > right  # faces us
    page.key("3")
    left, right = sides()
    assert left < right
    before, (x, y) = figure(), page.centre("#ik")
    page.drag((x, y), (x + 60, y + 20))
    turned = figure()
    assert turned != before
    page.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=300)
    page.wait(f"camera.distance > {page.evaluate('clip.distance')} * 1.1")
    assert figure() != turned
    background = np.asarray(Image.open(BytesIO(page.screenshot())).convert("L"))[5, 895]
    assert (background < 60) == dark
    assert browser.errors == []


def test_fingers_turn_and_zoom(browser, address):
    page = Page(browser, address, width=390, height=800, touch=True)
    page.wait("Number(document.body.dataset.frame) > 0")
    x, y = page.centre("#ik")
    before = page.evaluate("JSON.stringify(camera)")
    page.touch("touchStart", (x, y))
    page.touch("touchMove", (x + 50, y))
    page.touch("touchEnd")
    after = page.evaluate("JSON.stringify(camera)")
    assert json.loads(before)["azimuth"] != json.loads(after)["azimuth"]
    page.touch("touchStart", (x - 20, y), (x + 20, y))
    page.touch("touchMove", (x - 60, y), (x + 60, y))
    page.touch("touchEnd")
    page.wait(f"camera.distance < 0.6 * {json.loads(after)['distance']}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.errors == []


def test_the_player_runs_in_a_frame_without_an_origin(browser, tmp_path):
    """Notebooks and the studio show the player in such a frame."""
    (tmp_path / "outer.html").write_text(framed(motion("a person wanders", walk(20)).html(), 500), encoding="utf-8")
    page = Page(browser, (tmp_path / "outer.html").as_uri(), width=600, height=520)
    end = time.monotonic() + 20
    while True:
        pixels = np.asarray(Image.open(BytesIO(page.screenshot())).convert("RGB")).astype(int)[60:400]
        if (pixels[..., 2] - pixels[..., 0] > 80).sum() > 500 and (pixels[..., 0] - pixels[..., 2] > 80).sum() > 500:
            break  # the left side of the body is blue, the right one orange
        assert time.monotonic() < end, "no person is seen"
