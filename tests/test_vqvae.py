"""The tokeniser: what padding, odd lengths and bad input do to it, and that it learns."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.body import BodyLoss
from models.loading import load_model
from models.vqvae import Conv, MotionTokeniser, VQConfig, widen_from_
from motion.spec import get_spec
from utils.checkpoint import CheckpointFolder, find_weights, save_weights
from utils.errors import UserError

D = 263
BODY = {"rigid_bones": True, "planted_feet": True, "decoder_width": 24}
TINY = dict(width=16, code_dim=8, nb_code=32, depth=2, num_quantizers=3)


def tokeniser(**settings) -> MotionTokeniser:
    """A tiny tokeniser whose codebooks have seen one batch, in eval mode."""
    torch.manual_seed(0)
    model = MotionTokeniser(VQConfig(**{**TINY, **settings}))
    model.loss({"motion": torch.randn(8, 32, model.config.dim)})
    return model.eval()


def batch(frames: int = 41) -> tuple[torch.Tensor, torch.Tensor]:
    """Motions with noise in their padding, and lengths, some no multiple of the stride."""
    motion = torch.randn(5, frames, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return motion, torch.tensor([frames, 17, 22, 8, 4])


@pytest.mark.parametrize(("stride", "dilation", "kernel", "padding"), [(1, 1, 3, 1), (1, 9, 3, 9), (2, 1, 4, 1), (1, 1, 1, 0)])
@pytest.mark.parametrize("frames", [8, 13])
def test_conv_is_torchs_convolution(stride, dilation, kernel, padding, frames):
    conv = Conv(5, 7, kernel, stride=stride, dilation=dilation, padding=padding).double()
    x = torch.randn(2, frames, 5, dtype=torch.float64)
    expected = F.conv1d(x.mT, conv.weight, conv.bias, stride=stride, dilation=dilation, padding=padding).mT
    assert torch.allclose(conv(x), expected, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"vq_norm": "LN", "vq_act": "gelu"}, {"down_t": 1}, {"num_quantizers": 1}, BODY])
def test_clip_in_a_mixed_batch_equals_the_clip_alone(settings):
    model = tokeniser(**settings).double()
    motion, lengths = batch()
    codes = model.encode(motion, lengths)
    latents = model.encode_latent(motion, lengths)
    decoded = model.decode(codes, lengths)
    for clip, length in enumerate(lengths.tolist()):
        tokens = length // model.stride
        alone = model.encode(motion[clip : clip + 1, :length])
        assert torch.equal(alone[0], codes[clip, :tokens])
        assert (codes[clip, tokens:] == -1).all()
        assert torch.allclose(model.encode_latent(motion[clip : clip + 1, :length])[0], latents[clip, :tokens], atol=1e-12)
        assert not latents[clip, tokens:].any()
        assert torch.allclose(model.decode(alone)[0], decoded[clip, : tokens * model.stride], atol=1e-12)
        assert not decoded[clip, tokens * model.stride :].any()


def test_padding_changes_neither_the_loss_nor_any_gradient_nor_the_codebooks():
    motion, lengths = batch()
    mask = torch.arange(motion.shape[1]) < lengths[:, None]
    outcomes = []
    for noise in (0.0, 1e3):
        model = tokeniser().double().train()
        torch.manual_seed(0)
        loss, logs = model.loss({"motion": motion.masked_fill(~mask[..., None], noise), "lengths": lengths})
        loss.backward()
        outcomes.append([loss, *logs.values(), *(p.grad for p in model.parameters()), *model.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*outcomes))


def test_lengths_of_the_whole_batch_change_nothing():
    model, motion = tokeniser(), torch.randn(3, 24, D)
    full = torch.full((3,), 24)
    assert torch.equal(model.encode(motion, full), model.encode(motion))
    codes = model.encode(motion)
    assert torch.equal(model.decode(codes, full), model.decode(codes))


@pytest.mark.parametrize("frames", range(4, 13))
def test_every_length_becomes_its_whole_tokens(frames):
    model = tokeniser()
    codes = model.encode(torch.randn(1, frames, D))
    assert codes.shape == (1, frames // 4, 3)
    assert model.decode(codes).shape == (1, frames // 4 * 4, D)
    loss, _ = model.train().loss({"motion": torch.randn(2, frames, D), "lengths": torch.tensor([frames, 4])})
    assert torch.isfinite(loss)


def test_loss_is_the_papers():
    model, motion = tokeniser(), torch.randn(2, 32, D)
    loss, logs = model.loss({"motion": motion})
    decoded, quantised = model(motion)
    joints = slice(4, 4 + 21 * 3)
    expected = (
        F.smooth_l1_loss(decoded, motion)
        + 0.5 * F.smooth_l1_loss(decoded[..., joints], motion[..., joints])
        + 0.02 * quantised.commitment
    )
    assert torch.allclose(loss, expected)
    assert set(logs) == {"reconstruction", "joints", "commitment", "perplexity"}
    assert not any(value.requires_grad for value in logs.values())


def test_body_terms_join_the_loss_by_their_weights():
    weights = {f"loss_{name}": 0.1 * (n + 1) for n, name in enumerate(BodyLoss.TERMS)}
    plain, full = tokeniser(), tokeniser(**weights)
    full.body = BodyLoss(np.zeros(D), np.ones(D), get_spec("synthetic"))
    motion = {"motion": 0.04 * torch.randn(2, 32, D)}  # a heap on the floor that hardly moves, so that its feet stand
    (base, _), (loss, logs) = plain.loss(motion), full.loss(motion)
    assert torch.allclose(loss, base + sum(weights[f"loss_{name}"] * logs[name] for name in BodyLoss.TERMS))
    assert all(logs[name] > 0 for name in BodyLoss.TERMS)


def test_a_wider_decoder_takes_over_a_narrower_one():
    start, motion = tokeniser(vq_act="gelu"), torch.randn(2, 24, D)
    wide = MotionTokeniser(VQConfig(**TINY, vq_act="gelu", decoder_width=24)).eval()
    widen_from_(wide, start)
    assert torch.equal(wide.encode(motion), start.encode(motion))
    assert torch.allclose(wide.decode(wide.encode(motion)), start.decode(start.encode(motion)), atol=1e-5)
    wide.train().loss({"motion": motion})[0].backward()
    assert wide.decoder.last.weight.grad[:, 16:].abs().max() > 0  # the new channels learn
    for settings in ({"width": 24}, {"nb_code": 64}, {"decoder_width": 8}, {"depth": 1}, {"num_quantizers": 4}):
        with pytest.raises(UserError, match="--init"):
            widen_from_(MotionTokeniser(VQConfig(**{**TINY, **settings})), start)


def test_weights_of_constrained_tokenisers_are_taken_over_whole():
    settings = {**TINY, "rigid_bones": True, "planted_feet": True}
    start, new = (MotionTokeniser(VQConfig(**settings)) for _ in range(2))
    widen_from_(new, start)
    assert all(torch.equal(value, start.state_dict()[name]) for name, value in new.state_dict().items())
    with pytest.raises(UserError, match="use the flags of the --init run"):
        widen_from_(MotionTokeniser(VQConfig(**TINY)), start)


@pytest.mark.parametrize("settings", [{}, {"num_quantizers": 1}, {"shared_codebook": True}])
def test_learns_a_batch(settings):
    torch.manual_seed(0)
    model = MotionTokeniser(VQConfig(**{**TINY, "width": 32, **settings}))
    time = torch.arange(32)[:, None] / 32
    phase, speed = torch.rand(2, 8, 1, D)
    sample = {"motion": torch.sin(6 * speed * time + 6 * phase), "lengths": torch.tensor([32, 32, 32, 32, 20, 20, 13, 8])}
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        loss, _ = model.loss(sample)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


def test_half_precision_training_quantises_in_single():
    model = tokeniser().train()
    sample = {"motion": torch.randn(2, 32, D), "lengths": torch.tensor([32, 15])}
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = model.loss(sample)
        vectors = model.quantise(**sample).vectors
    loss.backward()
    assert loss.dtype == vectors.dtype == torch.float32
    assert {buffer.dtype for buffer in model.buffers()} == {torch.float32}
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_all_parameters_get_a_finite_gradient():
    model = tokeniser().train()
    model.loss({"motion": torch.randn(2, 32, D), "lengths": torch.tensor([32, 15])})[0].backward()
    assert all(torch.isfinite(parameter.grad).all() and parameter.grad.any() for parameter in model.parameters())


def test_saved_and_loaded_it_is_the_same(tmp_path):
    model, motion = tokeniser(shared_codebook=True), torch.randn(2, 20, D)
    folder = CheckpointFolder(tmp_path, "open", "vq")
    save_weights(folder.weights("latest"), model.state_dict(), {"kind": "tokeniser", "config": asdict(model.config), "step": 3})
    loaded, metadata = load_model(folder.root)
    assert not loaded.training
    assert loaded.config == model.config
    assert metadata["step"] == 3
    assert torch.equal(loaded.decode(loaded.encode(motion)), model.decode(model.encode(motion)))


def test_folder_gives_its_best_weights_first(tmp_path):
    state = {"kind": "tokeniser", "config": asdict(tokeniser().config)}
    folder = CheckpointFolder(tmp_path, "open", "vq")
    save_weights(folder.weights("latest"), tokeniser().state_dict(), state)
    assert find_weights(folder.root).stem == "latest"
    save_weights(folder.weights("net_best_mpjpe"), tokeniser().state_dict(), state)
    assert find_weights(folder.root).stem == "net_best_mpjpe"
    assert find_weights(folder.root, "latest").stem == "latest"
    with pytest.raises(UserError, match=r"net_best_fid.*available: latest, net_best_mpjpe"):
        find_weights(folder.root, "net_best_fid")


def test_half_precision_weights_load_as_single(tmp_path):
    model = tokeniser()
    state = {name: value.half() for name, value in model.state_dict().items()}
    save_weights(tmp_path / "small.safetensors", state, {"kind": "tokeniser", "config": asdict(model.config)})
    loaded, _ = load_model(tmp_path / "small.safetensors")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert torch.allclose(loaded.encoder.first.weight, model.encoder.first.weight, atol=1e-3)


def test_bad_checkpoints_are_named(tmp_path):
    model = tokeniser()
    config = asdict(model.config)
    good, path = model.state_dict(), tmp_path / "x.safetensors"
    for state, metadata, words in (
        (good, {"kind": "pizza", "config": config}, "pizza"),
        (good, {"kind": "tokeniser", "config": {**config, "pizza": 1}}, "pizza"),
        (good, {"kind": "tokeniser", "config": {**config, "width": 24}}, "do not fit"),
        ({**good, "pizza": torch.zeros(1)}, {"kind": "tokeniser", "config": config}, "pizza"),
    ):
        save_weights(path, state, metadata)
        with pytest.raises(UserError, match=words) as error:
            load_model(path)
        assert str(path) in str(error.value)
    with pytest.raises(UserError, match="no such checkpoint"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda model: model.encode(torch.zeros(1, 20, 251)), "width 251.*263"),
        (lambda model: model.encode(torch.zeros(1, 3, D)), "3 frames"),
        (lambda model: model.decode(torch.zeros(1, 5, 4, dtype=torch.long)), "shape"),
        (lambda model: model.decode(torch.full((1, 5, 3), 32)), "32 is not below 32"),
        (lambda model: VQConfig(vq_act="pizza"), "pizza.*relu"),
        (lambda model: VQConfig(num_quantizers=0), "num_quantizers"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(UserError, match=words):
        call(tokeniser())


def test_joints_of_the_loss_are_the_specs():
    for name in ("t2m", "kit"):
        spec = get_spec(name)
        assert (spec.dim + 1) // 12 == spec.num_joints
