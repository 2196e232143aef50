"""Prompts of two simultaneous actions: how they are divided, and how their motions are composed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from motion.facts import prove
from motion.features import features_to_joints, joints_to_features
from motion.layering import is_gesture, layer, moving_arms, to_bones, to_joints, trunk
from motion.skeleton import HUMANML3D
from pipelines.layers import composed, layers
from prepare.synthetic import walker, waver
from tests.test_steps import filling

ARM_JOINTS, LEG_JOINTS = [16, 18, 20, 17, 19, 21], [1, 2, 4, 5, 7, 8, 10, 11]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a person walks forward while waving with the right hand",
         ["a person walks forward", "a person is waving with the right hand"]),
        ("while walking, she waves", ["she waves", "she is walking"]),
        ("someone has a drink as they stroll along.", ["someone has a drink", "someone strolls along"]),
        ("a person runs forward with both hands raised", ["a person runs forward", "a person with both hands raised"]),
        ("she ambles along with her left hand up in the air", ["she ambles along", "she with her left hand up in the air"]),
        ("a person, while walking, waves", ["a person waves", "a person is walking"]),
        ("somebody points the way while on the march", ["somebody points the way", "somebody is on the march"]),
        ("a man walks and waves at the same time", ["a man walks", "a man waves"]),
        ("walk forward, all the while clapping", ["walk forward", "clapping"]),
    ],
)  # fmt: skip
def test_simultaneous_actions_are_separated(prompt, expected):
    assert layers(prompt) == [prompt, *expected]


@pytest.mark.parametrize(
    "prompt",
    [
        "a person walks", "a person waves with the left hand", "a person walks and waves", "a person waves with both hands",
        "a person walks as if they were drunk", "while", "", "walk while waving while jumping", "a person acts as a bear",
    ],
)  # fmt: skip
def test_other_prompts_have_one_layer(prompt):
    assert layers(prompt) == [prompt]


def on_skeleton(joints):
    """A synthetic motion with the bone lengths of HumanML3D's skeleton."""
    return to_joints(joints[:, 0].astype(float), to_bones(joints.astype(float)))


WALK, WAVE = on_skeleton(walker(12)), on_skeleton(waver())
FRAMES = min(len(WALK), len(WAVE))
WALK, WAVE = WALK[:FRAMES], WAVE[:FRAMES]


def test_a_layered_motion_has_the_legs_of_one_and_the_arms_of_the_other():
    joints = layer(WALK, WAVE, np.broadcast_to([0.0, 1.0], (FRAMES, 2)))
    np.testing.assert_allclose(joints[:, LEG_JOINTS], WALK[:, LEG_JOINTS], atol=1e-4)
    np.testing.assert_allclose(joints[:, ARM_JOINTS[:3]], WALK[:, ARM_JOINTS[:3]], atol=1e-4)  # the left arm goes on swinging
    for side in (19, 17):  # forearm and upper arm, seen from the trunk
        seen, expected = ((to_bones(motion)[:, side - 1] [:, None] @ trunk(motion))[:, 0] for motion in (joints, WAVE))
        np.testing.assert_allclose(seen, expected, atol=1e-3)
    quarter = np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])  # a turn about the vertical
    both = np.ones((FRAMES, 2))
    np.testing.assert_allclose(layer(WALK @ quarter, WAVE, both), layer(WALK, WAVE, both) @ quarter, atol=1e-9)


def test_gestures_are_told_from_other_actions():
    assert is_gesture(WAVE) and not is_gesture(WALK)
    assert moving_arms(WAVE).tolist() == [False, True]
    assert moving_arms(WALK).tolist() == [True, True]  # neither arm is raised, so both are used
    lifted = WAVE.copy()
    lifted[20:30, 7, 1] += 0.5  # a kick
    assert not is_gesture(lifted)


def features(joints):
    return joints_to_features(torch.from_numpy(np.concatenate([joints, joints[-1:]])).float()[None], HUMANML3D)[0]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_walk_and_a_wave_become_a_walk_with_a_wave(swapped):
    walk, wave = features(WALK), features(WAVE)
    result, mask = composed(walk, (wave, walk) if swapped else (walk, wave), torch.tensor([0]), torch.tensor([FRAMES]))
    assert mask.tolist() == [True] and result.shape == walk.shape
    facts = prove(features_to_joints(result, 22)[0].numpy().astype(float))
    assert facts.steps == prove(WALK).steps and facts.hands[1].waves >= 2 and facts.hands[0].waves < 2


def test_the_context_is_neither_judged_nor_changed():
    run = walker(12, run=True, pace=3.0)[:FRAMES]
    walk, wave = (features(np.concatenate([run[:12], motion + run[12, 0] * [1, 0, 1]])) for motion in (WALK, WAVE))
    ends = torch.tensor([FRAMES + 12])
    assert composed(walk, (walk, wave), torch.tensor([0]), ends)[1].tolist() == [False]
    result, mask = composed(walk, (walk, wave), torch.tensor([12]), ends)
    assert mask.tolist() == [True]
    torch.testing.assert_close(result[:, :10, :67], walk[:, :10, :67], atol=0.02, rtol=0)


def test_actions_that_both_need_the_legs_keep_the_whole_motion():
    whole = torch.randn(1, FRAMES, 263)
    result, mask = composed(whole, (features(WALK), features(WALK)), torch.tensor([0]), torch.tensor([FRAMES]))
    assert mask.tolist() == [False] and torch.equal(result, whole)


def test_layers_are_generated_from_their_own_texts(monkeypatch):
    model, conditions = filling(), []
    draw = model.draw

    def watched(condition, *arguments, **options):
        conditions.append(condition)
        return draw(condition, *arguments, **options)

    monkeypatch.setattr(model, "draw", watched)
    prompts = ["a person walks while waving", "a man runs as he claps"]
    motions, lengths = model.generate(prompts, torch.tensor([40, 24]), layered=True)
    expected = [prompts, ["a person walks", "a man runs"], ["a person is waving", "he claps"]]
    assert len(conditions) == 3
    for condition, texts in zip(conditions, expected):
        torch.testing.assert_close(condition, model.encoder(texts))
    assert motions.shape == (2, 40, 263) and lengths.tolist() == [40, 24] and not motions[1, 24:].any()
    conditions.clear()
    model.generate(prompts, torch.tensor([40, 24]), layered=False)
    assert len(conditions) == 1


def test_layered_motions_depend_neither_on_their_batch_nor_on_the_prompts_beside_them():
    model = filling()
    prompts = ["a person walks", "a person walks while waving", "she bows with both arms raised"]
    together, lengths = model.generate(prompts, seed=3, layered=True)
    for row, prompt in enumerate(prompts):
        alone, length = model.generate([prompt], seed=3, first_sample=row, layered=True)
        assert length[0] == lengths[row]
        torch.testing.assert_close(alone[0], together[row, : len(alone[0])], rtol=1e-5, atol=1e-5)
