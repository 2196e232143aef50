"""HDM05: labels from its classes, joints from its originals."""

import csv
import io
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from prepare.hdm05_labels import label_of_class
from prepare.open_sources import HDM05_NAME, hdm05_files, read_hdm05

SHARED = Path(__file__).parents[2] / "shared" / "data" / "everyday"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs the project's reference data")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("kickLFront1Reps", "kick to the front with the left foot, 1 repetition"),
        ("hopBothLegs3hops", "hop on both legs, 3 hops"),
        ("hopRLeg1hops", "hop on the right leg, 1 hop"),
        ("elbowToKnee3RepsRelbowStart", "lift the knee to the elbow of the other side, right elbow first, 3 repetitions"),
        ("sneak2StepsLStart", "sneak, 2 steps, left foot first"),
        ("cartwheelLHandStart1Reps", "cartwheel, 1 repetition"),
        ("rotateArmsBothBackward1Reps", "rotate both arms backward, 1 repetition"),
        ("punchRSide2Reps", "punch to the side with the right hand, 2 repetitions"),
        ("hitRHandHead", "hit right hand head"),  # not in the table
    ],
)
def test_classes_in_words(name, label):
    assert label_of_class(name) == label


@needs_shared
def test_labels_are_those_of_the_everyday_clips():
    with (SHARED / "clips.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "hdm05"]
    assert len(rows) == 236
    assert all(label_of_class(HDM05_NAME.match(row["clip"])[3]) == row["label"] for row in rows)


@needs_shared
def test_originals_give_the_everyday_arrays(tmp_path):
    with tarfile.open(SHARED / "raw_samples.tar.xz") as archive:
        for member in archive.getmembers():
            if re.search("hdm05/HDM.*(asf|amc|AMC)$", member.name):
                (tmp_path / Path(member.name).name).write_bytes(archive.extractfile(member).read())
    takes = {take.name: take for take in map(read_hdm05, hdm05_files(tmp_path))}
    assert len(takes) == 6 and not any(take.problem for take in takes.values())
    assert takes["hdm05_HDM_bk_sneak2StepsLStart_006_120"].label == "sneak, 2 steps, left foot first"
    takes_by_file = {f"hdm05/{name.removeprefix('hdm05_')}.npy": take for name, take in takes.items()}
    count = 0
    with tarfile.open(SHARED / "joints.tar.xz", "r|xz") as archive:
        for member in archive:
            if take := takes_by_file.get(member.name.removeprefix("./")):
                joints = np.load(io.BytesIO(archive.extractfile(member).read()))
                assert joints.shape == take.joints.shape and np.abs(joints - take.joints).max() < 2e-4
                count += 1
    assert count == 6


def test_an_amc_without_its_skeleton_is_a_problem_of_that_take(tmp_path):
    (tmp_path / "HDM_bd_squat1Reps_004_120.amc").write_text(":FULLY-SPECIFIED\n:DEGREES\n1\nroot 0 0 0 0 0 0\n")
    (take,) = map(read_hdm05, hdm05_files(tmp_path))
    assert ".asf file of its subject is missing" in take.problem and take.actor == "bd" and take.joints is None
