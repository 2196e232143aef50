"""The judges of obedience, on bodies posed by hand: right motions pass, near misses do not."""

from argparse import Namespace
from collections import Counter

import numpy as np
import pytest
import torch

from benchmarks.obedience.__main__ import obedience, obeys
from benchmarks.obedience.joints import ANKLES, ELBOWS, HIPS, KNEES, SHOULDERS, TOES, WRISTS
from benchmarks.obedience.judges import JUDGES, in_order, shows, times, together
from benchmarks.obedience.measures import Body, Span, runs
from benchmarks.obedience.prompts import PROMPTS
from benchmarks.obedience.real import LIST, check_judges, read_list
from motion.layering import layer
from pipelines.sampling import SamplingSettings
from prepare.synthetic import hanging, walker
from tests import performers

STANDING = np.zeros((22, 3))  # facing +Z, left is +X
STANDING[[0, 3, 6, 9, 12, 15], 1] = 0.93, 1.04, 1.17, 1.22, 1.43, 1.52
for side, sign in enumerate((1, -1)):
    STANDING[HIPS[side]], STANDING[KNEES[side]], STANDING[ANKLES[side]] = (
        (0.08 * sign, 0.86, 0),
        (0.09 * sign, 0.46, 0),
        (0.09 * sign, 0.08, 0),
    )
    STANDING[TOES[side]], STANDING[13 + side] = (0.1 * sign, 0.02, 0.12), (0.06 * sign, 1.35, 0)
    STANDING[SHOULDERS[side]], STANDING[ELBOWS[side]], STANDING[WRISTS[side]] = (
        (0.17 * sign, 1.36, 0),
        (0.2 * sign, 1.1, 0),
        (0.21 * sign, 0.86, 0),
    )


def still(frames: int = 60) -> np.ndarray:
    return np.repeat(STANDING[None], frames, axis=0)


def jumping(height: float, frames: int = 60) -> np.ndarray:
    """A jump without bent joints: the body sinks onto its feet, flies and lands."""
    joints, clock = still(frames), np.arange(frames)
    flight = np.clip(1 - ((clock - 30) / 6) ** 2, 0, None) * height
    dip = 0.25 * np.exp(-(((clock - 18) / 4) ** 2))
    joints[..., 1] += flight[:, None]
    upper = [j for j in range(22) if j not in (*KNEES, *ANKLES, *TOES)]
    joints[:, upper, 1] -= dip[:, None]
    return joints


def waving(side: int, swings: int, up: float = 0.35) -> np.ndarray:
    """A hand goes up in half a second, swings from side to side, and comes down."""
    joints, frames = still(80), np.arange(80)
    sign = 1 - 2 * side
    raised = np.clip(np.minimum(frames - 8, 72 - frames) / 10, 0, 1)[:, None]
    swing = 0.12 * np.sin(2 * np.pi * swings * np.clip((frames - 18) / 44, 0, 1))
    target = np.stack([0.3 * sign + swing, np.full(80, 1.36 + up), np.full(80, 0.15)], -1)
    joints[:, WRISTS[side]] += raised * (target - joints[:, WRISTS[side]])
    joints[:, ELBOWS[side]] += raised * (
        (target + STANDING[SHOULDERS[side]]) / 2 + [0.05 * sign, -0.05, 0] - joints[:, ELBOWS[side]]
    )
    return joints


def lowered(pelvis: float, back: float, frames: int = 70, up_again: bool = False) -> np.ndarray:
    """The hips go down to `pelvis` metres and `back` behind the ankles, with knees over the feet."""
    joints, clock = still(frames), np.arange(frames)
    down = np.clip((clock - 15) / 12, 0, 1)
    if up_again:
        down = np.minimum(down, np.clip((55 - clock) / 12, 0, 1))
    shift = np.stack([np.zeros(frames), down * (pelvis - 0.93), -down * back], -1)[:, None]
    upper = [j for j in range(22) if j not in (*KNEES, *ANKLES, *TOES)]
    joints[:, upper] += shift
    joints[:, KNEES] += np.stack([np.zeros(frames), np.zeros(frames), down * (0.4 - back)], -1)[:, None]
    return joints


def names(joints: np.ndarray) -> set[str]:
    return {name for name in JUDGES if shows(name, Body(joints))}


def test_a_standing_person_passes_no_other_judge():
    assert names(still()) == {"stand"}
    assert {prompt.action for prompt in PROMPTS if obeys(prompt, still())} == {"idle"}


def test_a_jump_clears_the_floor_by_eight_centimetres_and_comes_down():
    assert "jump" in names(jumping(0.25))
    assert "jump" not in names(jumping(0.05))
    assert "jump" not in names(jumping(0.25)[:30])  # hangs in the air
    assert times("jump", 2)(Body(np.concatenate([jumping(0.25), jumping(0.25)])))


def test_a_wave_swings_twice_above_the_shoulder_on_its_own_side():
    assert {"wave", "wave left", "raise left"} <= names(waving(0, 3))
    assert not {"wave right", "raise right"} & names(waving(0, 3))
    assert "wave" not in names(waving(1, 1))
    assert "wave" not in names(waving(1, 3, up=-0.3))


def test_a_squat_is_no_sit():
    seat, squat = lowered(0.48, back=0.4), lowered(0.5, back=0.05, up_again=True)
    assert "sit" in names(seat) and "squat" not in names(seat)
    assert "squat" in names(squat) and "sit" not in names(squat)
    assert "stand up" in names(seat[::-1].copy())


def test_order_counts():
    both = np.concatenate([waving(1, 3), jumping(0.25)])
    assert in_order("wave right", "jump")(Body(both))
    assert not in_order("jump", "wave right")(Body(both))
    assert not together("jump", "wave right")(Body(both))
    assert together("raise left", "wave left")(Body(waving(0, 3)))


def test_runs_join_over_short_gaps():
    mask = np.array([0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1], bool)
    assert runs(mask) == [Span(1, 3), Span(4, 7), Span(10, 11)]
    assert runs(mask, minimum=0.3, gap=0.05) == [Span(1, 7)]


def test_prompts_cover_what_they_should():
    assert len(PROMPTS) >= 45 and len({prompt.text for prompt in PROMPTS}) == len(PROMPTS)
    assert len({prompt.action for prompt in PROMPTS if prompt.kind == "action"}) >= 30
    kinds, splits = Counter(prompt.kind for prompt in PROMPTS), Counter(prompt.split for prompt in PROMPTS)
    assert kinds["sequence"] >= 8 and kinds["together"] >= 4 and splits["val"] == splits["test"]
    assert abs(sum(prompt.paraphrase for prompt in PROMPTS) / len(PROMPTS) - 0.5) < 0.05


def test_a_prompt_draws_the_same_noise_whatever_is_judged_beside_it(monkeypatch):
    class Model:
        def __init__(self):
            self.numbers, self.sampling = {}, SamplingSettings()

        def generate(self, prompts, lengths, sampling, *, first_sample):
            self.numbers |= {first_sample + offset: text for offset, text in enumerate(prompts)}
            return torch.ones(len(prompts), 16, 263), torch.full((len(prompts),), 16)

    standing = torch.from_numpy(still(16))
    monkeypatch.setattr(
        "benchmarks.obedience.__main__.features_to_joints", lambda features, joints: standing.repeat(len(features), 1, 1, 1)
    )
    settings = Namespace(samples=3, seed=0)
    everything, val = Model(), Model()
    obedience(everything, list(PROMPTS), settings)
    obedience(val, [prompt for prompt in PROMPTS if prompt.split == "val"], settings)
    assert val.numbers.items() <= everything.numbers.items() and len(everything.numbers) == 3 * len(PROMPTS)


def test_drinking_while_walking_is_drinking():
    walk = walker(10)[:100]
    arms = hanging(100)
    up = np.clip((np.arange(100) - 20) / 12, 0, 1)[:, None] * [1.0]
    arms[:, 1, 0] = (1 - up) * arms[:, 1, 0] + up * [0.1, -0.6, 0.8]
    arms[:, 1, 1] = (1 - up) * arms[:, 1, 1] + up * [0.35, 0.8, 0.25]
    drink = performers.person(performers.standing_root(100), arms=arms)
    both = layer(walk, drink, np.tile([0.0, 1.0], (100, 1)))
    assert shows("drink", Body(drink)) and together("walk", "drink", 0.5)(Body(both))
    assert not shows("drink", Body(walk))


def test_looked_at_clips_name_judges():
    for section in read_list(LIST):
        assert section.start < section.stop
        assert section.shows | (section.also - {"*"}) <= JUDGES.keys(), section.clip


def test_judges_are_checked_on_the_clips_that_are_found(tmp_path, monkeypatch):
    listed = tmp_path / "list.csv"
    listed.write_text("clip,start,stop,shows,also\na/jump,0,60,jump,\na/still,0,60,jump,\na/gone,0,60,sit,\n")
    monkeypatch.setattr("benchmarks.obedience.real.read_list", lambda: read_list(listed))
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "jump.npy", jumping(0.25))
    np.save(tmp_path / "a" / "still.npy", still())
    results, _ = check_judges([tmp_path])
    assert results["seen"] == pytest.approx(0.5) and results["not_found"] == ["a/gone"]
    assert results["judges"]["jump"]["missed"] == ["a/still:0:60"] and results["judges"]["stand"]["wrongly"] == ["a/still:0:60"]
