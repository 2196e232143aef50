"""Released checkpoints: identified by their tensors, loaded strictly, rejected with clear errors."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import torch

from models.loading import load_model
from models.upstream.tokeniser import tokeniser_from
from models.vqvae import MotionTokeniser, VQConfig
from tests.released import masked_t2m_state, tokeniser_state
from utils.checkpoint import own_state
from utils.errors import UserError

LAYOUTS = Path(__file__).resolve().parents[2] / "shared" / "reference" / "checkpoint_layouts"


@pytest.mark.parametrize(
    ("prefix", "key", "sizes"),
    [
        ("", "vq_model", {"num_quantizers": 12, "depth": 3}),
        ("", "vq_model", {"num_quantizers": 2, "down_t": 1, "dim": 251, "depth": 1}),
        ("vqvae.", "net", {"num_quantizers": 1, "down_t": 6, "depth": 1}),
        ("vqvae.", "vq_model", {"num_quantizers": 1, "down_t": 2, "depth": 2, "code_dim": 5}),
    ],
)
def test_sizes_come_from_the_shapes_and_every_tensor_finds_its_place(tmp_path, prefix, key, sizes):
    config = VQConfig(**{"width": 6, "code_dim": 4, "nb_code": 8, **sizes})
    state = tokeniser_state(config, prefix)
    torch.save({key: state, "ep": 3, "total_it": 5}, tmp_path / "latest.tar")
    model, metadata = load_model(tmp_path / "latest.tar", dataset_name="t2m")
    assert model.config == config
    assert not model.training
    assert (metadata["kind"], metadata["dataset_name"]) == ("tokeniser", "t2m")
    loaded = [value for name, value in model.state_dict().items() if not name.endswith("counts")]
    assert sorted(value.sum().item() for value in loaded) == sorted(value.sum().item() for value in state.values())
    for q in range(config.num_quantizers):
        released_name = "quantizer.codebook" if prefix else f"quantizer.layers.{q}.codebook"
        assert torch.equal(model.quantizer.layer(q).codebook, state[prefix + released_name])


def test_same_codebook_in_all_layers_is_a_shared_one():
    state = tokeniser_state(VQConfig(width=6, code_dim=4, nb_code=8, num_quantizers=3))
    books = [name for name in state if "codebook" in name]
    state |= dict.fromkeys(books, state[books[0]])
    assert tokeniser_from(state).config.shared_codebook


def test_what_shapes_cannot_tell_is_taken_from_the_caller(tmp_path):
    torch.save({"net": tokeniser_state(VQConfig(width=6, code_dim=4, nb_code=8), "vqvae.")}, tmp_path / "net_last.pth")
    model, _ = load_model(tmp_path / "net_last.pth", dilation_growth_rate=2, vq_act="silu")
    assert (model.config.dilation_growth_rate, model.config.vq_act) == (2, "silu")
    assert [block.conv1.dilation for block in model.encoder.refine[0]] == [(4,), (2,), (1,)]


def test_loaded_tokeniser_trains_on():
    model = tokeniser_from(tokeniser_state(VQConfig(width=6, code_dim=4, nb_code=8))).train()
    before = model.quantizer.layers[0].codebook.clone()
    loss, _ = model.loss({"motion": torch.randn(4, 32, 263), "lengths": torch.full((4,), 32)})
    loss.backward()
    assert torch.isfinite(loss)
    assert (model.quantizer.layers[0].codebook - before).abs().max() < 0.2 * before.abs().max()  # not thrown away


def test_lamps_masked_transformer_brings_the_maker_of_its_condition(tmp_path):
    state = masked_t2m_state()
    torch.save({"t2m_transformer": state, "ep": 3}, tmp_path / "t2m.tar")
    model, metadata = load_model(tmp_path / "t2m.tar")
    assert metadata["kind"] == "masked"
    config = model.config
    assert (config.attention, config.n_heads, config.n_layers, config.cond_dim, config.nb_code) == ("additive", 8, 2, 128, 16)
    sizes = model.text.qformer.config
    assert (sizes.num_attention_heads, sizes.num_queries, sizes.cross_width, sizes.cross_every) == (2, 5, 20, 2)
    left = ("clip2qformer", "Qformer.cls", "Qformer.bert.embeddings.position_ids")
    expected = sum(value.double().sum() for name, value in state.items() if not name.startswith(left))
    torch.testing.assert_close(sum(value.double().sum() for value in model.state_dict().values()), expected)
    assert not any(name.startswith("text.") for name in own_state(model))
    ids = torch.tensor([[1, 7, 2, 0, 0]])
    assert model.text(ids, ids > 0).shape == (1, 128)
    assert load_model(tmp_path / "t2m.tar", n_heads=4, bert_heads=8)[0].text.qformer.config.num_attention_heads == 8
    del state["text2former.bias"]
    torch.save({"trans": state}, tmp_path / "t2m.tar")
    with pytest.raises(UserError, match=r"t2m\.tar: looks like LaMP's masked transformer with its Q-Former, but does not fit"):
        load_model(tmp_path / "t2m.tar")


class Mischief:
    def __reduce__(self):
        return (print, ("code from the file ran",))


def test_bad_files_get_one_line(tmp_path, capsys):
    state = tokeniser_state(VQConfig(width=6, code_dim=4, nb_code=8))
    good = tmp_path / "good.tar"
    torch.save({"vq_model": state}, good)
    (tmp_path / "truncated.tar").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (tmp_path / "page.tar").write_text("<!DOCTYPE html><title>Quota exceeded</title>")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"vq_model": Mischief()}, protocol=2))
    torch.save([1, 2], tmp_path / "list.tar")
    torch.save({"pizza": {"a": torch.zeros(1)}}, tmp_path / "foreign.tar")
    torch.save({"vq_model": {k: v for k, v in state.items() if k != "decoder.model.0.bias"}}, tmp_path / "missing.tar")
    torch.save({"vq_model": {**state, "decoder.model.9.weight": torch.zeros(1)}}, tmp_path / "extra.tar")
    torch.save({"vq_model": {**state, "decoder.model.0.bias": torch.zeros(7)}}, tmp_path / "shape.tar")
    for path in tmp_path.iterdir():
        if path != good:
            with pytest.raises(UserError) as error:
                load_model(path)
            assert str(path) in str(error.value)
            if path.stem == "code":
                assert "loading would run code" in str(error.value)
    assert "code from the file ran" not in capsys.readouterr().out


def test_what_shapes_cannot_tell_is_in_opt_txt_unless_the_caller_knows_better(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    state = tokeniser_state(VQConfig(width=6, code_dim=4, nb_code=8), "vqvae.")
    torch.save({"net": state, "ep": 4}, tmp_path / "model" / "net.pth")
    (tmp_path / "opt.txt").write_text("--- Options ---\ndataset_name: kit\nvq_act: silu\ndilation_growth_rate: 2\n")
    model, metadata = load_model(tmp_path / "model" / "net.pth")
    assert (model.config.dilation_growth_rate, model.config.vq_act, metadata["dataset_name"]) == (2, "silu", "kit")
    model, metadata = load_model(tmp_path / "model" / "net.pth", vq_act="gelu", dataset_name="t2m", n_heads=3)
    assert (model.config.dilation_growth_rate, model.config.vq_act, metadata["dataset_name"]) == (2, "gelu", "t2m")
    (line,) = capsys.readouterr().err.splitlines()[1:]
    assert "a tokeniser for t2m" in line and "dilation_growth_rate 2 from opt.txt; vq_act gelu given" in line
    with pytest.raises(UserError, match="unknown setting 'heads'"):
        load_model(tmp_path / "model" / "net.pth", heads=3)


def test_no_tensor_is_passed_over(tmp_path):
    state = tokeniser_state(VQConfig(width=6, code_dim=4, nb_code=8))
    twice = state | {f"decoder.model.9.{kind}": state[f"decoder.model.6.{kind}"] for kind in ("weight", "bias")}
    torch.save({"vq_model": twice}, tmp_path / "twice.tar")
    t2m = masked_t2m_state()
    torch.save({"t2m_transformer": {**t2m, "Qformer.lora.weight": torch.zeros(2)}}, tmp_path / "more.tar")
    torch.save({"t2m_transformer": {**t2m, "clip_model.weight": torch.zeros(2)}}, tmp_path / "clip.tar")
    for path in tmp_path.iterdir():
        with pytest.raises(UserError, match="does not fit"):
            load_model(path)
    torch.save({"t2m_transformer": t2m}, tmp_path / "good.tar", _use_new_zipfile_serialization=False)  # as old PyTorch wrote
    _, metadata = load_model(tmp_path / "good.tar")
    assert {name.split(".")[0] for name in metadata["leftovers"]} == {"Qformer", "clip2qformer"}


@pytest.mark.skipif(not LAYOUTS.exists(), reason="the lists of released tensors are not here")
@pytest.mark.parametrize("name", ["momask_rvq_t2m", "momask_rvq_kit", "lamp_vq_t2m_down2", "lamp_vq_kit_down6"])
def test_full_size_layouts_fit(name, tmp_path):
    lines = (LAYOUTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    shapes = {line.split("\t")[0]: [int(n) for n in re.findall(r"\d+", line.split("\t")[1])] for line in lines if "\t" in line}
    state = {tensor: torch.zeros(1).expand(shape) for tensor, shape in shapes.items()}
    state |= {tensor: value + i for i, (tensor, value) in enumerate(state.items()) if "codebook" in tensor}
    model: MotionTokeniser = tokeniser_from(state)
    config = model.config
    assert (config.width, config.code_dim, config.nb_code, config.depth) == (512, 512, 512, 3)
    assert config.dim == (251 if "kit" in name else 263)
    assert model.stride == (64 if "down6" in name else 4)
    assert config.num_quantizers == (6 if "momask" in name else 1)
