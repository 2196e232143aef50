"""Downloads against a server on this machine: whole, broken off, refused, replaced by a web page, damaged, or of something else."""

from __future__ import annotations

import subprocess
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from models import clip
from models.vqvae import VQConfig
from pipelines.motion2text import MotionToText
from pipelines.runs import resolve_generator
from prepare import download, fetch
from prepare.download import main
from tests.released import MASKED, VQ, captioner_state, masked_t2m_state, tokeniser_state, write_momask, write_opt_words
from utils.errors import UserError

ROOT = Path(__file__).parent.parent
usual = download.wanted
PAGE = b"<!DOCTYPE html><html><title>Quota exceeded</title></html>"
FORM = b'<form><input type="hidden" name="id" value="7"><input type="hidden" name="confirm" value="t&amp;u"></form>'


class Server:
    """Files by path (with the query), and how they are sent: at most `most` bytes a connection, with or without ranges."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.pages: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.most, self.ranges, self.refusals = 1 << 30, True, []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.requests.append((request.path, wanted))
        if self.refusals:
            return request.send_error(self.refusals.pop(0))
        if request.path in self.pages:
            return self.send(request, 200, self.pages[request.path], {"Content-Type": "text/html; charset=utf-8"})
        if request.path not in self.files:
            return request.send_error(404)
        content = self.files[request.path]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if start >= len(content):
            return self.send(request, 416, b"", {"Content-Range": f"bytes */{len(content)}"})
        more = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        self.send(request, 206 if start else 200, content[start:], more)

    def send(self, request: BaseHTTPRequestHandler, code: int, body: bytes, headers: dict[str, str]) -> None:
        request.send_response(code)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body[: self.most])  # less than was promised: the connection drops


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(fetch, "PAUSE", 0)
    monkeypatch.setattr(download, "LAMP", f"{server.address}/lamp/")
    monkeypatch.setattr(download, "DRIVE", f"{server.address}/drive?id=")
    yield server
    server.http.shutdown()


def refused(*flags: str) -> None:
    with pytest.raises(SystemExit) as end:
        main([*flags])
    assert end.value.code == 2


def test_broken_connections_are_taken_up_where_they_ended(server, tmp_path):
    server.files["/file"] = bytes(range(250)) * 40
    server.most = 3000
    fetch.fetch(f"{server.address}/file", tmp_path / "new" / "file")
    assert (tmp_path / "new" / "file").read_bytes() == server.files["/file"]
    assert [wanted for _, wanted in server.requests] == [None, "bytes=3000-", "bytes=6000-", "bytes=9000-"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_server_without_ranges_starts_over(server, tmp_path):
    server.files["/file"], server.ranges = b"0123456789", False
    (tmp_path / "file.part").write_bytes(b"01234")
    fetch.fetch(f"{server.address}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_part_that_is_whole_or_of_another_file(server, tmp_path):
    server.files["/file"] = b"0123456789"
    for part in (b"0123456789", b"something else, and longer"):
        (tmp_path / "file.part").write_bytes(part)
        fetch.fetch(f"{server.address}/file", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_gives_up_without_progress_and_keeps_the_part(server, tmp_path):
    server.files["/file"], server.most = b"0123456789", 0
    (tmp_path / "file.part").write_bytes(b"01234")
    with pytest.raises(UserError, match="5 bytes were downloaded and are kept; run the command again"):
        fetch.fetch(f"{server.address}/file", tmp_path / "file")
    assert len(server.requests) == fetch.ATTEMPTS and (tmp_path / "file.part").read_bytes() == b"01234"
    server.most, server.refusals = 100, [503, 429]
    fetch.fetch(f"{server.address}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_refusals_and_web_pages_are_reported_at_once(server, tmp_path):
    with pytest.raises(UserError, match=r"refuses the download \(404"):
        fetch.fetch(f"{server.address}/gone", tmp_path / "file")
    server.pages["/page"] = PAGE
    with pytest.raises(UserError, match="sends a web page instead of the file"):
        fetch.fetch(f"{server.address}/page", tmp_path / "file")
    assert len(server.requests) == 2 and not list(tmp_path.iterdir())


def test_question_of_google_drive_is_answered_once(server, tmp_path):
    server.pages["/drive?id=7"], server.files["/drive?id=7&confirm=t%26u"] = FORM, b"file"
    fetch.fetch(f"{server.address}/drive?id=7", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"file"
    server.pages["/drive?id=7&confirm=t%26u"] = FORM
    with pytest.raises(UserError, match="web page"):
        fetch.fetch(f"{server.address}/drive?id=7", tmp_path / "again")


def zipped(folder: Path, prefix: str = "") -> bytes:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, Path(prefix) / path.relative_to(folder))
        archive.writestr("__MACOSX/._t2m", "waste")
    return target.read_bytes()


def saved(checkpoint: dict, path: Path) -> bytes:
    torch.save(checkpoint, path)
    return path.read_bytes()


@pytest.fixture
def models(server, tmp_path, monkeypatch):
    """What download_models.sh asks for, small."""
    vq = VQConfig(num_quantizers=1, nb_code=16, code_dim=8, width=8, depth=1)
    server.files["/lamp/vq.tar"] = saved({"net": tokeniser_state(vq, "vqvae.")}, tmp_path / "vq.tar")
    server.files["/lamp/t2m.tar"] = saved({"t2m_transformer": masked_t2m_state(), "ep": 1}, tmp_path / "t2m.tar")
    qformer = ROOT.parent / "shared" / "parity" / "lamp_qformer" / "net_best_acc.tar"
    if not qformer.exists():
        pytest.skip("a Q-Former in the released layout is not here")
    server.files["/lamp/h3d-qformer.tar"] = qformer.read_bytes()
    write_momask(tmp_path / "source")
    server.files["/drive?id=1dtKP2xBk-UjG9o16MVfBJDmGNSI56Dch"] = zipped(tmp_path / "source" / "t2m", "t2m")
    server.files["/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08/ViT-B-32.pt"] = b"test"
    monkeypatch.setattr(clip, "ADDRESS", f"{server.address}{list(server.files)[-1]}")
    monkeypatch.setattr(clip.Path, "home", lambda: tmp_path)
    return ["--what", "models", "--checkpoints_dir", str(tmp_path / "checkpoints")]


def test_models_lie_where_scripts_look_for_them(server, models, tmp_path, capsys):
    existing = tmp_path / "checkpoints" / "t2m" / MASKED
    existing.mkdir(parents=True)
    (existing / "opt.txt").write_text("mine")
    server.most = 20_000
    main(models)
    folder = tmp_path / "checkpoints" / "t2m"
    assert (existing / "opt.txt").read_text() == "mine" and "exists already, not overwritten" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [VQ, MASKED, "length_estimator", "tres_nlayer8_ld384_ff1024_rvq6ns_cdp0.2_sw", "lamp", "lamp_t2m", "lamp_vq"]
    )
    assert resolve_generator(folder.parent, "t2m").masked.name == "lamp_t2m"
    assert (folder / "lamp_vq" / "meta" / "mean.npy").is_file()
    assert not [path for path in (tmp_path / "checkpoints" / ".download").iterdir()]
    server.requests.clear()
    main(models)
    assert not server.requests and capsys.readouterr().out.count("exists already") == 5


def test_a_wrong_file_is_renamed_and_downloaded_again(server, models, tmp_path, capsys):
    good = server.files["/lamp/vq.tar"]
    aside = tmp_path / "checkpoints" / ".download" / "vq.tar.bad"
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 255
    damaged_files = {PAGE: "not a readable", bytes(damaged): "damaged", good[:9000]: "not a readable"}
    for wrong, message in (damaged_files | {server.files["/lamp/t2m.tar"]: "is a masked model"}).items():
        server.files["/lamp/vq.tar"] = wrong
        refused(*models)
        assert message in capsys.readouterr().err and aside.read_bytes() == wrong
        assert not (tmp_path / "checkpoints" / "t2m" / "lamp_vq").exists()
    server.files["/lamp/vq.tar"] = good
    main(models)
    assert (tmp_path / "checkpoints" / "t2m" / "lamp_vq" / "model" / "latest.tar").read_bytes() == good


def test_archives_without_what_they_should_hold(server, tmp_path, capsys):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "readme.txt").write_text("no vectors")
    flags = ["--what", "glove", "--glove", str(tmp_path / "glove"), "--checkpoints_dir", str(tmp_path / "checkpoints")]
    address = "/drive?id=1cmXKUT31pqd7_XpJAiWEo1K81TMYHA5n"
    empty = b"PK\5\6" + bytes(18)
    wrong_files = (zipped(tmp_path / "x"), "no our_vab_data.npy"), (b"zip?", "not a .zip archive"), (empty, "no our_vab")
    for content, message in wrong_files:
        server.files[address] = content
        refused(*flags)
        assert message in capsys.readouterr().err and not (tmp_path / "glove").exists()
    (tmp_path / "x" / "our_vab_data.npy").write_bytes(b"vectors")
    server.files[address] = zipped(tmp_path / "x", "glove")
    main(flags)
    assert (tmp_path / "glove" / "our_vab_data.npy").read_bytes() == b"vectors"


def test_kit_models_are_downloaded_only_on_request(tmp_path):
    def names(*flags: str) -> list[str]:
        config = download.parse(download.Download, ["--what", "models", *flags])
        return [item.folder.parts[0] for item in download.wanted(config, Path())]

    assert names() == ["t2m"] * 4 and names("--kit") == ["t2m"] * 4 + ["kit"] * 2
    assert names("--captioner") == ["t2m"] * 5


def test_captioner_comes_with_its_words_and_the_statistics(server, tmp_path, monkeypatch, capsys):
    root = tmp_path / "checkpoints"
    write_momask(tmp_path / "source")
    (root / "t2m").mkdir(parents=True)
    (tmp_path / "source" / "t2m" / VQ).rename(root / "t2m" / VQ)
    monkeypatch.setattr(download, "OPT_WORDS", f"{server.address}/opt/")
    monkeypatch.setattr(download, "get_clip", lambda _: None)
    monkeypatch.setattr(download, "wanted", lambda config, root: usual(config, root)[-1:])
    server.files["/lamp/m2t.pth"] = saved({"trans": captioner_state()}, tmp_path / "m2t.pth")
    words = write_opt_words(tmp_path / "words")
    server.files |= {f"/opt/{name}": (words / name).read_bytes() for name in ("merges.txt", "vocab.json")}
    server.files["/opt/vocab.json"] = b"{}"
    flags = ["--what", "models", "--captioner", "--checkpoints_dir", str(root)]
    refused(*flags)
    assert "is not as expected" in capsys.readouterr().err and (root / ".download" / "opt-2.7b.bad").is_dir()
    server.files["/opt/vocab.json"] = (words / "vocab.json").read_bytes()
    main(flags)
    assert {path.name for path in (root / "opt-2.7b").iterdir()} == {"vocab.json", "merges.txt"}
    assert (root / "t2m" / "lamp_m2t" / "meta" / "mean.npy").is_file()
    assert MotionToText.load(root, "t2m", "lamp_m2t").captioner.token_ids("</s>") == [2]
    server.requests.clear()
    main(flags)
    assert not server.requests


@pytest.mark.parametrize("what", ["models", "evaluator", "glove"])
def test_each_script_is_the_command_with_its_part(what):
    path = ROOT / "prepare" / f"download_{what}.sh"
    assert f"prepare.download --what {what}" in path.read_text()
    assert subprocess.run(["bash", "-n", path], check=True).returncode == 0
