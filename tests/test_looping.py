"""Loops: codes outside the seam stay, a cycle decodes the same from any start, and the end leads to the start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.masked import MaskedConfig, MaskedTransformer
from motion.files.animation import RigOptions, animate
from motion.spec import get_spec
from pipelines.looping import ADDED, cycle_joints, decode_cycle, ends_elsewhere, loop_codes, loop_source, seam_sizes
from pipelines.sampling import SamplingSettings
from tests.tiny import CODES, SMALL, pipeline

SPEC = get_spec("open")
OPTIONS = SamplingSettings(time_steps=3, topkr=0.0, seed=5)
VARIED = SamplingSettings(time_steps=3, topkr=0.0, temperature=2.0)


def some_codes(model, tokens: int = 16) -> torch.Tensor:
    return model.draw(model.encoder(["walks"]), torch.tensor([tokens]), sampling=OPTIONS)


def test_only_tokens_around_the_seam_are_drawn_anew():
    model = pipeline()
    codes, condition = some_codes(model), model.encoder(["walks"])
    cycle = loop_codes(model, codes, condition, longest=49, sampling=OPTIONS)
    assert cycle.shape == codes.shape and (cycle[..., 0] >= 0).all()
    assert torch.equal(cycle[:, 2:14], codes[:, 2:14])  # a quarter of 16 is 4: two at the end, two at the start


@pytest.mark.parametrize("tokens", [16, 60])
def test_a_motion_can_be_kept_whole_with_a_way_back(tokens):
    model = pipeline()
    codes = some_codes(model, min(tokens, 49)).repeat(1, 2, 1)[:, :tokens]
    cycle = loop_codes(model, codes, model.encoder(["walks"]), added=ADDED, longest=49, sampling=OPTIONS)
    assert torch.equal(cycle[:, :tokens], codes) and cycle.shape[1] == tokens + ADDED and (cycle[..., 0] >= 0).all()


def test_the_filling_model_sees_both_sides_of_the_seam():
    """With full attention the new tokens depend on what follows them: the start of the motion."""
    torch.manual_seed(1)
    filling = MaskedTransformer(MaskedConfig(attention="full", cond_dim=8, **CODES, **SMALL)).double().eval()
    for weight in filling.parameters():
        if weight.ndim > 1:
            weight.data.mul_(10)
    seen = []
    for model in (pipeline(), pipeline(filling=filling)):
        codes, condition = some_codes(model), model.encoder(["walks"])
        other = codes.clone()
        other[:, 3:8, 0] = (other[:, 3:8, 0] + 5) % 16  # after the seam; the tokens before it stay
        for seed in range(12):
            settings = {"longest": 49, "sampling": replace(VARIED, seed=seed)}
            ends = [loop_codes(model, each, condition, **settings)[:, 14:, 0] for each in (codes, other)]
            if not torch.equal(*ends):
                break
        seen.append(not torch.equal(*ends))
    assert seen == [False, True]


def test_a_cycle_decodes_alike_wherever_it_begins():
    model = pipeline()
    codes = some_codes(model)
    features, rolled = decode_cycle(model, codes), decode_cycle(model, codes.roll(5, dims=1))
    torch.testing.assert_close(rolled, features.roll(20, dims=1), atol=1e-6, rtol=0)


def test_played_twice_the_seam_is_no_larger_than_other_steps():
    """Joints, steps and contacts of a smooth cycle: the row after the last is the first."""
    phase = 2 * np.pi * np.arange(40) / 40
    features = torch.zeros(1, 40, 263)
    features[0, :, 2], features[0, :, 3] = 0.02, 0.9 + 0.05 * torch.tensor(np.sin(phase))
    features[0, :, 4:67] = torch.tensor(np.sin(phase[:, None] + np.arange(63)) * 0.1)
    sizes = seam_sizes(cycle_joints(features, SPEC, cycles=2)[0], SPEC.fps)
    for at_seam, elsewhere in sizes.values():
        assert 0 < at_seam < 1.1 * elsewhere
    torn = cycle_joints(features, SPEC, cycles=2)[0]
    torn[40:] += np.array([0.3, 0, 0])
    assert seam_sizes(torn, SPEC.fps)["position"][0] > 5 * seam_sizes(torn, SPEC.fps)["position"][1]


def test_a_source_is_kept_and_led_back():
    model = pipeline()
    source = torch.randn(50, 263, dtype=torch.double) * 0.1
    features = loop_source(model, source, longest=49, takes=2, sampling=OPTIONS)
    assert features.shape == (2, 48 + 4 * ADDED, 263)
    torch.testing.assert_close(features[0, 8:40], source[8:40])  # away from the seams
    again = loop_source(model, source, longest=49, takes=2, sampling=replace(OPTIONS, seed=6))
    assert not torch.equal(again[:, 48:], features[:, 48:])


def test_another_state_at_the_end_is_noticed():
    features = torch.zeros(30, 263)
    features[:, 3] = 0.9
    assert not ends_elsewhere(features, SPEC)
    features[-1, 4:67] = 0.3
    assert ends_elsewhere(features, SPEC)


def test_the_path_of_a_loop_in_place_has_no_seam():
    phase = 2 * np.pi * np.arange(40) / 40
    joints = np.random.default_rng(0).normal(size=(1, 22, 3)).repeat(40, axis=0) * 0.2 + [0, 1, 0]
    joints[..., 2] += (0.03 * np.arange(40) + 0.05 * np.sin(phase))[:, None]
    root = animate(joints, 20, RigOptions(skeleton="fitted", root="in_place", loop=True)).root
    steps = np.linalg.norm(np.diff(root, axis=0), axis=-1)
    assert np.linalg.norm(root[0] - root[-1]) < 1.5 * steps.max() and np.ptp(root[:, 2]) < 0.2
