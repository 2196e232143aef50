"""CMU's archive in its own layout: rates, skeletons, first frames, descriptions, and segments without a file."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from prepare import open_dataset
from prepare.open_sources import cmu_files, cmu_segments, descriptions, hold_jumps, read_cmu
from prepare.takes import Segment

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs the project's reference data")
CAPTION = b"a person flips to the left.#a/DET person/NOUN flip/VERB to/ADP the/DET left/NOUN#0.0#0.0\n"


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """subjects/<subject>/<subject>.asf and <capture>.amc in a .tar.gz, CMU's list of descriptions beside it."""
    folder = tmp_path_factory.mktemp("cmu")
    with tarfile.open(SHARED / "everyday" / "raw_samples.tar.xz") as samples, tarfile.open(folder / "all.tar.gz", "w:gz") as packed:
        for member in samples.getmembers():
            path = Path(member.name)
            if path.parent.name == "cmu" and path.suffix in (".asf", ".amc"):
                info = tarfile.TarInfo(f"subjects/{path.stem.partition('_')[0]}/{path.name}")
                info.size = member.size
                packed.addfile(info, samples.extractfile(member))
    (folder / "cmu-mocap-index-text.txt").write_text("Subject #16 (locomotion)\n16_15\twalk\n35_17\trun/jog\n01_01\tclimb\n")
    return folder


@needs_shared
def test_captures_agree_with_the_everyday_arrays(archive):
    segments = {"90_08": [Segment("004709", 0, 113, "train")], "90_11": [Segment("010444", 0, 60, "train")]}
    takes = {take.name: take for take in map(read_cmu, cmu_files(archive, segments))}
    assert {name: take.label for name, take in takes.items()} == {
        "cmu_16_15": "walk", "cmu_35_17": "run/jog", "cmu_90_08": "", "cmu_90_11": "",
    }  # fmt: skip
    takes_by_file = {f"cmu/{name.removeprefix('cmu_')}.npy": take for name, take in takes.items()}
    with tarfile.open(SHARED / "everyday" / "joints.tar.xz", "r|xz") as arrays:
        for member in arrays:
            if take := takes_by_file.pop(member.name.removeprefix("./"), None):
                joints = np.load(io.BytesIO(arrays.extractfile(member).read()))
                assert joints.shape == take.joints.shape  # 90_08 and 90_11 are of 60 frames a second, with subject 08's skeleton
                assert np.abs(joints - take.joints).max() < 1e-3  # the wrong first frame of 16_15 included
            if not takes_by_file:
                break
    assert not takes_by_file


@needs_shared
def test_all_segments_are_looked_for_and_the_missing_ones_counted(archive, tmp_path, capsys):
    (tmp_path / "texts").mkdir()
    for name in ("index.csv", "train.txt", "val.txt", "test.txt"):
        (tmp_path / name).write_bytes((SHARED / "humanml3d" / name).read_bytes())
    segments = cmu_segments(tmp_path, {})
    total = sum(map(len, segments.values()))
    assert total == 2913
    present = [segment.name for capture in ("16_15", "35_17", "90_08", "90_11") for segment in segments.get(capture, [])]
    for name in present:
        (tmp_path / "texts" / f"{name}.txt").write_bytes(CAPTION)
        (tmp_path / "texts" / f"M{name}.txt").write_bytes(CAPTION.replace(b"left", b"right"))
    open_dataset.main([f"--cmu={archive}", f"--texts={tmp_path}", f"--out={tmp_path / 'Open'}", "--workers=1"])
    assert f"segments of CMU: 2,913, {total - len(present):,} without a file" in capsys.readouterr().out
    listed = (tmp_path / "Open" / "all.txt").read_text().split()
    assert set(present) <= set(listed) and "cmu_16_15" in listed  # captioned by people, and by CMU's words


def test_first_frames_that_jump_are_held():
    joints = np.cumsum(np.full((40, 22, 3), 0.01), axis=0)
    assert np.array_equal(hold_jumps(joints, 120), joints)
    wrong = joints.copy()
    wrong[:3, 5] += 1
    held = hold_jumps(wrong, 120)
    assert np.array_equal(held[:3], np.repeat(joints[3:4], 3, axis=0)) and np.array_equal(held[3:], joints[3:])
    late = joints.copy()
    late[20:] += 1
    assert np.array_equal(hold_jumps(late, 120), late)


def test_descriptions_of_captures():
    text = "Subject 14\n14_27 sit on high stool, stand up\n14_28,\"laugh\"\n14_29\t \nnot 14_30 this\n"
    assert descriptions([text]) == {"14_27": "sit on high stool, stand up", "14_28": "laugh"}
