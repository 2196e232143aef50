"""Known prompts: the index of training captions, scores, notes. Embeddings are bags of stems: no weights are needed."""

import json

import numpy as np
import pytest
import torch

from benchmarks.known import area_under_curve, fit, read_prompts
from pipelines import known as module
from pipelines.caption_index import FILE, CaptionIndex, build_index, canonical, clauses, content_words, stem, thin_actions
from pipelines.known import FEATURES, KNOWN, Knowledge, check_prompts, language_fault
from utils.errors import UserError

CAPTIONS = [
    (f"{action}_{take}", text)
    for action, texts in {
        "walk": ("a man walks forward", "the woman is walking slowly", "someone walks ahead"),
        "wave": ("a person waves with the left hand", "he waves both hands"),
        "crawl": ("a person crawls over the floor", "a person crawls"),
    }.items()
    for take in range(1 if action == "crawl" else 4)
    for text in texts
]
TABLE = {clip: (clip.split("_")[0], 4.0) for clip, _ in CAPTIONS}
CALIBRATION = {"features": FEATURES, "weights": [4.0, 0.0, 2.0, 8.0, 0.0], "bias": -9.0}


def encoder(texts):
    """Bags of stems in 256 buckets."""
    rows = torch.zeros(len(texts), 256)
    for row, text in zip(rows, texts):
        for word in ["person", *content_words(text)]:
            row[sum(ord(letter) * 7**position for position, letter in enumerate(stem(word))) % 256] += 1
    return rows


@pytest.fixture
def knowledge():
    return Knowledge(build_index(CAPTIONS, encoder, TABLE), encoder, CALIBRATION)


def test_words_lose_their_endings_and_subjects():
    assert {stem(word) for word in ("wave", "waves", "waving", "waved")} == {"wav"}
    assert stem("running") == stem("runs") == "run" and stem("sits") == stem("sitting")
    assert canonical("The man is walking. ") == "a person walking" == canonical("someone walking")
    assert clauses("a man walks, then waves and sits") == ["a person walks", "a person waves", "a person sits"]


def test_paraphrases_are_known_and_strange_verbs_are_not(knowledge):
    assert knowledge("the lady walks ahead slowly").score > KNOWN and not knowledge("the lady walks ahead slowly").note
    violin = knowledge("a person plays the violin")
    assert violin.score < KNOWN and "'violin'" in violin.note and 1 <= len(violin.nearest) <= 3
    assert knowledge("a person walks and plays the violin").score < KNOWN  # one strange clause is enough


def test_several_people_are_noted(knowledge):
    assert "not of several" in knowledge("two people walk forward").note


def test_thin_actions_are_noted(knowledge):
    assert knowledge.index.thin == {"crawl"}
    assert "crawl" in knowledge("a man crawls over the floor").note
    assert thin_actions({"a1a": ("sit", 5.0), "a1b": ("sit", 5.0), "b": ("run", 25.0)}) == {"sit"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("一个人向前走", "English"), ("человек идёт", "English"), ("una persona camina hacia adelante", "English"),
        ("🕺", "no words"), ("a person walks", ""), ("walks", ""),
    ],
)  # fmt: skip
def test_other_languages_are_named(text, fault):
    result = language_fault(text, {"walk"})
    assert fault in result and bool(result) == bool(fault)


def test_nonsense_is_named(knowledge):
    assert "nonsense" in knowledge("xyzzy qwerty").note


def test_mirrors_and_clips_without_an_action_are_left_out():
    index = build_index([*CAPTIONS, ("Mwalk_0", "a man swims"), ("composed", "a man flies")], encoder, TABLE)
    assert not {"swims", "flies"} & set(index.words)


def test_an_index_survives_its_file(tmp_path, knowledge):
    knowledge.index.save(tmp_path)
    loaded = CaptionIndex.load(tmp_path)
    assert (loaded.captions, loaded.words, loaded.thin) == (knowledge.index.captions, knowledge.index.words, knowledge.index.thin)
    np.testing.assert_allclose(loaded.caption_rows, knowledge.index.caption_rows, atol=0.01)


def test_prompts_get_one_note_each_or_are_refused(tmp_path, monkeypatch, capsys, knowledge):
    monkeypatch.setattr(module.Knowledge, "load", classmethod(lambda cls, folder: knowledge))
    known = check_prompts(["a man walks forward", "a man plays the violin", "a man plays the violin"], tmp_path)
    json.dumps(known)
    assert [entry["score"] > KNOWN for entry in known] == [True, False, False]
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 1 and notes[0].startswith("note: 'a man plays the violin'")
    with pytest.raises(UserError, match="--strict: 'a man plays the violin'"):
        check_prompts(["a man plays the violin"], tmp_path, strict=True)


def test_a_run_without_an_index_only_knows_english(tmp_path, capsys):
    assert check_prompts(["a man plays the violin", "一个人"], tmp_path)[0] is None
    assert "not in English" in capsys.readouterr().err
    with pytest.raises(UserError, match=FILE):
        check_prompts(["a man walks"], tmp_path, strict=True)


def test_calibration_separates_what_can_be_separated():
    rng = np.random.default_rng(0)
    known = np.arange(200) % 2 == 0
    features = rng.normal(size=(200, 3)) + known[:, None] * [3, 0, 0]
    weights = fit(features, known)
    scores = features @ weights["weights"] + weights["bias"]
    assert area_under_curve(scores[known], scores[~known]) > 0.97 and abs(weights["weights"][0]) > 2 * abs(weights["weights"][1])
    assert area_under_curve(np.ones(3), np.ones(4)) == 0.5


def test_the_prompts_are_enough_and_halved():
    prompts = read_prompts()
    inside = [prompt for prompt in prompts if prompt.side == "inside"]
    outside = [prompt for prompt in prompts if prompt.side == "outside"]
    assert len(inside) >= 100 and len(outside) >= 100 and sum(prompt.kind == "motion" for prompt in outside) >= 60
    assert sum(prompt.kind in ("foreign", "nonsense") for prompt in outside) <= 20
    assert abs(sum(prompt.half == "report" for prompt in prompts) - len(prompts) / 2) <= 12
    assert len({prompt.text for prompt in prompts}) == len(prompts)
