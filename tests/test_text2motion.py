"""The whole pipeline from prompts to features, with small random models."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from models.length import LengthConfig, LengthPredictor
from models.masked import MaskedConfig, MaskedTransformer
from models.residual import ResidualConfig, ResidualTransformer
from models.vqvae import MotionTokeniser, VQConfig
from pipelines.text2motion import TextToMotion
from tests.small_lamp import WIDTH, write_lamp
from utils.checkpoint import CheckpointFolder, save_weights
from utils.errors import UserError

PROMPTS = ["a person walks", "someone waves", "a man bows twice"]
LENGTHS = torch.tensor([24, 40, 30])  # the last is cut to 28
TRANSFORMER = {"nb_code": 16, "cond_dim": 8, "code_dim": 8, "latent_dim": 16, "ff_size": 32, "n_layers": 1, "n_heads": 2}


class LetterCounts:
    """A text encoder of width 8."""

    dim = 8

    def __init__(self, *_):
        pass

    def __call__(self, captions):
        return torch.tensor([[float(caption.count(letter)) for letter in "aeinorst"] for caption in captions], dtype=torch.double)


def parts(num_quantizers: int = 3, cond_dim: int = 8) -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    sizes = {**TRANSFORMER, "cond_dim": cond_dim}
    models = {
        "tokeniser": MotionTokeniser(VQConfig(dim=263, num_quantizers=num_quantizers, nb_code=16, code_dim=8, width=8, depth=1)),
        "masked": MaskedTransformer(MaskedConfig(**sizes)),
        "residual": ResidualTransformer(ResidualConfig(num_quantizers=3, **sizes)),
        "length": LengthPredictor(LengthConfig(cond_dim=cond_dim, classes=13, hidden_dim=16)),
    }
    for book in models["tokeniser"].quantizer.layers:
        book.codebook.normal_()
    return {kind: model.double().eval() for kind, model in models.items()}


def pipeline(**changes) -> TextToMotion:
    mean, std = torch.linspace(-1, 1, 263, dtype=torch.double), torch.linspace(1, 2, 263, dtype=torch.double)
    return TextToMotion(LetterCounts(), mean=mean, std=std, **{**parts(), **changes})


def test_gives_denormalised_motion_of_the_lengths_asked_for():
    model = pipeline()
    features, lengths = model.generate(PROMPTS, LENGTHS)
    assert lengths.tolist() == [24, 40, 28]
    assert features.shape == (3, 40, 263)
    assert (features[0, 24:] == 0).all()
    codes = torch.zeros(1, 6, 3, dtype=torch.long)
    model.masked.generate = lambda *_, **__: codes[..., 0]
    model.residual.generate = lambda *_, **__: codes
    expected = model.tokeniser.decode(codes, torch.tensor([24])) * model.std + model.mean
    torch.testing.assert_close(model.generate(PROMPTS[:1], LENGTHS[:1])[0], expected.detach())


@pytest.mark.parametrize("lengths", [LENGTHS, None])
def test_a_motion_is_the_same_whatever_batch_it_sits_in(lengths):
    model = pipeline()
    together, frames = model.generate(PROMPTS, lengths, seed=7)
    for row in range(3):
        row_lengths = None if lengths is None else lengths[row : row + 1]
        alone, length = model.generate(PROMPTS[row : row + 1], row_lengths, seed=7, first_sample=row)
        assert length[0] == frames[row]
        torch.testing.assert_close(alone[0], together[row, : length[0]], rtol=0, atol=1e-10)
    assert not torch.equal(together, model.generate(PROMPTS, frames, seed=8)[0])


def test_one_codebook_needs_no_residual_model():
    features, _ = pipeline(tokeniser=parts(num_quantizers=1)["tokeniser"], residual=None).generate(PROMPTS, LENGTHS)
    assert features.isfinite().all()


def test_lengths_must_be_known_and_hold_a_token():
    with pytest.raises(UserError, match="length"):
        pipeline(length=None).generate(PROMPTS)
    with pytest.raises(UserError, match="3 frames"):
        pipeline().generate(PROMPTS, torch.tensor([24, 3, 24]))


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("masked", {"stride": 8}, "stride 8, but this one has 4"),
        ("masked", {"nb_code": 20}, "nb_code 20, but this one has 16"),
        ("residual", {"num_quantizers": 4}, "num_quantizers 4, but this one has 3"),
        ("masked", {"cond_dim": 10}, "width 10, but the text encoder returns width 8"),
    ],
)
def test_parts_that_do_not_fit_are_refused(kind, change, message):
    model = type(parts()[kind])(type(parts()[kind].config)(**{**asdict(parts()[kind].config), **change}))
    with pytest.raises(UserError, match=message):
        pipeline(**{kind: model})


def save_all(root, cond_dim: int = 8, condition: dict | None = None, residual: dict | None = None) -> None:
    """Save all parts as checkpoint folders of `open`; `condition` is added to all metadata, `residual` to the residual model's."""
    origin = {"vq_name": "tokeniser", "text_encoder": "sentence", "bert": ""} | (condition or {})
    for kind, model in parts(cond_dim=cond_dim).items():
        folder = CheckpointFolder(root, "open", kind)
        facts = {"kind": kind, "config": asdict(model.config), **origin, **((residual or {}) if kind == "residual" else {})}
        save_weights(folder.weights("net_best"), model.state_dict(), facts)
    meta = CheckpointFolder(root, "open", "tokeniser").meta
    meta.mkdir()
    np.save(meta / "mean.npy", np.zeros(263))
    np.save(meta / "std.npy", np.ones(263))


def test_loads_from_checkpoint_folders(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.conditioner.SentenceEncoder", LetterCounts)
    monkeypatch.setattr(LetterCounts, "__call__", lambda self, captions: torch.ones(len(captions), 8))
    save_all(tmp_path)
    model = TextToMotion.load(tmp_path, "open", "masked", "residual", "length")
    features, lengths = model.generate(PROMPTS)
    assert features.dtype == torch.float32
    assert features.shape == (3, int(lengths.max()), 263)
    assert TextToMotion.load(tmp_path, "open", "masked").residual is None
    with pytest.raises(UserError, match="holds a length model"):
        TextToMotion.load(tmp_path, "open", "masked", "length")
    (tmp_path / "open" / "tokeniser" / "meta" / "std.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"std\.npy"):
        TextToMotion.load(tmp_path, "open", "masked")


LAMP = {"text_encoder": "lamp", "lamp_name": "first", "no_query": False}


def test_models_of_different_tokenisers_are_not_mixed(tmp_path):
    save_all(tmp_path, residual={"vq_name": "another"})
    with pytest.raises(UserError, match="'residual' was trained with vq_name another, 'masked' with tokeniser"):
        TextToMotion.load(tmp_path, "open", "masked", "residual")


def test_each_model_reads_the_condition_that_it_was_trained_on(tmp_path, monkeypatch):
    """The masked model reads the first LaMP, the residual one the second and, before it, the sentence encoder."""
    monkeypatch.setattr("pipelines.conditioner.SentenceEncoder", LetterCounts)
    monkeypatch.setattr(LetterCounts, "fingerprint", "letters", raising=False)
    monkeypatch.setattr(LetterCounts, "title", "letters", raising=False)
    letters = LetterCounts()(["left"]).float()
    monkeypatch.setattr(LetterCounts, "__call__", lambda self, captions: letters.repeat(len(captions), 1))
    save_all(tmp_path, WIDTH, LAMP)
    joint = parts(cond_dim=8 + WIDTH)["residual"]
    facts = {**LAMP, "kind": "residual", "config": asdict(joint.config), "vq_name": "tokeniser"}
    facts |= {"text_encoder": "sentence+lamp", "lamp_name": "second"}
    save_weights(CheckpointFolder(tmp_path, "open", "residual").weights("net_best"), joint.state_dict(), facts)
    first, second = (write_lamp(tmp_path, "open", name, "tokeniser", seed) for seed, name in enumerate(("first", "second")))
    model = TextToMotion.load(tmp_path, "open", "masked", "residual", "length")
    condition = model.encoder(["left"])
    assert condition.shape == (1, 2 * WIDTH + 8)
    ids, lengths = torch.tensor([[2, 10, 3]]), torch.tensor([3])
    of_first, of_second = (lamp.condition(ids, lengths, True).detach() for lamp in (first, second))
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(model.part("masked", condition), of_first, **close)
    torch.testing.assert_close(model.part("residual", condition), torch.cat((letters, of_second), 1), **close)
    torch.testing.assert_close(model.part("length", condition), of_first, **close)
    assert model.generate(["a person walks"], torch.tensor([24]))[0].isfinite().all()


def test_given_tokens_are_completed_by_the_filling_model():
    filling = parts()["masked"]
    model = pipeline(filling=filling)
    draws = []
    for name, part in (("masked", model.masked), ("filling", filling)):
        generate = part.generate
        part.generate = lambda *args, name=name, generate=generate, **options: (draws.append(name), generate(*args, **options))[1]
    condition, tokens = model.encoder(PROMPTS), torch.tensor([6, 6, 6])
    given = torch.full((3, 6, 3), -1)
    given[:, :2] = 1
    codes = model.draw(condition, tokens, given)
    assert draws == ["filling"] and (codes[:, :2, 0] == 1).all()
    model.draw(condition, tokens)
    assert draws == ["filling", "masked"]


@pytest.mark.parametrize("no_query", [False, True])
def test_takes_the_lamp_that_the_models_were_trained_with(tmp_path, no_query):
    save_all(tmp_path, WIDTH, {**LAMP, "no_query": no_query})
    lamps = [write_lamp(tmp_path, "open", name, "tokeniser", seed) for seed, name in enumerate(("second", "first"))]
    model = TextToMotion.load(tmp_path, "open", "masked", "residual", "length")
    ids, lengths = torch.tensor([[2, 10, 3]]), torch.tensor([3])
    right, wrong = (lamp.condition(ids, lengths, not no_query) for lamp in reversed(lamps))
    torch.testing.assert_close(model.encoder(["left"]), right.detach(), rtol=1e-5, atol=1e-5)
    assert (right - wrong).abs().max() > 0.01
    features, lengths = model.generate(["a person walks", "left"])
    assert features.shape == (2, int(lengths.max()), 263)


def test_a_missing_lamp_or_one_of_another_width_is_named(tmp_path):
    save_all(tmp_path, 8, LAMP)
    with pytest.raises(UserError, match="first"):
        TextToMotion.load(tmp_path, "open", "masked")
    write_lamp(tmp_path, "open", "first", "tokeniser")
    with pytest.raises(UserError, match=f"width 8, but the text encoder returns width {WIDTH}"):
        TextToMotion.load(tmp_path, "open", "masked")
