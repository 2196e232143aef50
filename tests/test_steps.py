"""Prompts of several steps: how they are divided, and that each step is generated in its own section."""

from __future__ import annotations

import pytest
import torch

from models.masked import MaskedConfig, MaskedTransformer
from pipelines.seams import CONTEXT
from pipelines.steps import steps
from tests.test_text2motion import TRANSFORMER, pipeline


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a person squats and then jumps", ["a person squats", "a person jumps"]),
        ("A man walks. Then he sits. Finally, he stands up.", ["A man walks", "he sits", "he stands up"]),
        ("someone walks ahead, then stops and waves", ["someone walks ahead", "someone stops and waves"]),
        ("first she bows, afterwards she waves", ["she bows", "she waves"]),
        ("a person bows before sitting down", ["a person bows", "a person is sitting down"]),
        ("before sitting down, she bows", ["she bows", "she is sitting down"]),
        ("a man waves after walking in a circle", ["a man is walking in a circle", "a man waves"]),
        ("after a short run he leaps", ["he does a short run", "he leaps"]),
        ("having waved, somebody strolls off", ["somebody waves", "somebody strolls off"]),
        ("after having sat down, a man waves", ["a man sits down", "a man waves"]),
        ("once she has bowed, she walks away", ["she bows", "she walks away"]),
        ("a person lies down as soon as they have hopped", ["a person hops", "a person lies down"]),
        ("someone is done waving and then sits", ["someone is waving", "someone sits"]),
        ("a man begins by crawling, and subsequently stands up", ["a man is crawling", "a man stands up"]),
        ("prior to kneeling, she stretches", ["she stretches", "she is kneeling"]),
        ("following a jump, he bows", ["he does a jump", "he bows"]),
        ("someone dances and ends by lying down", ["someone dances", "someone is lying down"]),
        ("a person walks, finishing with a bow", ["a person walks", "a person does a bow"]),
        ("she has a drink, then sits", ["she has a drink", "she sits"]),
        ("a person waves, followed by a bow", ["a person waves", "a person does a bow"]),
        ("walk forward then sit", ["walk forward", "sit"]),
        ("a person walks forward and sits down", ["a person walks forward", "a person sits down"]),
        ("she runs, bends down and picks up a box", ["she runs", "she bends down and picks up a box"]),
    ],
)
def test_steps_are_told_in_the_order_in_which_they_happen(prompt, expected):
    assert steps(prompt) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "a person walks while waving with the left hand", "a person walks and waves",
        "a person runs and ducks", "a person bends down and picks up a box", "a person looks after a child",
        "a man stands before a wall", "someone runs after the ball", "a person walks.", "", "then", "after that",
        "walk, then run, then jump, then bow, then sit",
        "a person jumps once", "a person jumps once and waves", "a person is following someone", "he finishes with a bow",
        "a person ends up on the floor",
    ],
)  # fmt: skip
def test_other_prompts_are_one_step(prompt):
    assert steps(prompt) == [prompt]


def filling(**changes):
    """A pipeline whose masked transformer has learned to fill gaps."""
    sizes = {**TRANSFORMER, "attention": "full", "infill": 0.3, **changes}
    torch.manual_seed(0)
    return pipeline(masked=MaskedTransformer(MaskedConfig(**sizes)).double().eval())


def test_each_step_is_generated_after_the_one_before(monkeypatch):
    model, draws = filling(), []
    draw = model.draw

    def watched(condition, tokens, given=None, **options):
        draws.append((condition, tokens, given, options["first_sample"]))
        return draw(condition, tokens, given, **options)

    monkeypatch.setattr(model, "draw", watched)
    prompts = ["a person squats, then jumps", "she bows before sitting down"]
    features, lengths = model.generate(prompts, torch.tensor([80, 48]))
    assert lengths.tolist() == [80, 48] and features.shape == (2, 80, 263)
    (first, ended, nothing, number), (second, sizes, given, later) = draws
    torch.testing.assert_close(first, model.encoder(["a person squats", "she bows"]))
    torch.testing.assert_close(second, model.encoder(["a person jumps", "she is sitting down"]))
    assert nothing is None and (number, later) == (0, 2**32)
    known = (given[..., 0] >= 0).sum(1)
    assert known.tolist() == ended.clamp(max=CONTEXT).tolist()
    assert (ended + sizes - known).tolist() == [20, 12]  # tokens of both steps
    assert not features[1, 48:].any()


def test_a_motion_of_steps_depends_neither_on_its_batch_nor_on_the_prompts_beside_it():
    model = filling()
    prompts = ["a person walks", "a person squats, then jumps", "a man bows, then sits and then waves"]
    together, lengths = model.generate(prompts, seed=3)
    for row, prompt in enumerate(prompts):
        alone, length = model.generate([prompt], seed=3, first_sample=row)
        assert length[0] == lengths[row]
        torch.testing.assert_close(alone[0], together[row, : len(alone[0])], rtol=1e-6, atol=1e-6)


def test_steps_fit_into_the_longest_motion():
    model = filling()
    model.length.output.bias.data[-1] += 100  # every step would take 12 tokens, the longest that this predictor knows
    _, lengths = model.generate(["a person walks, then jumps, then bows"])
    assert lengths.tolist() == [12 * 4]
    _, lengths = model.generate(["a person walks, then jumps, then bows"], torch.tensor([40]))
    assert lengths.tolist() == [40]


@pytest.mark.parametrize("changes", [{"attention": "causal"}, {"infill": 0.0}])
def test_weights_that_fill_no_gaps_generate_the_prompt_as_a_whole(changes):
    model = filling(**changes)
    whole, _ = model.generate(["a person squats, then jumps"], torch.tensor([40]), stepwise=False)
    assert torch.equal(model.generate(["a person squats, then jumps"], torch.tensor([40]))[0], whole)
