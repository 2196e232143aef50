"""Training text → tokens: the token store and its batches, and the script on a small dataset, all stages."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import train_t2m_transformer
from data.conditions import Conditions
from data.encoded import CaptionedTokens, cache_path, cached_tokens, tokenise
from data.store import MotionStore, Normaliser
from data.text import CaptionedClips, draw_crops
from evaluation.in_training import Generator, of_generated, validation_pass
from models.loading import load_model
from models.vqvae import MotionTokeniser, VQConfig
from motion.spec import get_spec
from options.train import TrainT2M
from pipelines.sampling import SamplingSettings
from pipelines.text2motion import TextToMotion
from prepare.synthetic import write_synthetic
from tests.numbered import numbered_clips
from tests.small_lamp import WIDTH, write_lamp
from tests.tiny import Sums, pictures_of
from utils.checkpoint import KEPT, CheckpointFolder, find_weights, load_weights, own_state, save_weights

STEPS = 8


class FirstFrames:
    """A text encoder that needs no weights, and a tokeniser whose tokens say which frame they begin at."""

    dim, word_dim, fingerprint = 16, 0, "test"

    def __init__(self, *_):
        pass

    def __call__(self, captions):
        return torch.stack([torch.randn(16, generator=torch.Generator().manual_seed(sum(map(ord, c)))) for c in captions])

    @staticmethod
    def encode(motion, lengths):
        tokens = motion[:, : motion.shape[1] // 4 * 4 : 4, :2].round().long()  # (B, L, 2)
        return tokens.masked_fill((torch.arange(tokens.shape[1]) >= lengths[:, None] // 4)[..., None], -1)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A synthetic dataset and the folder of a small random tokeniser, `vq`."""
    root = tmp_path_factory.mktemp("t2m")
    write_synthetic(root / "data", clips=16)
    torch.manual_seed(0)
    tokeniser = MotionTokeniser(VQConfig(num_quantizers=3, nb_code=16, code_dim=8, width=8, depth=1))
    for book in tokeniser.quantizer.layers:
        book.codebook.normal_()
    save_tokeniser(root, "vq", tokeniser)
    return root


def save_tokeniser(root: Path, name: str, tokeniser: MotionTokeniser) -> None:
    folder = CheckpointFolder(root / "checkpoints", "synthetic", name)
    Normaliser.from_dataset(get_spec("synthetic", root / "data")).save(folder.meta)
    save_weights(folder.weights("latest"), own_state(tokeniser), {"kind": "tokeniser", "config": asdict(tokeniser.config)})


def run(root: Path, stage: str, *flags: str, name: str = "", vq: str = "vq", bare: bool = False) -> CheckpointFolder:
    """Train, without other flags with `FirstFrames` as text encoder; `bare`: sizes and text encoder are left to the script."""
    name = name or stage
    if "--text_encoder" not in flags and not bare:
        flags = (*flags, "--text_encoder", "sentence")
    sizes = "--latent_dim 16 --ff_size 32 --n_layers 1 --n_heads 2" if stage != "length" and not bare else ""
    command = f"--stage {stage} --name {name} --vq_name {vq} --dataset_name synthetic --data_root {root / 'data'} {sizes} "
    command += f"--checkpoints_dir {root / 'checkpoints'} --gpu_id -1 --batch_size 4 --warm_up_iter 2 --lr 0.01 --max_iters {STEPS}"
    train_t2m_transformer.main([*command.split(), *flags])
    return CheckpointFolder(root / "checkpoints", "synthetic", name)


@pytest.fixture(autouse=True)
def light_text_encoder(monkeypatch):
    monkeypatch.setattr("pipelines.conditioner.SentenceEncoder", FirstFrames)


@pytest.fixture
def tokens(tmp_path) -> CaptionedTokens:
    clips, normaliser = numbered_clips(tmp_path)
    store = tokenise(clips.clips, FirstFrames.encode, normaliser, 4)
    number = torch.tensor([[float(caption.text.split()[1])] for caption in clips.captions])
    return CaptionedTokens(clips, store, Conditions(number), batch_size=5, seed=1)


def test_batches_hold_crops_of_a_clip_with_its_own_caption(tokens):
    starts = set()
    for index in range(80):
        batch = tokens.batch(index)
        codes, lengths = batch["codes"], batch["lengths"]
        valid = torch.arange(codes.shape[1]) < lengths[:, None]
        assert codes.shape == (5, int(lengths.max()), 2)
        assert (codes[~valid] == -1).all()
        clip = codes[:, 0, 1]
        assert torch.equal(clip.float(), batch["condition"][:, 0])
        assert torch.equal(codes[..., 1][valid], clip[:, None].expand(-1, codes.shape[1])[valid])
        assert (codes[:, 1:, 0] - codes[:, :-1, 0] == 4)[valid[:, 1:]].all()  # tokens follow each other
        assert (codes[:, 0, 0] + 4 * lengths <= torch.from_numpy(tokens.lengths)[clip]).all()
        starts |= set(codes[:, 0, 0].tolist())
    assert starts == set(range(8))  # single leaves up to 3 frames, double up to 7


def test_crops_are_the_protocols(tokens):
    lengths = torch.cat([tokens.batch(index)["lengths"] for index in range(60)])
    clips = torch.cat([tokens.batch(index)["codes"][:, 0, 1] for index in range(60)])
    missing = torch.from_numpy(tokens.lengths)[clips] // 4 - lengths
    assert set(missing.tolist()) == {0, 1}
    assert abs(missing.float().mean() - 1 / 3) < 0.1
    assert draw_crops(np.array([45]), np.random.default_rng(0))[1][0] in (40, 44)


def test_an_epoch_shows_every_clip_and_depends_on_its_number_alone(tokens):
    def epoch(number):
        steps = range(number * tokens.steps_per_epoch, (number + 1) * tokens.steps_per_epoch)
        return torch.cat([tokens.batch(step)["codes"][:, 0, 1] for step in steps])

    assert tokens.steps_per_epoch == 5
    assert set(epoch(0).tolist()) == set(range(24))
    assert not torch.equal(epoch(0), epoch(1))
    assert torch.equal(epoch(0), epoch(0))


def test_clips_of_like_length_share_a_batch(tokens):
    spread = [np.ptp(tokens.batch(step)["lengths"].numpy()) for step in range(5)]
    assert np.mean(spread) < 0.5 * np.ptp(tokens.lengths) / 4


def test_processes_share_an_epoch(tmp_path):
    clips, normaliser = numbered_clips(tmp_path)
    store, features = tokenise(clips.clips, FirstFrames.encode, normaliser, 4), torch.zeros(len(clips.captions), 1)
    ranks = [CaptionedTokens(clips, store, Conditions(features), batch_size=3, rank=rank, world=2) for rank in range(2)]
    assert ranks[0].steps_per_epoch == 4
    seen = [torch.cat([tokens.batch(step)["codes"][:, 0, 1] for step in range(4)]).tolist() for tokens in ranks]
    assert sorted(seen[0] + seen[1]) == list(range(24))


def test_tokens_are_cached_until_the_tokeniser_changes(tmp_path):
    clips, normaliser = numbered_clips(tmp_path)
    calls = []

    def encode(motion, lengths):
        calls.append(len(motion))
        return FirstFrames.encode(motion, lengths)

    first = cached_tokens(clips.clips, encode, normaliser, 4, "weights")
    assert sum(calls) == 4 * 24
    again = cached_tokens(clips.clips, encode, normaliser, 4, "weights")
    assert sum(calls) == 4 * 24
    assert (first.codes == again.codes).all()
    assert (first.starts == again.starts).all()
    cached_tokens(clips.clips, encode, normaliser, 4, "other weights")
    assert sum(calls) == 2 * 4 * 24


def test_caches_of_old_tokenisers_are_deleted_but_not_those_in_use(tmp_path):
    clips, normaliser = numbered_clips(tmp_path)
    folder = Path(clips.clips.rows.filename).parent
    for number in range(KEPT + 3):
        cached_tokens(clips.clips, FirstFrames.encode, normaliser, 4, "used every time")
        cached_tokens(clips.clips, FirstFrames.encode, normaliser, 4, f"weights {number}")
    kept = {cache_path(clips.clips, 4, name, "tokens", ".safetensors") for name in ("used every time", f"weights {number}")}
    assert kept < set(folder.glob("tokens_*")) and len(list(folder.glob("tokens_*"))) == KEPT


def test_all_stages_train_and_generate_together(root, capsys):
    for stage in ("masked", "residual", "length"):
        folder = run(root, stage)
        _, metadata = load_weights(folder.weights("latest"))
        assert metadata["kind"] == stage
        assert metadata["vq_name"] == "vq"
        assert metadata["step"] == STEPS
        assert "vq_name: vq" in folder.opt.read_text()
        assert (folder.meta / "std.npy").is_file()
        assert list(folder.model.glob("net_best_*.safetensors"))
    assert "validation at step" in capsys.readouterr().out
    model = TextToMotion.load(root / "checkpoints", "synthetic", "masked", "residual", "length")
    features, lengths = model.generate(["a person walks", "a person bows"], time_steps=4)
    assert features.shape == (2, int(lengths.max()), 263)
    assert features.isfinite().all()


def test_a_resumed_run_equals_an_uninterrupted_one(root):
    whole = run(root, "masked", name="whole")
    run(root, "masked", "--save_latest", "4", "--max_iters", "4", name="parts")
    parts = run(root, "masked", "--is_continue", name="parts")
    first, second = (load_weights(folder.weights("latest"))[0] for folder in (whole, parts))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("stage", ["masked", "residual"])
def test_fid_of_generated_motion_picks_weights_during_training(root, monkeypatch, capsys, stage):
    monkeypatch.setattr("evaluation.judges.GuoJudge.load", lambda *_, **__: Sums())
    flags = ("--eval_fid", "2", "--eval_batches", "1", "--time_steps", "2", "--pictures", "2")
    folder = run(root, stage, *flags, name=f"{stage}_judged")
    printed = capsys.readouterr().out
    lines = re.findall(r"^evaluation at step (\d+)  fid (\S+)  r1", printed, re.M)
    assert [step for step, _ in lines] == ["6", "8"]  # three steps an epoch; the last
    assert load_weights(folder.weights("net_best_fid"))[1]["metric"]["name"] == "fid"
    assert find_weights(folder.root) == folder.weights("net_best_fid")
    sizes = pictures_of(folder.root)
    assert list(sizes) == [3, 6, 8] and all(width == 1200 and height > 2 * 250 for width, height in sizes.values())
    assert "pictures" not in printed


def test_scores_in_training_are_those_of_the_weights_alone(root):
    """The scores are equal for equal weights, even if random numbers were drawn in between, and differ for other weights."""
    spec = get_spec("synthetic", root / "data")
    tokeniser, normaliser = load_model(root / "checkpoints/synthetic/vq")[0], Normaliser.from_dataset(spec)
    generator = Generator(tokeniser, normaliser, FirstFrames(), SamplingSettings(time_steps=2))
    protocol = validation_pass(TrainT2M(eval_fid=1), CaptionedClips(spec, "val", MotionStore(spec)), Sums())
    config = SimpleNamespace(stage="", share_weight=False, **dict.fromkeys(train_t2m_transformer.SIZES))
    config.latent_dim, config.n_layers, config.n_heads, config.ff_size = 16, 1, 2, 32
    for config.stage in ("masked", "residual"):
        model = train_t2m_transformer.build_model(config, tokeniser, Conditions(torch.randn(50, 16)), 196).eval()
        score = of_generated(protocol, generator, config.stage)
        first = score(model)
        torch.rand(5)
        assert score(model) == first and set(first) == {"fid", "r1", "r2", "r3", "mm_dist", "diversity"}
        for weight in model.parameters():
            weight.data.add_(torch.randn_like(weight))
        assert score(model) != first


def test_a_length_predictor_has_no_fid(root, capsys):
    assert "--eval_fid 2: the length stage generates no motion" in refusal(capsys, root, "length", "--eval_fid", "2", name="new")
    assert "--pictures 2: the length stage generates no motion" in refusal(capsys, root, "length", "--pictures", "2", name="new")
    assert "--eval_fid 2: no evaluator in" in refusal(capsys, root, "masked", "--eval_fid", "2", name="new")
    assert not (root / "checkpoints" / "synthetic" / "new").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"stage": "residual", "vq": "single"}, "one codebook"),
        ({"stage": "masked", "vq": "coarse"}, "8 frames, not 4"),
        ({"stage": "masked", "vq": "nothing"}, "nothing"),
    ],
)
def test_unfit_tokenisers_are_refused(root, capsys, flags, message):
    sizes = {"nb_code": 16, "code_dim": 8, "width": 8, "depth": 1}
    save_tokeniser(root, "single", MotionTokeniser(VQConfig(num_quantizers=1, **sizes)))
    save_tokeniser(root, "coarse", MotionTokeniser(VQConfig(num_quantizers=2, down_t=3, **sizes)))
    with pytest.raises(SystemExit) as end:
        run(root, name="refused", **flags)
    assert end.value.code == 2
    assert message in capsys.readouterr().err
    assert not (root / "checkpoints" / "synthetic" / "refused").exists()


@pytest.mark.parametrize("arguments", [[], ["--name", "x"], ["--name", "x", "--vq_name", "y", "--text_encoder", "word2vec"]])
def test_missing_or_unknown_flags_end_with_code_2(arguments):
    with pytest.raises(SystemExit) as end:
        train_t2m_transformer.main(arguments)
    assert end.value.code == 2


@pytest.fixture
def fresh(root, tmp_path) -> Path:
    """Like `root`, but the tokeniser is the only run."""
    (tmp_path / "data").symlink_to(root / "data")
    shutil.copytree(root / "checkpoints" / "synthetic" / "vq", tmp_path / "checkpoints" / "synthetic" / "vq")
    return tmp_path


def refusal(capsys, *arguments, **settings) -> str:
    """The error message of `run`, which must exit with code 2."""
    with pytest.raises(SystemExit) as end:
        run(*arguments, **settings)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_lamp_is_the_usual_condition_and_is_on_record(fresh, capsys):
    checkpoints = fresh / "checkpoints"
    assert "no LaMP run in" in refusal(capsys, fresh, "masked", "--text_encoder", "lamp", name="with_lamp")
    write_lamp(checkpoints, "synthetic", "first")
    for stage in ("masked", "length"):
        folder = run(fresh, stage, "--text_encoder", "lamp", name=f"{stage}_lamp")
        metadata = load_weights(folder.weights("latest"))[1]
        recorded = {name: metadata[name] for name in ("text_encoder", "lamp_name", "no_query", "vq_name")}
        assert recorded == {"text_encoder": "lamp", "lamp_name": "first", "no_query": False, "vq_name": "vq"}
        assert metadata["config"]["cond_dim"] == WIDTH
        assert "lamp_name: first" in folder.opt.read_text()
    model = TextToMotion.load(checkpoints, "synthetic", "masked_lamp", length_name="length_lamp")
    assert model.generate(["a person walks"], time_steps=2)[0].isfinite().all()

    write_lamp(checkpoints, "synthetic", "second", seed=1)
    assert "(first, second)" in refusal(capsys, fresh, "masked", "--text_encoder", "lamp", name="unclear")
    assert "nobody" in refusal(capsys, fresh, "masked", "--text_encoder", "lamp", "--lamp_name", "nobody", name="unclear")
    assert not (checkpoints / "synthetic" / "unclear").exists()
    folder = run(fresh, "masked", "--text_encoder", "lamp", "--lamp_name", "second", "--no_query", name="ablation")
    assert load_weights(folder.weights("latest"))[1]["no_query"] is True


def test_lamp_flags_need_lamp_and_clip_needs_its_weights(fresh, capsys, monkeypatch):
    assert "--lamp_name and --no_query are only for LaMP" in refusal(capsys, fresh, "masked", "--no_query", name="refused")
    monkeypatch.setattr("pathlib.Path.home", lambda: fresh)
    assert "clip/ViT-B-32.pt" in refusal(capsys, fresh, "masked", "--text_encoder", "clip", name="refused")
    assert not (fresh / "checkpoints" / "synthetic" / "refused").exists()


@pytest.mark.parametrize(("stage", "reads"), [("residual", "cond_emb."), ("length", "linears.0.")])
def test_init_starts_from_the_weights_of_another_run(fresh, stage, reads):
    def weights(*flags: str, name: str) -> dict[str, torch.Tensor]:
        return load_weights(find_weights(run(fresh, stage, *flags, name=name).root))[0]

    without_training = ("--max_iters", "1", "--lr", "1e-9")  # what such a run ends with is what it began with
    first = weights(name="first")
    for name, value in weights("--init", "first", *without_training, name="same").items():
        torch.testing.assert_close(value, first[name], rtol=0, atol=1e-6)

    write_lamp(fresh / "checkpoints", "synthetic")
    new = weights(*without_training, "--text_encoder", "lamp", name="new")
    for name, value in weights("--init", "first", *without_training, "--text_encoder", "lamp", name="other_condition").items():
        torch.testing.assert_close(value, (new if name.startswith(reads) else first)[name], rtol=0, atol=1e-6)


def test_init_from_a_run_of_other_sizes_is_refused(root, capsys):
    run(root, "masked", name="small")
    flags = ("--init", "small")
    message = "--init small: latent_dim is 16 in the earlier run and 32 in the new run"
    assert message in refusal(capsys, root, "masked", *flags, "--latent_dim", "32", name="larger")
    assert "stage is masked in the earlier run and residual" in refusal(capsys, root, "residual", *flags, name="larger")
    taken = load_weights(find_weights(run(root, "masked", *flags, "--max_iters", "1", name="taken", bare=True).root))[1]
    taken = taken["config"]["latent_dim"], taken["config"]["n_heads"], taken["text_encoder"]
    assert taken == (16, 2, "sentence"), "sizes that are not given are those of --init"
    assert "n_heads is 2 in the earlier run and 4" in refusal(capsys, root, "masked", *flags, "--n_heads", "4", name="larger")
    assert "nobody" in refusal(capsys, root, "masked", "--init", "nobody", name="larger")
    assert not (root / "checkpoints" / "synthetic" / "larger").exists()


def test_codebooks_are_read_layer_by_layer():
    tokeniser = MotionTokeniser(VQConfig(num_quantizers=3, nb_code=16, code_dim=8, width=8, depth=1))
    books = torch.randn(3, 16, 8)
    for layer, book in zip(tokeniser.quantizer.layers, books):
        layer.codebook.copy_(book)
    torch.testing.assert_close(train_t2m_transformer.codebooks(tokeniser), books)


def test_models_start_from_features_and_codebooks():
    tokeniser = MotionTokeniser(VQConfig(num_quantizers=3, nb_code=16, code_dim=8, width=8, depth=1))
    for layer in tokeniser.quantizer.layers:
        layer.codebook.normal_()
    config = SimpleNamespace(stage="masked", share_weight=False, **dict.fromkeys(train_t2m_transformer.SIZES))
    features = torch.randn(50, 12) * torch.logspace(0, -1, 12) + 5
    model = train_t2m_transformer.build_model(config, tokeniser, Conditions(features), 196)
    assert model.config.attention == "causal"
    assert model.config.latent_dim == 512
    assert model.cond_emb(features).mean(0).abs().max() < 1e-3
