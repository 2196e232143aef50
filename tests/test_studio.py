"""The studio over HTTP, as a browser and as gradio_client use it, with tiny random weights."""

from __future__ import annotations

import json
import re
import time
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio")
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from motion.clip import Motion
from pipelines import load
from tests.browser import EXECUTABLE, Browser, Page
from tests.test_html import NASTY
from tests.tiny import walk, write_checkpoints
from web.app import build, launch
from web.session import MAX_ENTRIES, Action, Sample, Session


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    lamp = load(str(write_checkpoints(tmp_path_factory.mktemp("checkpoints"))), gpu_id=-1)
    blocks = build(lamp)
    yield launch(blocks, "127.0.0.1", None, max_upload=1, wait=False)
    blocks.close()


@pytest.fixture
def client(address) -> Client:
    return Client(address, verbose=False)


def generate(client: Client, prompt: str = "a person bows", frames: int = 16, samples: int = 1) -> tuple:
    return client.predict(prompt, frames, 1, 0, samples, False, api_name="/generate")


def test_a_motion_is_generated_edited_undone_and_downloaded(client, tmp_path):
    note, view, chosen, *_ = generate(client, samples=2)
    assert note == "" and view.count('<iframe title="motion" sandbox="allow-scripts"') == 2
    assert [title for title, _ in chosen["choices"]] == ["2. a person bows (16 frames)", "1. a person bows (16 frames)"]
    _, _, edited, *_ = client.predict(1, "a person runs", 4, 8, 1, api_name="/edit")
    assert edited["value"] == 3 and edited["choices"][0][0] == "3. a person runs (16 frames)"
    assert len(client.predict(api_name="/undo")[2]["choices"]) == 2
    assert len(client.predict(api_name="/redo")[2]["choices"]) == 3
    _, _, longer, *_ = client.predict(1, "", 4, 8, 8, 1, api_name="/continue")
    assert longer["choices"][0][0].endswith("(24 frames)")
    with zipfile.ZipFile(client.predict(1, ["npy", "bvh"], api_name="/download")) as archive:
        (entry,) = json.loads(archive.read("prompts.json"))["motions"]
        assert entry["prompt"] == "a person bows" and entry["seed"] == 1 and entry["frames"] == 16
        assert set(entry["files"]) <= set(archive.namelist()) and len(entry["files"]) == 4
    assert client.predict(1, "a person runs", api_name="/search")[0]["data"] != []


def test_a_motion_is_selected_looped_and_captioned(client):
    generate(client, samples=2, frames=24)
    view, start, end, strip = client.predict(1, api_name="/select")
    assert view.count("<iframe") == 1 and (start["value"], end["value"], strip) == (8, 16, [8, 16, 24, 20.0])
    _, _, looped, *_ = client.predict(1, "", 4, 8, 1, api_name="/loop")
    assert looped["value"] == 3 and int(re.search(r"\((\d+) frames\)", looped["choices"][0][0])[1]) >= 24
    with zipfile.ZipFile(client.predict(3, ["npy"], api_name="/download")) as archive:
        record = json.loads(archive.read("prompts.json"))
    made_by = record["provenance"][record["motions"][0]["made_by"]]
    assert made_by["settings"]["details"]["loop"] is True
    ((seconds, caption),) = client.predict(1, api_name="/caption")["data"]
    assert seconds == "0.0–1.2" and caption.startswith("a ")
    with pytest.raises(AppError, match="not in the list of choices"):
        client.predict(9, api_name="/select")
    for name in ("/caption", "/loop"):
        with pytest.raises(AppError, match="no motion is selected"):
            client.predict(*([None, "", 4, 8, 1] if name == "/loop" else [None]), api_name=name)


def test_what_a_visitor_writes_stays_text(client):
    _, view, chosen, *_ = generate(client, NASTY[:40], 8)
    assert "<script" not in view and view.count("<iframe") == 1
    assert chosen["choices"][0][0].startswith("1. walks </script>")


def test_errors_are_one_line(client, tmp_path):
    with pytest.raises(AppError, match="prompt: the text is empty"):
        generate(client, " ")
    with pytest.raises(AppError, match="no motion is selected"):
        client.predict(None, ["npy"], api_name="/download")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY nothing")
    with pytest.raises(AppError, match=r"broken\.npy") as error:
        client.predict(handle_file(str(tmp_path / "broken.npy")), api_name="/upload")
    assert str(Path(tmp_path).anchor + "tmp") not in str(error.value)


def test_uploads_are_limited(client, tmp_path):
    np.save(tmp_path / "walk.npy", walk(40).astype(np.float32))
    _, view, chosen, *_ = client.predict(handle_file(str(tmp_path / "walk.npy")), api_name="/upload")
    assert view.count("<iframe") == 1 and chosen["choices"][0][0] == "1. walk.npy (40 frames)"
    np.save(tmp_path / "large.npy", np.zeros((6000, 22, 3), np.float32))  # 1.6 MB
    with pytest.raises(Exception, match=r"(?i)size|large|413"):
        client.predict(handle_file(str(tmp_path / "large.npy")), api_name="/upload")


def test_the_page_names_no_other_host(address):
    with urllib.request.urlopen(address) as answer:
        html = answer.read().decode()
    assert "fonts.googleapis" not in html and "cdnjs" not in html
    assert not json.loads(urllib.request.urlopen(f"{address}config").read())["analytics_enabled"]


def test_a_session_forgets_its_oldest_steps():
    session = Session()
    for _ in range(MAX_ENTRIES + 5):
        session = session.added([Sample(Motion(walk(8)))], Action("generate"))
    assert len(session.entries) == MAX_ENTRIES and session.entry(MAX_ENTRIES + 5).number == MAX_ENTRIES + 5
    assert session.undo().undo().redo().entries == session.undo().entries
    assert Session().undo() == Session().redo() == Session()


# In a browser, which resolves no name and reaches 127.0.0.1 alone

ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
OWN = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "about:")
needs_browser = pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium or Chrome here")


def press(page: Page, words: str) -> None:
    """Press the button or tab with this text; Gradio keeps a second, hidden copy of each tab."""
    same = f"[...document.querySelectorAll('button')].filter(one => one.textContent.trim() === {json.dumps(words)})"
    button = f"{same}.sort((a, b) => (b.role === 'tab') - (a.role === 'tab'))[0]"
    page.wait(f"{button} != null && !{button}.disabled")
    page.evaluate(f"{button}.click()")


def chosen(page: Page, title: str) -> None:
    """Wait until the selected motion's title starts with `title`."""
    page.wait(f"[...document.querySelectorAll('input')].some(one => one.value.startsWith({json.dumps(title)}))")


def section(page: Page) -> list[int]:
    """The two frames of the section on the timeline, after the number fields show the same frames."""
    on_strip = json.loads(page.evaluate("JSON.stringify([...document.querySelectorAll('.handle')].map(one => one.ariaValueNow))"))
    fields = "[...document.querySelectorAll('#section input')].map(one => one.value).join()"
    page.wait(f"{fields} === '{','.join(on_strip)}'")
    return [int(frame) for frame in on_strip]


def nothing_else_was_asked(browser: Browser, page: Page) -> None:
    """Assert that there was no request to another host, no script error, and no request by the viewer's frame."""
    assert browser.requests and [url for url in browser.requests if not url.startswith(OWN)] == []
    assert [one for one in browser.errors if one.get("entry", {}).get("level", "error") == "error"] == []
    assert page.frame().evaluate("performance.getEntriesByType('resource').length") == 0


@pytest.mark.slow
@needs_browser
def test_a_visitor_generates_scrubs_edits_uploads_captions_searches_and_downloads(address, tmp_path):
    np.save(tmp_path / "walk.npy", walk(40).astype(np.float32))
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY nothing")
    with Browser(tmp_path / "profile", ALONE) as browser:
        page = Page(browser, address, width=1200, height=1000)
        page.wait("document.querySelector('#generate') != null")
        page.click("#generate")
        page.wait("document.querySelector('iframe[title=motion]') != null")
        chosen(page, "1. a person waves with the right hand (60 frames)")

        frame = page.frame()  # scrub: the viewer's own timeline, by mouse and keys
        frame.wait("document.querySelector('#timeline') != null")
        outer, inner = page.box("iframe[title=motion]"), frame.centre("#timeline", 0.75)
        page.drag((outer["x"] + 60, outer["y"] + inner[1]), (outer["x"] + inner[0], outer["y"] + inner[1]))
        frame.wait("Math.abs(document.querySelector('#timeline').ariaValueNow - 44) < 3")

        press(page, "Edit")
        page.wait("document.querySelector('.strip')?.getBoundingClientRect().width > 100")
        assert section(page) == [20, 40]
        strip = page.box(".strip")
        at = lambda number: (strip["x"] + strip["width"] * number / 60, strip["y"] + 20)  # noqa: E731
        page.drag(at(40), at(50))  # an end
        assert section(page) == [20, 50]
        page.drag(at(30), at(25))  # the whole section
        assert section(page) == [15, 45]
        page.drag(at(5), at(10))  # the nearest end comes to where it is pressed
        assert section(page) == [10, 45]
        page.evaluate("document.querySelector('.handle[data-end=\"1\"]').focus()")
        for key in ("ArrowLeft", "PageDown", "ArrowUp"):
            page.key(key)
        assert section(page) == [10, 35]
        for key in ("End", "ArrowRight"):
            page.key(key)
        assert section(page) == [10, 60]
        page.evaluate("document.querySelector('#section input').focus()")
        page.evaluate("document.querySelector('#section input').select()")
        page.send("Input.insertText", text="24")
        page.wait("document.querySelector('.handle').ariaValueNow === '24'")
        press(page, "Regenerate this section")
        chosen(page, "2. ")
        press(page, "Make a loop")
        chosen(page, "3. ")

        press(page, "Upload, captions, search")
        page.wait("document.querySelector('input[type=file]') != null")
        page.give_file("input[type=file]", tmp_path / "walk.npy")
        chosen(page, "4. walk.npy (40 frames)")
        press(page, "Caption the selected motion")
        page.wait("document.body.textContent.includes('0.0–2.0')")
        press(page, "Search")
        page.wait("[...document.querySelectorAll('td')].some(one => /^-?[01]\\.[0-9]{3}$/.test(one.textContent.trim()))")

        browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "downloads"))
        press(page, "Prepare download")
        page.wait("document.querySelector('a[href*=\"motion4.zip\"]') != null")
        page.evaluate("document.querySelector('a[href*=\"motion4.zip\"]').click()")
        end = time.monotonic() + 30
        while not (tmp_path / "downloads" / "motion4.zip").is_file():
            assert time.monotonic() < end
            time.sleep(0.05)
        with zipfile.ZipFile(tmp_path / "downloads" / "motion4.zip") as archive:
            assert "prompts.json" in archive.namelist()
        nothing_else_was_asked(browser, page)

        page = Page(browser, address)
        page.wait("document.querySelector('#generate') != null")
        press(page, "Upload, captions, search")
        page.wait("document.querySelector('input[type=file]') != null")
        page.give_file("input[type=file]", tmp_path / "broken.npy")
        page.wait("document.body.textContent.includes('broken.npy: ')")
        assert page.evaluate("document.querySelector('iframe[title=motion]') == null")


@needs_browser
def test_a_small_dark_screen_is_not_scrolled_sideways_and_fingers_select_the_section(address, tmp_path):
    with Browser(tmp_path, ALONE) as browser:
        page = Page(browser, address, width=390, height=900, dark=True, touch=True)
        page.wait("document.querySelector('#generate') != null")
        page.evaluate("document.querySelector('#generate').click()")
        page.wait("document.querySelector('iframe[title=motion]') != null")
        chosen(page, "1. ")
        for tab in ("Edit", "Upload, captions, search", "Generate"):
            press(page, tab)
            page.wait("document.documentElement.scrollWidth <= innerWidth")
        press(page, "Edit")
        page.wait("document.querySelector('.strip')?.getBoundingClientRect().width > 100")
        x, y = page.centre(".handle[data-end=\"1\"]")
        page.touch("touchStart", (x, y))
        page.touch("touchMove", (x + 30, y))
        page.touch("touchEnd")
        first, last = section(page)
        assert first == 20 and last > 40
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        nothing_else_was_asked(browser, page)
