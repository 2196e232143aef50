"""The best of several motions is chosen by its score, step by step, regardless of the other prompts in the batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.selector import Selector, SelectorConfig
from models.vqvae import MotionTokeniser, VQConfig
from motion.facts.profile import BITS, profile
from motion.features import joints_to_features
from motion.skeleton import HUMANML3D
from options.generate import GenT2M
from pipelines.candidates import FactScorer, MatchScorer, varied
from pipelines.editing import edit
from pipelines.long_motion import join
from pipelines.sampling import EMBEDDED_SAMPLING
from pipelines.text2motion import TextToMotion
from prepare.synthetic import walker
from tests import performers, tiny
from tests.test_steps import filling
from utils.errors import UserError

PROMPTS = ["a person walks", "someone waves"]
LENGTHS = torch.tensor([24, 40])


class Highest:
    """Scores a motion by the height of the root in its first frame."""

    def __call__(self, texts, condition, motions):
        assert len(texts) == len(condition) == len(motions)
        self.seen = torch.stack([motion[0, 3] for motion in motions])
        return self.seen


def with_highest(model):
    model.scorer = Highest()
    return model


def test_keeps_the_candidate_with_the_highest_score():
    model = with_highest(tiny.pipeline())
    features, lengths = model.generate(PROMPTS, LENGTHS, candidates=4)
    assert lengths.tolist() == [24, 40] and features.shape == (2, 40, 263)
    assert torch.equal(features[:, 0, 3], model.scorer.seen.view(2, 4).amax(1))
    assert model.scorer.seen.view(2, 4).std(1).min() > 0  # there was something to choose from


def test_a_choice_does_not_depend_on_other_prompts():
    model = with_highest(tiny.pipeline())
    together, _ = model.generate(PROMPTS, LENGTHS, candidates=3, first_sample=5)
    alone, frames = model.generate(PROMPTS[1:], LENGTHS[1:], candidates=3, first_sample=6)
    torch.testing.assert_close(alone[0], together[1, : int(frames[0])], rtol=0, atol=1e-9)


def test_each_step_is_scored_with_its_own_text_and_frames():
    calls = []

    def scorer(texts, condition, motions):
        calls.append((list(texts), [len(motion) for motion in motions]))
        return -torch.arange(float(len(texts)))

    model = filling()
    model.scorer = scorer
    _, frames = model.generate(["a person squats, then jumps", "a person walks"], candidates=2)
    assert [texts for texts, _ in calls] == [["a person squats"] * 2, ["a person jumps"] * 2, ["a person walks"] * 2]
    assert calls[0][1][0] + calls[1][1][0] == frames[0]  # the first candidate has the higher score


def test_without_a_scorer_candidates_are_refused():
    model = tiny.pipeline()
    model.scorer = None
    with pytest.raises(UserError, match="--candidates 2: there is no selector"):
        model.generate(PROMPTS, LENGTHS, candidates=2)
    model, source = filling(), torch.randn(48, 263).double()
    with pytest.raises(UserError, match="--candidates 2: there is no selector"):
        edit(model, source, [(16, 28)], "a person bows", longest=49, sampling=replace(model.sampling, candidates=2))


def test_steps_that_a_short_motion_has_no_frames_for_are_not_scored():
    model, calls = filling(), []
    model.scorer = preferring(0, calls)
    features, frames = model.generate(["a person squats, then jumps"], torch.tensor([4]), candidates=2)
    assert frames.tolist() == [4] and features.shape[1] == 4
    assert sum(sum(lengths) for _, lengths in calls) == 8


def test_given_lengths_of_other_prompts_do_not_change_predicted_ones():
    model = with_highest(tiny.pipeline())
    mixed, frames = model.generate(PROMPTS, torch.tensor([24, 0]), candidates=3)
    alone, predicted = model.generate(PROMPTS[1:], None, candidates=3, first_sample=1)
    assert frames.tolist() == [24, int(predicted[0])]
    torch.testing.assert_close(mixed[1, : frames[1]], alone[0], rtol=0, atol=1e-9)


def test_every_second_predicted_length_is_moved_towards_the_typical_length():
    assert varied(torch.tensor([[5, 5, 45, 45], [20, 20, 20, 20]])).tolist() == [[5, 10, 45, 30], [20, 20, 20, 20]]
    model = tiny.pipeline()
    action, sampling = model.action(PROMPTS), replace(model.sampling, candidates=4)
    predicted = model.length.predict(model.part("length", action.condition.repeat_interleave(4, dim=0)), seed=sampling.seed)
    expected = varied(predicted.view(2, 4)).clamp(max=12)  # 12 tokens: the longest motion in training
    assert (varied(predicted.view(2, 4)) > 12).any()
    assert torch.equal(model.sizes(action, None, sampling, 0), expected)
    assert torch.equal(model.sizes(action, torch.tensor([24, 0]), sampling, 0), torch.stack((torch.full((4,), 6), expected[1])))
    alone = model.sizes(action, None, replace(sampling, candidates=1), 0)[:, 0]
    assert torch.equal(alone, model.length.predict(model.part("length", action.condition), seed=sampling.seed))


def test_a_selector_of_another_skeleton_is_refused():
    kit = MotionTokeniser(VQConfig(dim=251, width=8, depth=1, nb_code=16, code_dim=8, num_quantizers=3))
    sizes = torch.zeros(251), torch.ones(251)
    parts = tiny.models(3, cond_dim=8)
    with pytest.raises(UserError, match="22 joints"):
        TextToMotion(tiny.LetterCounts(), kit, *sizes, parts["masked"], selector=Selector(SelectorConfig(cond_dim=8)))


def preferring(number: int, calls: list):
    """A scorer of which candidate `number` of each motion has the highest score."""

    def scorer(texts, condition, motions):
        calls.append((list(texts), [len(motion) for motion in motions]))
        return -(torch.arange(float(len(texts))) % 3 - number).abs()

    return scorer


def test_edits_choose_among_candidates_by_the_new_frames():
    model, source, results, calls = filling(), torch.randn(48, 263).double(), [], []
    for number in (0, 2):
        model.scorer = preferring(number, calls)
        settings = replace(model.sampling, candidates=3)
        results.append(edit(model, source, [(16, 28)], "a person bows", takes=2, longest=49, sampling=settings).features)
    assert calls == [(["a person bows"] * 6, [12] * 6)] * 2
    assert not torch.equal(results[0][:, 16:28], results[1][:, 16:28]) and not torch.equal(results[0][0], results[0][1])
    torch.testing.assert_close(results[0][:, :8], results[1][:, :8])
    for number, result in zip((0, 2), results):  # candidate c of the first take has sample number c
        alone = edit(model, source, [(16, 28)], "a person bows", longest=49, first_sample=number).features[0]
        torch.testing.assert_close(result[0], alone)
    edit(model, source, [(16, 28)], "", longest=49, sampling=settings)
    assert len(calls) == 2, "without a prompt, there is nothing to compare"


def test_joined_prompts_choose_among_candidates_one_after_the_other():
    model, calls = filling(), []
    model.scorer = preferring(1, calls)
    features, ends = join(model, PROMPTS, [24, 40], longest=49, sampling=replace(model.sampling, candidates=3))
    assert ends == [24, 64] and len(features) == 64
    assert calls == [(["a person walks"] * 3, [24] * 3), (["someone waves"] * 3, [40] * 3)]


# The selector


def test_profiles_state_what_a_person_does():
    bits = dict(zip(BITS, profile(performers.squatter(0.5, 2))))
    assert bits["squat > 0.5"] and bits["squat > 1.5"] and not bits["squat > 2.5"] and not bits["sit > 0.5"]
    assert bits["last pelvis > 0.85"] and not bits["lowest pelvis > 0.7"]
    walk = dict(zip(BITS, profile(walker(80))))
    assert walk["travels forward > 0.5"] and walk["steps > 2.5"] and not walk["squat > 0.5"]


@pytest.mark.parametrize("frames", [1, 5, 12])
def test_profiles_of_short_motions_exist(frames):
    assert profile(walker(24)[:frames]).shape == (len(BITS),)


def test_mirroring_a_motion_swaps_the_sides_of_its_profile():
    joints = performers.kicker(0)
    swapped = {"left": "right", "right": "left"}
    bits = dict(zip(BITS, profile(joints)))
    mirrored = dict(zip(BITS, profile(joints[:, list(HUMANML3D.mirror)] * [-1, 1, 1])))
    for name in BITS:
        if "to the left" not in name:  # signed
            assert mirrored[" ".join(swapped.get(word, word) for word in name.split())] == bits[name], name


def trained_selector() -> tuple[Selector, torch.Tensor, torch.Tensor]:
    """A selector trained on two texts and two motions, and their conditions and joints."""
    torch.manual_seed(0)
    joints = [torch.tensor(performers.squatter(0.5, 2)).float(), torch.tensor(walker(80)).float()]
    profiles = torch.stack([torch.from_numpy(profile(clip.numpy())) for clip in joints])
    conditions = torch.randn(2, 384)
    selector = Selector(SelectorConfig(hidden_dim=16, embed_dim=8))
    optimizer = torch.optim.Adam(selector.parameters(), 0.01)
    batch = {"condition": conditions, "profile": profiles, "caption": torch.arange(2), "clip": torch.arange(2)}
    for _ in range(60):
        loss, _ = selector.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return selector.eval(), conditions, joints


def test_the_selector_prefers_the_motion_of_the_text():
    selector, conditions, joints = trained_selector()
    motions = [joints_to_features(clip[None], HUMANML3D)[0][0] for clip in joints]
    score = FactScorer(selector, lambda condition: condition)
    right = score(["squat", "walk"], conditions, motions)
    wrong = score(["squat", "walk"], conditions, motions[::-1])
    assert (right > wrong + 1).all()
    with_words = torch.cat((conditions[:, None], torch.randn(2, 3, 384)), dim=1)
    assert torch.equal(score(["squat", "walk"], with_words, motions), right)


def test_pairs_of_the_same_caption_or_clip_are_no_negatives():
    torch.manual_seed(0)
    selector = Selector(SelectorConfig(hidden_dim=16, embed_dim=8)).eval()
    batch = {"condition": torch.randn(3, 384), "profile": torch.rand(3, len(BITS)) > 0.5, "clip": torch.tensor([0, 1, 2])}
    loss, _ = selector.loss(batch | {"caption": torch.tensor([0, 0, 1])})
    scores = torch.stack([selector(batch["condition"], batch["profile"].roll(-shift, 0)) for shift in range(3)])  # shift × text
    logits = torch.stack([scores[(torch.arange(3) - text) % 3, text] for text in range(3)])  # texts × motions
    logits[0, 1] = logits[1, 0] = -torch.inf
    target = torch.arange(3)
    expected = (torch.nn.functional.cross_entropy(logits, target) + torch.nn.functional.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(loss, expected)


def test_a_selector_of_other_profiles_is_refused():
    with pytest.raises(UserError, match="train it again"):
        FactScorer(Selector(SelectorConfig(profile_dim=7)), lambda condition: condition)


def test_lamp_scores_candidates_by_its_matching_head():
    class Lamp:
        mean, std = torch.ones(263), torch.full((263,), 2.0)

        def match(self, captions, motion, lengths):
            assert captions == PROMPTS and lengths.tolist() == [3, 5]
            return motion.sum((1, 2))

    motions = [torch.full((3, 263), 3.0), torch.full((5, 263), 3.0)]
    scores = MatchScorer(Lamp())(PROMPTS, torch.zeros(2, 1), motions)
    assert scores[0] == pytest.approx(3 * 263 - 2 * 263 / 2) and scores[1] == pytest.approx(5 * 263)


def test_the_record_of_a_result_states_the_settings_that_were_used():
    flags = GenT2M(cond_scale=3.0)
    used = EMBEDDED_SAMPLING.changed(flags)
    record = used.recorded(flags)
    assert (record.cond_scale, record.res_cond_scale, record.candidates) == (3.0, 2.0, 8)
    assert EMBEDDED_SAMPLING.changed(GenT2M(loop=True)).candidates == 1
