"""Archives from anywhere: plain ones are read, all others end in one line, before they fill a disk or the memory."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from motion.files.read import read_motion
from utils.archives import Limits, read_members
from utils.errors import UserError


def zipped(path: Path, *names: str, content: bytes = b"text", **changes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.writestr(info, content, compress_type=zipfile.ZIP_DEFLATED)
    return path


def tarred(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "elsewhere", 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"text") if info.size else None)
    return path


def read(path: Path, limits: Limits | None = None) -> dict[str, bytes]:
    return dict(read_members(path, lambda name: True, limits or Limits()))


def test_plain_archives_are_read(tmp_path):
    assert read(zipped(tmp_path / "a.zip", "texts/a.txt", "texts/b.txt")) == {"texts/a.txt": b"text", "texts/b.txt": b"text"}
    tar = tarred(tmp_path / "a.tar.gz", ("texts", tarfile.DIRTYPE), ("texts/a.txt", tarfile.REGTYPE))
    assert read(tar) == {"texts/a.txt": b"text"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["../a.txt"], "leads outside"), (["/a.txt"], "leads outside"), (["C:/a.txt"], "leads outside"),
        (["x/" * 30 + "a.txt"], "folders deep"), (["x" * 300], "240 characters"), (["a.txt", "A.TXT"], "twice"),
    ],
)  # fmt: skip
def test_names_that_do_harm_are_refused(tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        read(zipped(tmp_path / "a.zip", *names))
    with pytest.raises(UserError, match=message):
        read(tarred(tmp_path / "a.tar.gz", *((name, tarfile.REGTYPE) for name in names)))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    with pytest.raises(UserError, match="link or a device"):
        read(tarred(tmp_path / "a.tar.gz", ("a.txt", kind)))
    with pytest.raises(UserError, match="link or a device"):
        read(zipped(tmp_path / "a.zip", "a.txt", external_attr=0o120777 << 16))


def test_what_unpacks_to_too_much_is_refused_before_it_does(tmp_path):
    bomb = zipped(tmp_path / "a.zip", "a.txt", content=bytes(10 << 20))
    assert bomb.stat().st_size < 20_000
    with pytest.raises(UserError, match="more than 5 MiB"):
        read(bomb, Limits(size=5 << 20))
    with pytest.raises(UserError, match="more than 2 files"):
        read(zipped(tmp_path / "b.zip", "a", "b", "c"), Limits(members=2))
    with pytest.raises(UserError, match="more than"):
        read(tarred(tmp_path / "b.tar.gz", *((name, tarfile.REGTYPE) for name in "abc")), Limits(members=2))


def test_encrypted_unknown_damaged_and_odd_files_are_one_line(tmp_path):
    path = zipped(tmp_path / "a.zip", "a.txt")
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    for offset, value, message in ((8, 1, "encrypted"), (10, 99, "unknown compression")):
        changed = bytearray(content)
        changed[central + offset] = value
        path.write_bytes(changed)
        with pytest.raises(UserError, match=message):
            read(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        read(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "pipe")


def test_a_bomb_of_numbers_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("motion.files.arrays.LARGEST", 1 << 20)
    np.savez_compressed(tmp_path / "a.npz", np.zeros(1 << 18))
    with pytest.raises(UserError, match="more than 1 MiB"):
        read_motion(tmp_path / "a.npz")
