"""The best of several motions is chosen by the matching head, regardless of the other prompts in the batch."""

from __future__ import annotations

import torch

from pipelines.candidates import best_motions
from tests import tiny

PROMPTS = ["a person walks", "someone waves"]
LENGTHS = torch.tensor([24, 40])


class Highest:
    """A LaMP that likes motions whose root is high in the first frame."""

    mean, std = torch.zeros(263), torch.ones(263)

    def match(self, captions, motion, lengths):
        self.seen = motion[:, 0, 3].clone()
        assert len(captions) == len(motion) == len(lengths)
        return self.seen


def test_keeps_the_candidate_that_matches_best():
    model, lamp = tiny.pipeline(), Highest()
    features, lengths = best_motions(model, lamp, PROMPTS, LENGTHS, model.sampling, candidates=4)
    assert lengths.tolist() == [24, 40] and features.shape == (2, 40, 263)
    assert torch.equal(features[:, 0, 3], lamp.seen.view(2, 4).amax(1))
    assert lamp.seen.view(2, 4).std(1).min() > 0  # there was something to choose from


def test_a_choice_does_not_depend_on_other_prompts():
    model, lamp = tiny.pipeline(), Highest()
    together, _ = best_motions(model, lamp, PROMPTS, LENGTHS, model.sampling, candidates=3, first_sample=5)
    alone, frames = best_motions(model, lamp, PROMPTS[1:], LENGTHS[1:], model.sampling, candidates=3, first_sample=6)
    torch.testing.assert_close(alone[0], together[1, : int(frames[0])], rtol=0, atol=1e-9)
