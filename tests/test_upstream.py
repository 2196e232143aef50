"""Released checkpoints: told by their tensors, loaded strictly, refused clearly."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import torch

from models.loading import load_model
from models.upstream import tokeniser_from
from models.vqvae import MotionTokeniser, VQConfig
from utils.errors import UserError

LAYOUTS = Path(__file__).resolve().parents[2] / "shared" / "reference" / "checkpoint_layouts"


def released_names(config: VQConfig, prefix: str = "") -> dict[str, torch.Tensor]:
    """A random state dict with the names and shapes of a released tokeniser."""
    width, code_dim, down_t = config.width, config.code_dim, config.down_t
    shapes = {"encoder.model.0": (width, config.dim, 3), f"encoder.model.{down_t + 2}": (code_dim, width, 3)}
    shapes |= {"decoder.model.0": (width, code_dim, 3), f"decoder.model.{down_t + 2}": (width, width, 3)}
    shapes |= {f"decoder.model.{down_t + 4}": (config.dim, width, 3)}
    for stage in range(2, down_t + 2):
        shapes |= {f"encoder.model.{stage}.0": (width, width, 4), f"decoder.model.{stage}.2": (width, width, 3)}
        for half, place in (("encoder", 1), ("decoder", 0)):
            for block in range(config.depth):
                name = f"{half}.model.{stage}.{place}.model.{block}"
                shapes |= {f"{name}.conv1": (width, width, 3), f"{name}.conv2": (width, width, 1)}
    state = {f"{prefix}{name}.weight": 0.1 * torch.randn(shape) for name, shape in shapes.items()}
    state |= {f"{prefix}{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}
    if prefix:
        return state | {f"{prefix}quantizer.codebook": torch.randn(config.nb_code, code_dim)}
    return state | {f"quantizer.layers.{q}.codebook": torch.randn(config.nb_code, code_dim) for q in range(config.num_quantizers)}


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
    state = released_names(config, prefix)
    torch.save({key: state, "ep": 3, "total_it": 5}, tmp_path / "latest.tar")
    model, metadata = load_model(tmp_path / "latest.tar", dataset_name="t2m")
    assert model.config == config
    assert not model.training
    assert (metadata["kind"], metadata["dataset_name"]) == ("tokeniser", "t2m")
    loaded = [value for name, value in model.state_dict().items() if not name.endswith("counts")]
    assert sorted(value.sum().item() for value in loaded) == sorted(value.sum().item() for value in state.values())
    for q in range(config.num_quantizers):
        theirs = "quantizer.codebook" if prefix else f"quantizer.layers.{q}.codebook"
        assert torch.equal(model.quantizer.layer(q).codebook, state[prefix + theirs])


def test_same_codebook_in_all_layers_is_a_shared_one():
    state = released_names(VQConfig(width=6, code_dim=4, nb_code=8, num_quantizers=3))
    books = [name for name in state if "codebook" in name]
    state |= dict.fromkeys(books, state[books[0]])
    assert tokeniser_from(state).config.shared_codebook


def test_what_shapes_cannot_tell_is_taken_from_the_caller(tmp_path):
    torch.save({"net": released_names(VQConfig(width=6, code_dim=4, nb_code=8), "vqvae.")}, tmp_path / "net_last.pth")
    model, _ = load_model(tmp_path / "net_last.pth", dilation_growth_rate=2, vq_act="silu")
    assert (model.config.dilation_growth_rate, model.config.vq_act) == (2, "silu")
    assert [block.conv1.dilation for block in model.encoder.refine[0]] == [(4,), (2,), (1,)]


def test_loaded_tokeniser_trains_on():
    model = tokeniser_from(released_names(VQConfig(width=6, code_dim=4, nb_code=8))).train()
    before = model.quantizer.layers[0].codebook.clone()
    loss, _ = model.loss({"motion": torch.randn(4, 32, 263), "lengths": torch.full((4,), 32)})
    loss.backward()
    assert torch.isfinite(loss)
    assert (model.quantizer.layers[0].codebook - before).abs().max() < 0.2 * before.abs().max()  # not thrown away


class Mischief:
    def __reduce__(self):
        return (print, ("code from the file ran",))


def test_bad_files_get_one_line(tmp_path, capsys):
    state = released_names(VQConfig(width=6, code_dim=4, nb_code=8))
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
    assert "code from the file ran" not in capsys.readouterr().out


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
