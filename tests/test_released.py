"""Unpacked releases: which models belong together, and that the scripts run on them as on our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import gen_t2m
from models.loading import load_model
from models.upstream import released as upstream
from models.upstream.convert import convert
from pipelines import text2motion
from pipelines.language_motion import LanguageMotion
from pipelines.runs import resolve_generator
from pipelines.text2motion import TextToMotion
from tests.released import CLIP_WIDTH, LENGTH, MASKED, RESIDUAL, VQ, save_statistics, write_lamp_t2m, write_momask
from tests.small_lamp import WORDS
from utils.errors import UserError

FIXTURES = Path(__file__).resolve().parents[2] / "shared" / "parity"


class Letters:
    """A text encoder as wide as CLIP's."""

    title = "counted letters"
    dim = CLIP_WIDTH

    def __call__(self, captions):
        counts = torch.tensor([[float(caption.count(chr(97 + letter))) for letter in range(26)] for caption in captions])
        return torch.nn.functional.pad(counts, (0, CLIP_WIDTH - 26))


@pytest.fixture
def clip(monkeypatch):
    """CLIP's weights are not available here; `Letters` replaces them."""
    usual = text2motion.load_conditioner
    monkeypatch.setattr(
        text2motion, "load_conditioner", lambda kind, *args, **more: Letters() if kind == "clip" else usual(kind, *args, **more)
    )


def generate(tmp_path, *flags: str) -> np.ndarray:
    common = ["--checkpoints_dir", str(tmp_path), "--gpu_id", "-1", "--time_steps", "2", "--formats", "npy"]
    gen_t2m.main([*common, "--output_dir", str(tmp_path / "out"), "--ext", "e", "--text_prompt", "a person bows", *flags])
    (path,) = (tmp_path / "out" / "e" / "joints" / "0").glob("*[0-9].npy")
    return np.load(path)


def test_momask_as_unpacked_needs_no_flags(tmp_path, clip, capsys):
    write_momask(tmp_path)
    joints = generate(tmp_path)
    captured = capsys.readouterr()
    assert f"weights: {tmp_path / 't2m' / MASKED}, {RESIDUAL}, {LENGTH} (--name selects others)" in captured.out
    assert captured.err.count("n_heads 3 from opt.txt") == 2
    assert joints.shape[0] % 4 == 0 and joints.shape[1:] == (22, 3) and np.isfinite(joints).all()


def test_named_release_finds_its_companions(tmp_path, clip):
    write_momask(tmp_path)
    runs = resolve_generator(tmp_path, "t2m", MASKED)
    assert (runs.masked.name, runs.res_name, runs.length_name) == (MASKED, RESIDUAL, LENGTH)
    named = generate(tmp_path, "--name", MASKED, "--dataset_name", "t2m", "--which_epoch", "latest.tar")
    assert np.array_equal(named, generate(tmp_path))


def test_lamps_tokeniser_and_masked_transformer_with_their_own_text_condition(tmp_path, clip, capsys):
    write_momask(write_lamp_t2m(tmp_path, WORDS))
    assert resolve_generator(tmp_path, "t2m").masked.name == "lamp_t2m"
    joints = generate(tmp_path)
    assert f"lamp_t2m, {LENGTH} (--name" in capsys.readouterr().out
    assert np.isfinite(joints).all()
    model = TextToMotion.load(tmp_path, "t2m", "lamp_t2m", length_name=LENGTH)
    assert isinstance(model.encoder.parts[1], Letters) and model.residual is None
    alone, beside = (
        model.part("masked", model.encoder(prompts))[-1:] for prompts in (["a person bows"], ["left", "a person bows"])
    )
    torch.testing.assert_close(alone, beside, rtol=1e-4, atol=1e-4)
    ids = torch.zeros(1, 49, dtype=torch.long)
    ids[0, :5] = torch.tensor([WORDS.index(word) for word in ("[CLS]", "a", "person", "bows", "[SEP]")])
    torch.testing.assert_close(alone, model.masked.text(ids, ids > 0), rtol=1e-4, atol=1e-4)


def test_tokeniser_of_another_stride_is_passed_over_and_refused_by_name(tmp_path, clip):
    write_momask(write_lamp_t2m(tmp_path, WORDS, down_t=6))
    assert resolve_generator(tmp_path, "t2m").masked.name == MASKED
    with pytest.raises(UserError, match="tokeniser of stride 4, but this one has 64"):
        TextToMotion.load(tmp_path, "t2m", "lamp_t2m")


def test_missing_files_are_named_with_their_folder(tmp_path, monkeypatch):
    write_momask(write_lamp_t2m(tmp_path, []))
    with pytest.raises(UserError, match=r"ViT-B-32\.pt.* to .*clip"):
        TextToMotion.load(tmp_path, "t2m", MASKED)
    with pytest.raises(UserError, match=r"vocabulary of 0 word pieces.*bert-base-uncased's vocab\.txt"):
        TextToMotion.load(tmp_path, "t2m", "lamp_t2m")
    opt = tmp_path / "t2m" / "lamp_t2m" / "opt.txt"
    opt.write_text("n_heads: 8\n")
    with pytest.raises(UserError, match="vq_name: NAME"):
        TextToMotion.load(tmp_path, "t2m", "lamp_t2m")
    opt.write_text("n_heads: many\n")
    with pytest.raises(UserError, match="n_heads: many"):
        TextToMotion.load(tmp_path, "t2m", "lamp_t2m")
    (tmp_path / "t2m" / VQ / "meta" / "std.npy").unlink()
    with pytest.raises(UserError, match=r"std\.npy"):
        TextToMotion.load(tmp_path, "t2m", MASKED)


def test_inspection_prints_what_is_in_a_file(tmp_path, capsys):
    write_momask(tmp_path)
    upstream.main([str(tmp_path / "t2m" / MASKED / "model" / "latest.tar"), "--n_heads", "2"])
    output = capsys.readouterr().out
    fields = {"kind": "masked", "dataset_name": "t2m", "epoch": 7, "step": 70, "leftovers": "position_enc.pe"}
    assert [name for name, value in fields.items() if f"{name:<14}{value}\n" not in output] == []
    assert "n_heads                 2 given" in output and "latent_dim              12" in output
    with pytest.raises(SystemExit) as end:
        upstream.main([str(tmp_path / "none.tar")])
    assert end.value.code == 2


def test_converted_release_does_the_same_in_our_files(tmp_path, clip):
    write_momask(write_lamp_t2m(tmp_path, WORDS))
    converted_root = tmp_path / "ours"
    for name in (VQ, MASKED, RESIDUAL, LENGTH, "lamp_vq", "lamp_t2m"):
        (weights,) = (tmp_path / "t2m" / name / "model").iterdir()
        upstream.main([str(weights), "--convert", str(converted_root / "t2m" / name)])
    for names in ((MASKED, RESIDUAL, LENGTH), ("lamp_t2m", None, LENGTH)):
        released, converted = (TextToMotion.load(root, "t2m", *names) for root in (tmp_path, converted_root))
        for a, b in zip(released.generate(["a person bows"]), converted.generate(["a person bows"])):
            assert torch.equal(a, b)
    with pytest.raises(UserError, match="already holds weights"):
        convert(*load_model(weights), converted_root / "t2m" / "lamp_t2m")


@pytest.mark.skipif(not FIXTURES.exists(), reason="the released code's numbers are not here")
def test_a_lamp_file_becomes_two_folders(tmp_path):
    model, metadata = load_model(FIXTURES / "lamp_qformer" / "net_best_acc.tar", bert_heads=4)
    assert [path.name for path in convert(model, metadata, tmp_path / "lamp")] == ["lamp", "lamp_vq"]
    lamp, described = load_model(tmp_path / "lamp")
    tokeniser, _ = load_model(tmp_path / described["vq_name"])
    motion, ids = torch.randn(2, 64, 263), torch.tensor([[1, 5, 2]])
    latents = tokeniser.encode_latent(motion)
    assert torch.equal(latents, model.tokeniser.encode_latent(motion))
    tokens = torch.full((2,), latents.shape[1])
    assert torch.equal(lamp.motion_features(latents, tokens), model.motion_features(latents, tokens))
    assert torch.equal(lamp.text_features(ids, torch.tensor([3])), model.text_features(ids, torch.tensor([3])))


@pytest.mark.skipif(not FIXTURES.exists(), reason="the released code's numbers are not here")
def test_released_lamp_reads_motions_with_its_own_tokeniser(tmp_path):
    folder = tmp_path / "t2m" / "lamp"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "net_best.tar").symlink_to(FIXTURES / "lamp_qformer" / "net_best_acc.tar")
    (folder / "opt.txt").write_text("bert_heads: 4\n")
    with pytest.raises(UserError, match=r"mean\.npy"):
        LanguageMotion.load(tmp_path, "t2m")
    save_statistics(folder)
    with pytest.raises(UserError, match=r"vocabulary of 199 word pieces"):
        LanguageMotion.load(tmp_path, "t2m")
    (folder / "vocab.txt").write_text("\n".join([*WORDS, *(f"w{n}" for n in range(199 - len(WORDS)))]))
    lamp = LanguageMotion.load(tmp_path, "t2m")
    features = lamp.motion_features(torch.randn(1, 48, 263), torch.tensor([48]))
    assert features.shape == (1, 12, 20) and lamp.embed_texts(["a person bows"]).shape == (1, 20)
