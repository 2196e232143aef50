"""Cutting a BERT folder to the words of some captions: what is read, what is kept, and that the model stays the same."""

from __future__ import annotations

import tarfile
import zipfile

import pytest
import torch

from models.bert import load_bert, load_tokenizer
from prepare import backbone
from tests.small_bert import SPECIAL, write_bert

WORDS = ["a", "person", "walk", "walks", "##s", "##ing", "jump", "left", "aeroplane", "éa", "走"]
CAPTIONS = ["A person is walking left.", "a person jumps, twice!"]


@pytest.fixture
def bert(tmp_path):
    return write_bert(tmp_path / "bert", WORDS, layers=3)


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "data" / "texts"
    folder.mkdir(parents=True)
    for number, caption in enumerate(CAPTIONS):
        (folder / f"{number}.txt").write_text(f"{caption}#x/X#0.0#0.0\n")
    return folder


def cut(bert, texts, out, *flags):
    backbone.main(["--bert", str(bert), "--texts", *map(str, texts), "--out", str(out), *flags])
    return out


def hidden(folder, caption, layers=None):
    encoding = load_tokenizer(folder).encode(caption)
    model = load_bert(folder)
    model.layers = model.layers[:layers]
    with torch.no_grad():
        return encoding.tokens, model(torch.tensor([encoding.ids]), torch.ones(1, len(encoding.ids), dtype=torch.bool))


def test_captions_keep_their_pieces_and_hidden_states(bert, texts, tmp_path, capsys):
    small = cut(bert, [texts], tmp_path / "small")
    for caption in CAPTIONS:
        (before, whole), (after, part) = hidden(bert, caption), hidden(small, caption)
        assert before == after
        assert torch.equal(whole, part)
    assert "2 captions, 3 layers" in capsys.readouterr().out


def test_vocabulary_is_what_captions_use_and_letters_in_the_old_order(bert, texts, tmp_path):
    pieces = (cut(bert, [texts], tmp_path / "small") / "vocab.txt").read_text().split("\n")[:-1]
    assert pieces[:5] == SPECIAL
    assert {"walk", "##ing", "jump", "##s", "left", "z", "##z"} <= set(pieces)
    assert not {"aeroplane", "walks", "走", "[unused0]"} & set(pieces)
    old = (bert / "vocab.txt").read_text().split("\n")
    assert pieces[5:] == [piece for piece in old if piece in pieces[5:]]
    spelled = load_tokenizer(tmp_path / "small").encode("aeroplane").tokens
    assert spelled == ["[CLS]", "a", *(f"##{letter}" for letter in "eroplane"), "[SEP]"]


def test_first_layers_are_the_same(bert, texts, tmp_path):
    small = cut(bert, [texts], tmp_path / "small", "--layers", "2")
    assert torch.equal(hidden(bert, CAPTIONS[0], 2)[1], hidden(small, CAPTIONS[0])[1])


def test_archives_are_read_like_folders(bert, texts, tmp_path):
    archives = [tmp_path / "texts.tar.gz", tmp_path / "texts.zip"]
    with tarfile.open(archives[0], "w:gz") as archive:
        archive.add(texts, "texts")
    with zipfile.ZipFile(archives[1], "w") as archive:
        for file in texts.iterdir():
            archive.write(file, f"texts/{file.name}")
    expected, *vocabularies = [cut(bert, [source], tmp_path / f"of_{source.name}") / "vocab.txt" for source in (texts, *archives)]
    assert all(path.read_text() == expected.read_text() for path in vocabularies)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--layers": "4"}, "from 1 to 3"),
        ({"--layers": "-1"}, "--layers -1"),
        ({"--texts": "empty"}, "contains no captions"),
        ({"--texts": "nowhere"}, "nowhere"),
        ({"--bert": "empty"}, "config.json"),
        ({"--out": "bert"}, "already contains a model"),
        ({"--texts": None}, "--texts is missing"),
        ({"--out": None}, "--out is missing"),
    ],
)
def test_bad_input_is_named_and_nothing_written(bert, texts, tmp_path, capsys, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    flags = {"--bert": "bert", "--texts": str(texts), "--out": "small", **change}
    with pytest.raises(SystemExit) as end:
        backbone.main([word for flag, value in flags.items() if value is not None for word in (flag, value)])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "small").exists()
