"""Steps are generated one by one: candidates with and without context, bridges, and candidates that show a gesture."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.vqvae import MotionTokeniser, VQConfig
from motion.features import joints_to_features
from motion.skeleton import HUMANML3D
from pipelines import sequence
from pipelines.long_motion import join
from pipelines.seams import CONTEXT
from pipelines.sequence import BRIDGE, Candidates, best_parts, generate_steps, is_near
from pipelines.text2motion import TextToMotion
from prepare.synthetic import walker
from tests import performers
from tests.test_steps import filling
from tests.test_text2motion import LetterCounts
from utils.errors import UserError

SIZES = torch.tensor([[[6, 10]] * 4])  # (1 motion, 4 candidates, 2 steps), in tokens


def preferring(number: int):
    """A scorer that gives the candidate `number` of four candidates the highest score."""
    return lambda texts, condition, motions: -(torch.arange(float(len(texts))) % 4 - number).abs()


def drawn_steps(monkeypatch, preferred: int, near: bool, **options):
    """Two steps of one motion with four candidates: the codes, the starts, and the calls of `draw` as (given, result)."""
    model, calls = filling(), []
    model.scorer, draw = preferring(preferred), model.draw

    def watched(condition, tokens, given=None, **numbers):
        calls.append((given, draw(condition, tokens, given, **numbers)))
        return calls[-1][1]

    monkeypatch.setattr(model, "draw", watched)
    monkeypatch.setattr(sequence, "is_near", lambda model, given, *_: torch.full((len(given),), near))
    steps = [[model.action([text])] for text in ("a person squats", "a person jumps")]
    sampling = replace(model.sampling, candidates=4)
    (codes, tokens), starts = generate_steps(model, steps, SIZES, sampling=sampling, **options)
    assert tokens.tolist() == [16] and starts.tolist() == [[0, 6]] and (codes[..., 0] >= 0).all()
    return codes[0], calls


def test_the_last_half_of_the_candidates_starts_afresh_and_is_connected_by_a_bridge(monkeypatch):
    codes, calls = drawn_steps(monkeypatch, preferred=3, near=True)
    (nothing, first), (given, second), (around, bridged) = calls
    assert nothing is None and (given[2:] == -1).all()
    assert torch.equal(given[:2, :CONTEXT], first[3, 6 - CONTEXT : 6].expand(2, -1, -1)) and (given[:, CONTEXT:] == -1).all()
    assert torch.equal(around[1, :CONTEXT], first[3, 6 - CONTEXT : 6])
    assert (around[:, CONTEXT : CONTEXT + BRIDGE] == -1).all()
    assert torch.equal(around[1, CONTEXT + BRIDGE :], second[3, : 10 - BRIDGE])
    assert torch.equal(codes[:6], first[3, :6]) and torch.equal(codes[6:], bridged[1, CONTEXT:])
    assert torch.equal(codes[6 + BRIDGE :], second[3, : 10 - BRIDGE])


def test_a_candidate_that_starts_in_another_pose_is_not_kept(monkeypatch):
    codes, calls = drawn_steps(monkeypatch, preferred=3, near=False)
    second = calls[1][1]
    assert torch.equal(codes[6:], second[1, CONTEXT : CONTEXT + 10])  # the best of the candidates with context


def test_steps_that_continue_a_step_have_no_bridges(monkeypatch):
    _, calls = drawn_steps(monkeypatch, preferred=3, near=True, continues=[False, True])
    assert len(calls) == 2 and (calls[1][0][:, :CONTEXT] >= 0).all()


def test_motions_of_another_skeleton_have_no_bridges(monkeypatch):
    kit = MotionTokeniser(VQConfig(dim=251, width=8, depth=1, nb_code=16, code_dim=8, num_quantizers=3)).double().eval()
    whole = filling()
    parts = {"masked": whole.masked, "residual": whole.residual, "length": whole.length}
    model = TextToMotion(LetterCounts(), kit, torch.zeros(251).double(), torch.ones(251).double(), **parts)
    model.scorer = preferring(3)
    monkeypatch.setattr(sequence, "is_near", None)
    features, lengths = model.generate(["a person squats, then jumps"], torch.tensor([48]), candidates=4)
    assert features.shape == (1, 48, 251) and lengths.tolist() == [48]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_short_steps_and_given_totals(size):
    model = filling()
    model.scorer = preferring(3)
    steps = [[model.action(["a person squats", "she bows"])] for _ in range(2)]
    sizes = torch.full((2, 4, 2), size)
    sampling = replace(model.sampling, candidates=4)
    (codes, tokens), starts = generate_steps(model, steps, sizes, torch.tensor([9, 0]), sampling=sampling)
    assert tokens.tolist() == [9, 2 * size] and starts.tolist() == [[0, round(4.5)], [0, size]]
    lengths = (codes[..., 0] >= 0).sum(1)
    assert lengths.tolist() == tokens.tolist()


def test_without_a_residual_transformer_only_the_base_codes_are_written():
    whole = filling()
    model = TextToMotion(LetterCounts(), whole.tokeniser, whole.mean, whole.std, whole.masked, length=whole.length)
    model.scorer = preferring(3)
    features, lengths = model.generate(["a person walks"], torch.tensor([24]), candidates=1)
    codes = model.draw(model.encoder(["a person walks"]), lengths // 4)
    torch.testing.assert_close(features, model.features(codes, lengths // 4)[0])
    assert model.generate(["a person squats, then jumps"], torch.tensor([48]), candidates=4)[1].tolist() == [48]


@pytest.mark.parametrize("changes", [{"attention": "causal"}, {"infill": 0.0}])
def test_models_that_fill_no_gaps_join_prompts_without_bridges(changes, monkeypatch):
    model = filling(**changes)
    model.scorer = preferring(3)
    monkeypatch.setattr(sequence, "bridge", None)
    settings = replace(model.sampling, candidates=4)
    _, ends = join(model, ["a person walks", "he bows"], [24, 40], longest=49, sampling=settings)
    assert ends == [24, 64]


def test_joined_prompts_with_and_without_lengths():
    model = filling()
    features, ends = join(model, ["a person walks", "he bows", "he sits"], [40, 0, 24], longest=49, sampling=model.sampling)
    assert ends[0] == 40 and ends[1] > 40 and ends[2] == ends[1] + 24 == len(features)


def test_lengths_of_less_than_a_token_are_refused():
    with pytest.raises(UserError, match="2 frames are less than one token"):
        filling().generate(["a person squats, then jumps"], torch.tensor([2]))


def features_of(joints: np.ndarray) -> torch.Tensor:
    """Features (T, 263) of joints (T, 22, 3)."""
    return joints_to_features(torch.from_numpy(np.concatenate([joints, joints[-1:]])).float()[None], HUMANML3D)[0][0]


class Shelf:
    """A model whose codes (B, L, 1) are numbers of motions on a shelf: code n is decoded to motion n, one frame per token."""

    tokeniser = SimpleNamespace(stride=1)

    def __init__(self, *motions: np.ndarray):
        self.motions = torch.stack([features_of(joints[:40]) for joints in motions])

    def features(self, codes, tokens):
        return self.motions[codes[:, 0, 0]].clone(), tokens


def test_only_a_motion_that_starts_in_the_last_pose_is_near():
    sitting, standing = performers.sitter(rises=False), performers.squatter(0.5)
    model = Shelf(standing, sitting[-40:], sitting)
    codes = torch.arange(3)[:, None, None]
    pairs = [(before, after) for before in range(3) for after in range(3)]
    rows = [torch.stack([codes[pair[side]] for pair in pairs]) for side in (0, 1)]
    # The squat and the seated motion end as they start after 10 frames of rest; the third motion starts upright.
    near = is_near(model, rows[0], torch.full((9,), 10), rows[1], torch.full((9,), 40))
    assert near.tolist() == [before == after or {before, after} == {0, 2} for before, after in pairs]


def test_the_gesture_among_the_candidates_is_kept_for_the_action_that_is_a_gesture():
    waving = performers.person(performers.standing_root(40), arms=raised_arms())
    model = Shelf(waving, walker(8), walker(8, pace=1.6))
    walks = Candidates(torch.tensor([1, 2])[:, None, None], torch.tensor([40, 40]), torch.tensor([[0.0, 1.0]]))
    waves = Candidates(torch.tensor([0, 1])[:, None, None], torch.tensor([40, 40]), torch.tensor([[0.0, 1.0]]))
    unreachable = waves._replace(scores=torch.tensor([[-torch.inf, 1.0]]))
    assert int(best_parts(model, (walks, unreachable), torch.tensor([0]))[1].codes[0, 0, 0]) == 1
    for parts in ((walks, waves), (waves, walks)):
        chosen = [int(part.codes[0, 0, 0]) for part in best_parts(model, parts, torch.tensor([0]))]
        assert chosen == ([2, 0] if parts[0] is walks else [0, 2])


def raised_arms() -> np.ndarray:
    """Arms (40, 2, 2, 3) that point sideways and up."""
    arms = np.zeros((40, 2, 2, 3))
    arms[:, 0], arms[:, 1] = [0.7, 0.7, 0.0], [-0.7, 0.7, 0.0]
    return arms
