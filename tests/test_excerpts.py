"""Excerpts: one action alone, long enough, proven by its own joints, from training clips only."""

import re
from dataclasses import replace

import numpy as np
import pytest

from motion import layering
from motion.facts import Event, prove
from prepare.captions import captions
from prepare.excerpts import LEAST, MARGIN, RESTS, excerpts, windows
from prepare.synthetic import bower
from prepare.takes import Clip


def uniform(joints):
    joints = layering.to_joints(joints[:, 0].astype(float), layering.to_bones(joints.astype(float)))
    return (joints - [0, joints[..., 1].min(), 0]).astype(np.float32)


def jumper(times, pause=50):
    """Someone who stands and jumps several times, with `pause` frames between two jumps."""
    frames = times * (pause + 11) + pause
    joints = np.repeat(uniform(bower(0.0))[:1], frames, axis=0)
    for number in range(times):
        clock = np.clip((np.arange(frames) - pause - number * (pause + 11)) / 11, 0, 1)
        joints = joints + np.float32(1.4 * clock * (1 - clock))[:, None, None] * np.float32([0, 1, 0])
    return joints


JUMPS = Clip("J", "", "", "cmu", "train", jumper(3), "jump, and much else", ("jump",), take="J")


def facts_of(*events, frames=190):
    return replace(prove(jumper(1)), events=events, frames=frames)


def test_every_jump_of_a_long_clip_is_a_clip_of_one_jump():
    result = excerpts([JUMPS])
    assert [clip.name for clip in result] == ["J_jump1", "J_jump2", "J_jump3"]
    for clip in result:
        assert LEAST <= len(clip.joints) < 50 and prove(clip.joints).jumps == 1
        assert clip.split == "train" and clip.actions == ("jump",) and clip.take == "J" and not clip.captions
        texts = captions(clip.name, "", "", clip.joints, clip.label)
        assert all(re.search("jump|leap|spring|hop|bounc|air", text) and not re.search("twice|times", text) for text in texts)


def test_quick_repetitions_stay_together():
    result = excerpts([replace(JUMPS, joints=np.concatenate([jumper(1), jumper(2, pause=14)]))])
    assert [prove(clip.joints).jumps for clip in result] == [1, 2]


def test_a_clip_of_one_action_or_of_an_unnamed_one_has_no_excerpts():
    assert not excerpts([replace(JUMPS, joints=jumper(1, pause=14))])
    assert not excerpts([replace(JUMPS, actions=("walk",))])


def test_only_training_clips_are_cut():
    with pytest.raises(ValueError, match="test"):
        excerpts([replace(JUMPS, split="test")])


def test_sitting_down_ends_seated_and_standing_up_begins_seated():
    events = (Event("sit down", 40, 80), Event("sit", 60, 130), Event("stand up", 124, 150))
    spans = list(windows(facts_of(*events), "sit down", ("sit down", "stand up")))
    assert spans == [(40 - MARGIN, 80 + rest) for rest in RESTS]
    spans = list(windows(facts_of(*events), "stand up", ("sit down", "stand up")))
    assert spans == [(124 - rest, 150 + MARGIN) for rest in RESTS]


def test_of_two_reaches_to_the_floor_the_first_picks_up():
    reaches = (Event("reach to the floor", 40, 70), Event("reach to the floor", 120, 150))
    both = ("pick up", "put down")
    assert [list(windows(facts_of(*reaches), action, both)) for action in both] == [[(32, 78)], [(112, 158)]]
    assert not list(windows(facts_of(reaches[0]), "pick up", both))
