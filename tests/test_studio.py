"""The studio over HTTP, as a browser and as gradio_client use it, with tiny random weights."""

from __future__ import annotations

import json
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
from tests.test_html import NASTY
from tests.tiny import walk, write_checkpoints
from web.app import build, launch
from web.session import MOST, Action, Sample, Session


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
    for _ in range(MOST + 5):
        session = session.added([Sample(Motion(walk(8)))], Action("generate"))
    assert len(session.entries) == MOST and session.entry(MOST + 5).number == MOST + 5
    assert session.undo().undo().redo().entries == session.undo().entries
    assert Session().undo() == Session().redo() == Session()
