"""prepare.release: a trained run becomes a small folder that the loaders read unchanged."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from models.loading import load_model
from models.masked import MaskedConfig, MaskedTransformer
from models.vqvae import MotionTokeniser, VQConfig
from pipelines.conditioner import load_conditioner
from prepare.release import main
from tests.small_lamp import WIDTH, write_lamp
from utils.checkpoint import CheckpointFolder, eight_bits, load_weights, save_weights


def a_run(root, scale: float = 1.0) -> MotionTokeniser:
    """A run as train_vq.py leaves it, of random weights."""
    torch.manual_seed(0)
    model = MotionTokeniser(VQConfig(num_quantizers=2, width=16, depth=1, nb_code=16, code_dim=8)).eval()
    with torch.no_grad():
        for layer in model.quantizer.layers:
            layer.codebook.normal_(0, scale)
    folder = CheckpointFolder(root, "open", "vq")
    metadata = {"kind": "tokeniser", "config": asdict(model.config), "step": 7}
    for tag in ("net_best_mpjpe", "latest"):
        save_weights(folder.weights(tag), model.state_dict(), metadata)
    folder.opt.write_text("name: vq\n")
    folder.meta.mkdir()
    for part in ("mean", "std"):
        np.save(folder.meta / f"{part}.npy", np.ones(263, np.float32))
    return model


def release(tmp_path, *flags: str) -> None:
    main(["--checkpoints_dir", str(tmp_path / "runs"), "--out", str(tmp_path / "demo"), "--runs", "vq", *flags])


def test_a_released_run_is_half_the_size_and_does_the_same(tmp_path):
    model = a_run(tmp_path / "runs")
    release(tmp_path)
    folder = CheckpointFolder(tmp_path / "demo", "open", "vq")
    files = sorted(str(path.relative_to(folder.root)) for path in folder.root.rglob("*") if path.is_file())
    assert files == ["meta/mean.npy", "meta/std.npy", "model/net_best.safetensors", "opt.txt"]
    original = CheckpointFolder(tmp_path / "runs", "open", "vq").weights("latest").stat().st_size
    assert folder.weights("net_best").stat().st_size < 0.7 * original
    released, metadata = load_model(folder.root)
    assert metadata["step"] == 7
    assert {value.dtype for value in released.state_dict().values()} == {torch.float32}
    motion = torch.randn(3, 40, 263)
    with torch.no_grad():
        latent, expected = released.encode_latent(motion), model.encode_latent(motion)
    assert (latent - expected).abs().max() < 0.02 * expected.abs().max()


def test_matrices_in_eight_bits_take_a_quarter_and_hardly_change(tmp_path):
    torch.manual_seed(0)
    state = {"matrix": torch.randn(64, 256) * torch.rand(64, 1), "bias": torch.randn(64), "count": torch.arange(3)}
    save_weights(tmp_path / "full.safetensors", state, {})
    save_weights(tmp_path / "small.safetensors", eight_bits(state), {})
    assert (tmp_path / "small.safetensors").stat().st_size < 0.3 * (tmp_path / "full.safetensors").stat().st_size
    restored, _ = load_weights(tmp_path / "small.safetensors")
    assert restored.keys() == state.keys() and restored["matrix"].dtype == torch.float32
    step = state["matrix"].abs().amax(1, keepdim=True) / 127
    assert ((restored["matrix"] - state["matrix"]).abs() <= 0.51 * step).all()
    assert torch.equal(restored["bias"], state["bias"]) and torch.equal(restored["count"], state["count"])


def test_kernels_in_eight_bits_have_a_scale_for_each_output(tmp_path):
    torch.manual_seed(0)
    kernel = torch.randn(8, 16, 3) * torch.tensor([1.0, 1e-3] * 4)[:, None, None]
    save_weights(tmp_path / "small.safetensors", eight_bits({"kernel": kernel}), {})
    restored = load_weights(tmp_path / "small.safetensors")[0]["kernel"]
    assert ((restored - kernel).abs() <= 0.51 / 127 * kernel.abs().amax((1, 2), keepdim=True)).all()


def test_a_released_tokenisers_bones_are_exact(tmp_path):
    body = {"decoder.body.lengths": torch.rand(22), "decoder.first.weight": torch.rand(4, 4, 3)}
    run = CheckpointFolder(tmp_path / "runs", "open", "vq")
    a_run(tmp_path / "runs")
    save_weights(run.weights("net_best_mpjpe"), body, {"kind": "tokeniser", "step": 7})
    release(tmp_path)
    released, _ = load_weights(CheckpointFolder(tmp_path / "demo", "open", "vq").weights("net_best"))
    assert torch.equal(released["decoder.body.lengths"], body["decoder.body.lengths"])
    assert released["decoder.first.weight"].dtype == torch.float16


def test_a_lamp_run_takes_its_vocabulary_along(tmp_path):
    model = write_lamp(tmp_path / "runs", "open")
    folder = CheckpointFolder(tmp_path / "runs", "open", "lamp")
    folder.opt.write_text("name: lamp\n")
    main(["--checkpoints_dir", str(tmp_path / "runs"), "--out", str(tmp_path / "demo"), "--runs", "lamp", "--int8", "lamp"])
    released = CheckpointFolder(tmp_path / "demo", "open", "lamp")
    assert (released.root / "vocab.txt").read_text() == (folder.root / "vocab.txt").read_text()
    assert set(load_model(released.root)[0].state_dict()) == set(model.state_dict())


def test_numbers_that_fp16_cannot_hold_are_refused(tmp_path, capsys):
    a_run(tmp_path / "runs", scale=1e6)
    with pytest.raises(SystemExit) as end:
        release(tmp_path)
    assert end.value.code == 2
    assert "codebook" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_a_missing_run_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        release(tmp_path)
    assert end.value.code == 2
    assert str(tmp_path / "runs" / "open" / "vq") in capsys.readouterr().err


def test_no_path_of_the_training_machine_is_released(tmp_path):
    a_run(tmp_path / "runs")
    run = CheckpointFolder(tmp_path / "runs", "open", "vq")
    run.opt.write_text("name: vq\ndata_root: /somewhere/private/Open\nlr: 0.1\n")
    save_weights(run.weights("net_best_mpjpe"), {"x": torch.ones(2)}, {"kind": "tokeniser", "step": 7, "bert": "/somewhere/minilm"})
    release(tmp_path)
    folder = CheckpointFolder(tmp_path / "demo", "open", "vq")
    assert folder.opt.read_text() == "name: vq\ndata_root: Open\nlr: 0.1\n"
    assert load_weights(folder.weights("net_best"))[1]["bert"] == "minilm"


def test_a_released_transformer_names_the_condition_of_the_released_lamp(tmp_path):
    """The release rounds LaMP's weights, which changes their fingerprint; `--init` compares fingerprints."""
    tokeniser = CheckpointFolder(tmp_path / "runs", "open", "vq")
    write_lamp(tmp_path / "runs", "open")
    masked = CheckpointFolder(tmp_path / "runs", "open", "masked")
    origin = {"vq_name": "vq", "text_encoder": "lamp", "lamp_name": "lamp", "no_query": False, "bert": "", "condition": "of old"}
    config = MaskedConfig(cond_dim=WIDTH, nb_code=16, code_dim=8, latent_dim=16, ff_size=16, n_layers=1, n_heads=2)
    metadata = {"kind": "masked", "step": 3, "config": asdict(config), **origin}
    save_weights(masked.weights("latest"), MaskedTransformer(config).state_dict(), metadata)
    for folder in (tokeniser, masked, CheckpointFolder(tmp_path / "runs", "open", "lamp")):
        folder.opt.write_text("name: x\n")
        folder.meta.mkdir(exist_ok=True)
        for part in ("mean", "std"):
            np.save(folder.meta / f"{part}.npy", np.ones(263, np.float32))
    folder_flags = ["--checkpoints_dir", str(tmp_path / "runs"), "--out", str(tmp_path / "demo")]
    main([*folder_flags, "--runs", "vq", "lamp", "masked", "--int8", "lamp"])
    weights = CheckpointFolder(tmp_path / "demo", "open", "masked").weights("net_best")
    expected = load_conditioner("lamp", tmp_path / "demo", "open", lamp_name="lamp").fingerprint
    assert load_weights(weights)[1]["condition"] == expected
    assert expected != load_conditioner("lamp", tmp_path / "runs", "open", lamp_name="lamp").fingerprint
