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
        ("he bends to greet people two times", ["he bends to greet people"] * 2),
        ("A man bows thrice in a row", ["A man bows"] * 3),
        ("a boxer throws two punches with the left hand", ["a boxer throws a punch with the left hand"] * 2),
        ("she does 2 elegant bows", ["she does an elegant bow"] * 2),
        ("A MAN THROWS TWO PUNCHES", ["A MAN THROWS a PUNCH"] * 2),
        ("she is bowing twice", ["she is bowing"] * 2),
        ("he punches three times with the left hand", ["he punches with the left hand"] * 3),
        ("the actor bows to the audience twice in quick succession", ["the actor bows to the audience"] * 2),
        ("someone is doing two cartwheels", ["someone is doing a cartwheel"] * 2),
        ("a person raises the right hand twice", ["a person raises the right hand"] * 2),
        ("a man walks forward, then bows twice", ["a man walks forward", "a man bows", "a man bows"]),
        ("someone does three back flips one after another", ["someone does a back flip"] * 3),
    ],
)
def test_some_repeated_actions_are_steps(prompt, expected):
    assert steps(prompt) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "a person jumps twice", "someone does three deep knee bends in a row", "she bends her knees twice", "two people bow",
        "a person bows twice while walking", "someone bends down three times and looks up", "the archer holds two bows",
        "somebody bows four times", "raises his right hand, waves three times, lowers it", "raises his hand to wave twice",
        "stands up, bows twice, sits down", "throws two punches, kicks", "throws two jabs, a cross", "bows twice & waves",
        "bows two times, once to the left, once to the right", "throws a ball three times faster", "he throws two balls",
        "lifts a heavy box twice his size", "throws a ball with twice the force", "bows two or three times", "does not bow twice",
        "bows at least two times", "a man holding a bow jumps twice", "flips through a book twice", "throws up twice",
        "throws two more punches", "throws two punches twice", "a boxer punches three times per second",
        "takes two punches to the face",
    ],
)  # fmt: skip
def test_other_repetitions_stay_in_one_step(prompt):
    assert steps(prompt) == [prompt]


def test_a_count_that_may_belong_to_several_steps_does_not_split_one_of_them():
    assert steps("a man bends left, then bends right twice") == ["a man bends left", "a man bends right twice"]
    assert steps("a man bends down, then bends down twice") == ["a man bends down", "a man bends down twice"]


def test_repetitions_do_not_exceed_the_maximum_number_of_steps():
    assert steps("he waves, then jumps, then bows three times") == ["he waves", "he jumps", "he bows three times"]


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
        ("someone dances and ends by lying down", ["someone dances", "someone is lying down"]),
        ("a person walks, finishing with a bow", ["a person walks", "a person does a bow"]),
        ("she has a drink, then sits", ["she has a drink", "she sits"]),
        # words that are missing in later steps
        ("a person steps to the left, then to the right", ["a person steps to the left", "a person steps to the right"]),
        ("a man walks forward and then backward", ["a man walks forward", "a man walks backward"]),
        ("she kicks with the left leg, then with the right", ["she kicks with the left leg", "she kicks with the right leg"]),
        ("a man raises left arm, then the other", ["a man raises left arm", "a man raises the other arm"]),
        ("3 steps forward, then 2 steps back", ["does 3 steps forward", "does 2 steps back"]),
        ("he can walk, then jump", ["he can walk", "he jumps"]),
        ("a zombie walks forward, then attacks", ["a zombie walks forward", "a zombie attacks"]),
        ("his left hand waves, then he bows", ["his left hand waves", "he bows"]),
        ("they shake hands, then they walk away", ["they shake hands", "they walk away"]),
        # clauses in other places
        ("a man, after walking, sits down", ["a man is walking", "a man sits down"]),
        ("a man, before sitting down, waves", ["a man waves", "a man is sitting down"]),
        ("three seconds after sitting, he waves", ["he is sitting", "he waves"]),
        ("he sits down and he then stands up", ["he sits down", "he stands up"]),
        ("a person turns right before stopping", ["a person turns right", "a person is stopping"]),
        # sentences and punctuation
        ("He waves. He bows. He leaves.", ["He waves", "He bows", "He leaves"]),
        ("a person jumps; he waves", ["a person jumps", "he waves"]),
        ("\u201cA person squats,\u201d then jumps", ["A person squats", "A person jumps"]),
        ("first, turn around; second, sit down", ["turn around", "sit down"]),
        ("he\u2019s walking, then he sits", ["he's walking", "he sits"]),
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
        "a person ends up on the floor", "he stands next to the wall", "a person moves to the next step", "for a second, he stands",
        "every now and then, he waves", "the man who then walks away waves", "if he falls, then he gets up", "she then sits",
        "a man is followed by a dog", "a person lifts the end with both hands", "walks in a circle, ending in the same spot",
        "the man who sat down before he waved stands up", "a person stands before something and bows", "he kneels before it",
        "after a while, the person sits down", "once more, he jumps", "a person walks and puts his hands up",
        "squats, then jumps, then repeats", "A person stands. He is happy.", "a person runs and, after jumping, falls",
    ],
)  # fmt: skip
def test_other_prompts_are_one_step(prompt):
    assert steps(prompt) == [prompt]


def test_too_many_steps_are_noted_once(capsys):
    prompt = "walk, then run, then jump, then turn, then bow"
    for _ in range(2):
        assert steps(prompt) == [prompt]
    assert capsys.readouterr().err.count("has 5 steps, but at most 4") == 1


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
