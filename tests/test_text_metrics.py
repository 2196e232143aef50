"""Scores of captions: values by hand, COCO's own code as an oracle, properties that must hold."""

from __future__ import annotations

import sys
import tarfile
from itertools import combinations
from math import exp, isfinite, log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics.text import bleu, cider, rouge_l, score_captions, words
from utils.errors import UserError

TEXTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "humanml3d" / "texts.tar.gz"
NAMES = ["BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr"]

captions = st.lists(st.sampled_from(["a", "person", "walks", "left", "Turns,", "."]), max_size=9).map(" ".join)
groups = st.lists(captions, min_size=1, max_size=3)
corpora = st.lists(st.tuples(captions, groups), min_size=1, max_size=6)


def split(corpus) -> tuple[list[str], list[list[str]]]:
    return [candidate for candidate, _ in corpus], [list(group) for _, group in corpus]


# Words


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A person WALKS, then stops.", "a person walks then stops"),
        ("the person's counter-clockwise turn", "the persons counterclockwise turn"),
        ("walks 1.5 m (2-3 steps)...and 90-degree", "walks 1.5 m 2 3 steps and 90 degree"),
        ("turns;walks -- 'quickly'", "turns walks quickly"),
        ("läuft_schnell", "läuft schnell"),
        (" \n", ""),
        ("?!", ""),
    ],
)
def test_words_are_lower_case_without_punctuation(caption, expected):
    assert " ".join(words(caption)) == expected


# By hand


def test_bleu_by_hand():
    """4 of 4 words match, 2 of 3 pairs ("walks forward" does not), 1 of 2 triples, 0 of 1 quadruples. The lengths 5 and 3 are
    equally close to 4: the shorter counts, and there is no brevity penalty."""
    scores = bleu(["A person walks forward."], [["a person walks slowly forward", "the man walks"]])
    assert list(scores) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"]
    expected = [1, (1 * 2 / 3) ** (1 / 2), (1 * 2 / 3 * 1 / 2) ** (1 / 3), 0]
    assert list(scores.values()) == pytest.approx([100 * score for score in expected])


def test_bleu_counts_over_the_corpus_and_clips():
    """Words: "walk" counts twice, as in the first reference, of 4; "a man runs" 3 of 3: 5/7. Pairs: "walk walk" once of 3, and
    2 of 2: 3/5. Lengths 4 + 3 = 7 against 2 + 8 = 10 of the closest references: e^(1 − 10/7)."""
    references = [["walk walk", "he does not walk at all today"], ["a man runs as fast as he can"]]
    scores = bleu(["walk walk walk walk", "a man runs"], references, max_order=2)
    penalty = exp(1 - 10 / 7)
    assert scores == pytest.approx({"BLEU-1": 100 * penalty * 5 / 7, "BLEU-2": 100 * penalty * (5 / 7 * 3 / 5) ** 0.5})


def test_rouge_l_by_hand():
    """Caption of 4 words. "a person walks" is common with the first reference (3 of 6), "walks forward" with the second (2 of 2):
    P = 3/4 from one, R = 1 from the other. The second caption shares nothing: 0."""
    references = [["so a person slowly walks away", "walks forward"], ["b c"]]
    precision, recall = 3 / 4, 1
    score = (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)
    assert rouge_l(["a person walks forward", "x y"], references) == pytest.approx(100 * (score + 0) / 2)


def test_cider_by_hand():
    """Two clips. idf = log 2 for words of one clip. Caption 1: tf-idf 3 log 2 against log 2, clipped to the reference: cosine
    log 2 · log 2 / (3 log 2 · log 2) = 1/3; lengths 2 and 0 (in pairs of words): e^(−4 / 72). There are no longer n-grams in the
    reference, so that the mean over n is a quarter. Caption 2 matches nothing."""
    cosine = log(2) * log(2) / (3 * log(2) * log(2))
    expected = 10 * (cosine * exp(-4 / (2 * 36))) / 4
    assert cider(["walk walk walk", "jump"], [["walk"], ["run"]]) == pytest.approx(100 * (expected + 0) / 2)


def test_cider_weighs_words_by_clips_and_averages_references():
    """Three clips. "a" is in all of them (idf 0), "b" in two (log 3/2, though three captions have it), "c" in one (log 3).
    Words of caption 1, "b c", against "b c": 1; against "b b": min(1, 2) · 2 w² / (√(w² + v²) · 2 w) = w / √(w² + v²). Pairs: "b c"
    against itself 1, against "b b" 0. The other captions, "a", score 0."""
    w, v = log(3 / 2), log(3)
    first, second = 1 + 1, w / (w**2 + v**2) ** 0.5 + 0
    references = [["b c", "b b"], ["a b", "a"], ["a", "a"]]
    references[0].append("a a")  # against it 0
    expected = 10 * (first / 4 + second / 4 + 0) / 3
    assert cider(["b c", "a", "a"], references) == pytest.approx(100 * expected / 3)


# Oracles


def test_scores_equal_cocos():
    pytest.importorskip("pycocoevalcap", reason="weighs 100 MB: pip install --no-deps pycocoevalcap==1.2")
    if not TEXTS.is_file():
        pytest.skip("needs the project's reference data")
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    candidates, references = real_captions(200)
    truth = {clip: [" ".join(words(text)) for text in group] for clip, group in enumerate(references)}
    tokenised = {clip: [" ".join(words(text))] for clip, text in enumerate(candidates)}
    scorer = BleuScorer(n=4)
    for clip in truth:
        scorer += (tokenised[clip][0], truth[clip])
    assert list(bleu(candidates, references).values()) == pytest.approx([100 * x for x in scorer.compute_score("closest")[0]])
    assert rouge_l(candidates, references) == pytest.approx(100 * Rouge().compute_score(truth, tokenised)[0])
    assert cider(candidates, references) == pytest.approx(100 * Cider().compute_score(truth, tokenised)[0])


def real_captions(clips: int) -> tuple[list[str], list[list[str]]]:
    """First captions of clips of HumanML3D, and their other ones, one to three of them."""
    groups = []
    with tarfile.open(TEXTS) as archive:
        for member in archive:
            if member.name.endswith(".txt") and "/texts/" in member.name:
                lines = archive.extractfile(member).read().decode().splitlines()
                group = [line.split("#")[0] for line in lines if line.strip()]
                groups += [group] if len(group) > 1 else []
            if len(groups) == clips:
                break
    assert len(groups) == clips
    assert {len(group) for group in groups} > {3}
    return [group[0] for group in groups], [group[1:] for group in groups]


@settings(deadline=None, max_examples=40)
@given(first=st.lists(st.sampled_from("abc"), max_size=7), second=st.lists(st.sampled_from("abc"), max_size=7))
def test_rouge_l_equals_trying_all_subsequences(first, second):
    def subsequences(letters):
        return {kept for size in range(len(letters) + 1) for kept in combinations(letters, size)}

    common = max(map(len, subsequences(first) & subsequences(second)))
    precision, recall = common / max(1, len(first)), common / max(1, len(second))
    expected = 0.0 if not common else 2.44 * precision * recall / (recall + 1.44 * precision)
    assert rouge_l([" ".join(first)], [[" ".join(second)]]) == pytest.approx(100 * expected)


# Properties


def test_a_caption_that_is_a_reference_scores_most():
    texts = ["a person walks forward slowly", "the man jumps up and down", "someone waves the right hand"]
    scores = score_captions(texts, [[text, "he sits on the floor"] for text in texts])
    assert [scores[name] for name in NAMES[:3]] == pytest.approx([100, 100, 100])
    alone = score_captions([text.upper() + "!" for text in texts], [[text] for text in texts])
    assert list(alone) == NAMES
    assert list(alone.values()) == pytest.approx([100, 100, 100, 1000])


@settings(deadline=None)
@given(corpora, st.randoms(use_true_random=False))
def test_the_order_of_clips_and_of_references_does_not_matter(corpus, random):
    shuffled = [(candidate, random.sample(group, len(group))) for candidate, group in random.sample(corpus, len(corpus))]
    assert score_captions(*split(shuffled)) == pytest.approx(score_captions(*split(corpus)))


@settings(deadline=None)
@given(corpora)
def test_scores_are_finite_and_within_their_bounds(corpus):
    scores = score_captions(*split(corpus))
    assert all(isfinite(score) and score >= 0 for score in scores.values())
    assert all(scores[name] <= 100 + 1e-9 for name in NAMES[:3])
    assert scores["CIDEr"] <= 1000 + 1e-9


@settings(deadline=None)
@given(corpora, captions)
def test_one_more_reference_never_lowers_rouge_l(corpus, extra):
    candidates, references = split(corpus)
    assert rouge_l(candidates, [[*group, extra] for group in references]) >= rouge_l(candidates, references) - 1e-9


def test_many_pairs_of_all_lengths_are_kept_apart():
    """More pairs than are compared at a time: each caption is the only one that its reference matches."""
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{clip}x{k}" for k in range(rng.integers(1, 30))) for clip in range(1100)]
    assert rouge_l(texts, [[f"z {text} z", text] for text in texts]) == pytest.approx(100)
    assert rouge_l(texts, [[text] for text in np.roll(texts, 1)]) == 0


@pytest.mark.parametrize("caption", ["", " ", ".", "walk"])
def test_blank_and_short_captions_score_what_the_formulae_give(caption):
    scores = score_captions([caption, caption], [["a person walks", ""], [caption]])
    hit = caption == "walk"  # 1 of 2 words, 1 of 2 captions; cosine 1 for n = 1 only
    assert scores["BLEU-4"] == 0
    assert [scores[name] for name in ("BLEU-1", "ROUGE-L", "CIDEr")] == pytest.approx([50 * hit, 50 * hit, 125 * hit])


# Bad input


@pytest.mark.parametrize("metric", [score_captions, bleu, rouge_l, cider])
@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ([], [], "captions: none to score"),
        ("walk", ["walk"], "captions: none to score"),
        (["a", "b"], [["a"]], "2 captions but 1 lists"),
        (["a", "b"], [["a"], []], "caption 2 of 2 has no list of references"),
        (["a", "b"], ["a", ["b"]], "caption 1 of 2 has no list of references"),
    ],
)
def test_bad_input_is_named(metric, candidates, references, message):
    with pytest.raises(UserError, match=message):
        metric(candidates, references)


def test_without_sacrebleu_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-evaluation\.txt"):
        bleu(["a"], [["a"]])
