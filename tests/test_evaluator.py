"""The matching evaluator: padding, order and unseen dimensions have no effect; its loss; released files; judges."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluation.judges import BATCH, GuoJudge, LampJudge
from models.evaluator import Evaluator, EvaluatorConfig, fused
from models.loading import load_model
from models.words import FILE, Words
from tests.small_lamp import write_lamp
from utils.checkpoint import CheckpointFolder, own_state, save_weights
from utils.errors import UserError

CONFIG = EvaluatorConfig(
    dim=20, movement_hidden=12, movement_dim=10, motion_hidden=14, text_hidden=8, embed_dim=6, word_dim=5, max_frames=40
)
VOCABULARY = ["unk", "sos", "eos", "walk", "left"]
LAYOUTS = Path(__file__).resolve().parents[2] / "shared" / "reference" / "checkpoint_layouts"


def evaluator(config: EvaluatorConfig = CONFIG) -> Evaluator:
    torch.manual_seed(0)
    return Evaluator(config).double().eval()


def clips(lengths: list[int], width: int = 40) -> tuple[Tensor, Tensor]:
    """Motions of noise, zero beyond their ends."""
    motion = torch.randn(len(lengths), width, CONFIG.dim, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor(lengths)
    return motion * (torch.arange(width) < lengths[:, None])[..., None], lengths


def texts(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    words = torch.randn(len(lengths), 22, CONFIG.word_dim, dtype=torch.double, generator=generator)
    pos = torch.eye(15, dtype=torch.double)[torch.randint(15, (len(lengths), 22), generator=generator)]
    return words, pos, torch.tensor(lengths)


def batch(size: int = 6) -> dict[str, Tensor]:
    motion, lengths = clips([40, 12, 28, 33, 8, 20][:size])
    words, pos, text_lengths = texts([5, 22, 9, 3, 14, 7][:size])
    named = {"motion": motion, "lengths": lengths, "words": words, "pos": pos, "text_lengths": text_lengths}
    return {**named, "caption": torch.arange(size)}


# -------------------------------------------------------------------------------------------------------------- encoders
def test_rows_come_in_the_order_of_the_input():
    model, (motion, lengths), order = evaluator(), clips([12, 40, 4, 29, 29, 16]), torch.tensor([3, 5, 0, 2, 1, 4])
    torch.testing.assert_close(model.embed_motion(motion[order], lengths[order]), model.embed_motion(motion, lengths)[order])
    words, pos, lengths = texts([3, 22, 9, 9, 14, 4])
    embedded = model.embed_text(words, pos, lengths)
    torch.testing.assert_close(model.embed_text(words[order], pos[order], lengths[order]), embedded[order])


@pytest.mark.parametrize("length", [4, 11, 16, 36, 37, 39, 40])
def test_a_clip_alone_equals_itself_in_any_batch(length):
    """The clip is cut to its length, padded, batched with longer and shorter clips, or followed by noise."""
    model, (motion, lengths) = evaluator(), clips([length, 40, 4])
    alone = model.embed_motion(motion[:1, :length], lengths[:1])
    torch.testing.assert_close(model.embed_motion(motion[:1], lengths[:1]), alone)
    torch.testing.assert_close(model.embed_motion(motion, lengths)[:1], alone)
    motion[0, length:] = torch.nan
    torch.testing.assert_close(model.embed_motion(motion, lengths)[:1], alone)


def test_words_after_a_captions_end_have_no_effect():
    model, (words, pos, lengths) = evaluator(), texts([4, 22])
    before = model.embed_text(words, pos, lengths)
    words[0, 4:], pos[0, 4:] = torch.nan, 0
    torch.testing.assert_close(model.embed_text(words, pos, lengths), before)
    torch.testing.assert_close(model.embed_text(words[:1, :4], pos[:1, :4], lengths[:1]), before[:1])


def test_foot_contacts_are_not_seen_and_everything_else_is():
    model, (motion, lengths) = evaluator(), clips([28])
    motion.requires_grad_()
    model.embed_motion(motion, lengths).sum().backward()
    seen = motion.grad[0] != 0  # (T, D)
    assert seen[:28, :-4].all()
    assert not seen[:, -4:].any()
    assert not seen[28:].any()


def test_dropout_and_gradients_reach_every_weight():
    model = evaluator().train()
    loss, _ = model.loss(batch())
    loss.backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert not torch.equal(model.loss(batch())[0], loss)


def test_the_fused_evaluator_is_the_same_function():
    model, (motion, lengths) = evaluator(), clips([12, 40, 4, 29])
    state = {name: value.clone() for name, value in model.state_dict().items()}
    quick = fused(model)
    torch.testing.assert_close(quick.embed_motion(motion, lengths), model.embed_motion(motion, lengths))
    torch.testing.assert_close(quick.embed_text(*texts([5, 9])), model.embed_text(*texts([5, 9])))
    assert not quick.embed_motion(motion, lengths).requires_grad
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("lengths", "width", "dim", "message"),
    [([3, 20], 40, 20, "3 to 20 frames"), ([20, 41], 48, 20, "41 frames"), ([30], 24, 20, "30 frames"), ([20], 24, 19, "width 19")],
)
def test_motions_that_it_cannot_see_are_refused(lengths, width, dim, message):
    with pytest.raises(UserError, match=message):
        evaluator().embed_motion(torch.zeros(len(lengths), width, dim, dtype=torch.double), torch.tensor(lengths))


# ------------------------------------------------------------------------------------------------------------------ loss
def test_loss_equals_the_sum_over_pairs():
    model, pairs = evaluator(replace(CONFIG, margin=3.0)), batch()
    pairs["caption"] = torch.tensor([0, 1, 2, 0, 3, 4])
    text = model.embed_text(pairs["words"], pairs["pos"], pairs["text_lengths"])
    motion = model.embed_motion(pairs["motion"], pairs["lengths"])
    distance = [[torch.dist(one, other).item() for other in motion] for one in text]
    match = np.mean([distance[i][i] ** 2 for i in range(6)])
    negatives = [(i, j) for i in range(6) for j in range(6) if pairs["caption"][i] != pairs["caption"][j]]
    assert len(negatives) == 28
    mismatch = np.mean([max(3 - distance[i][j], 0) ** 2 for i, j in negatives])
    loss, logs = model.loss(pairs)
    assert mismatch > 0
    np.testing.assert_allclose([loss.item(), logs["match"], logs["mismatch"]], [match + mismatch, match, mismatch])


def test_info_nce_is_the_cross_entropy_of_the_own_motion_and_text():
    pairs = batch()
    pairs["caption"] = torch.tensor([0, 1, 2, 0, 3, 4])
    model, plain = (evaluator(replace(CONFIG, info_nce=weight)) for weight in (2.0, 0.0))
    text = model.embed_text(pairs["words"], pairs["pos"], pairs["text_lengths"])
    motion = model.embed_motion(pairs["motion"], pairs["lengths"])
    similar = np.array([[-torch.dist(one, other).item() for other in motion] for one in text])
    similar[0, 3] = similar[3, 0] = -np.inf  # another clip with the same caption
    rows, columns = (np.log(np.exp(similar).sum(axis)) - similar.diagonal() for axis in (1, 0))
    loss, logs = model.loss(pairs)
    np.testing.assert_allclose(logs["info_nce"], (rows.mean() + columns.mean()) / 2)
    np.testing.assert_allclose(loss.item(), plain.loss(pairs)[0].item() + 2 * logs["info_nce"])
    loss.backward()


def test_equal_captions_alone_are_no_mismatch():
    pairs = batch()
    pairs["caption"] = torch.zeros(6, dtype=torch.long)
    assert evaluator().loss(pairs)[1]["mismatch"] == 0


def test_the_evaluator_learns_to_match_texts_and_motions():
    torch.manual_seed(0)
    model, pairs = Evaluator(replace(CONFIG, motion_hidden=32, text_hidden=32, embed_dim=32)), batch()
    pairs = {name: value.float() if value.is_floating_point() else value for name, value in pairs.items()}
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        loss, logs = model.loss(pairs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 10
    assert logs["accuracy"] == 1


# -------------------------------------------------------------------------------------------------------- released files
def released(model: Evaluator) -> dict:
    parts = ("movement_encoder", "text_encoder", "motion_encoder")
    return {**{part: getattr(model, part).float().state_dict() for part in parts}, "epoch": 3}


def test_released_files_load_with_sizes_from_their_tensors(tmp_path):
    model = evaluator()
    torch.save(released(model), tmp_path / "finest.tar")
    again, metadata = load_model(tmp_path / "finest.tar")
    assert metadata["kind"] == "evaluator"
    assert again.config == replace(CONFIG, max_frames=196)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("lost", ["text_encoder", "motion_encoder"])
def test_a_released_file_without_a_part_is_refused(tmp_path, lost):
    checkpoint = released(evaluator())
    del checkpoint[lost]
    torch.save(checkpoint, tmp_path / "finest.tar")
    with pytest.raises(UserError, match=r"finest\.tar"):
        load_model(tmp_path / "finest.tar")


@pytest.mark.skipif(not LAYOUTS.exists(), reason="the released files' layouts are not here")
@pytest.mark.parametrize(("dataset", "dim"), [("t2m", 263), ("kit", 251)])
def test_tensors_are_named_and_shaped_as_released(dataset, dim):
    shapes = {name: str(tuple(value.shape)) for name, value in Evaluator(EvaluatorConfig(dim=dim)).state_dict().items()}
    released_shapes = {}
    for part in ("movement_encoder", "text_encoder", "motion_encoder"):
        for line in (LAYOUTS / f"eval_{dataset}_{part}.txt").read_text().splitlines():
            name, shape, _ = line.split("\t")
            released_shapes[f"{part}.{name}"] = shape
    assert shapes == released_shapes


# ---------------------------------------------------------------------------------------------------------------- judges
def words() -> Words:
    return Words(VOCABULARY, torch.randn(len(VOCABULARY), CONFIG.word_dim, generator=torch.Generator().manual_seed(3)))


def guo() -> GuoJudge:
    return GuoJudge(evaluator().float(), torch.full((20,), 2.0), torch.full((20,), 3.0), words())


def save_run(root: Path, name: str = "evaluator") -> None:
    folder = CheckpointFolder(root, "t2m", name)
    model = evaluator().float()
    save_weights(folder.weights("latest"), own_state(model), {"kind": "evaluator", "config": asdict(model.config)})
    save_statistics(folder.meta)
    words().save(folder.root / FILE)


def save_statistics(meta: Path) -> None:
    meta.mkdir(parents=True)
    np.save(meta / "mean.npy", np.full(20, 2.0))
    np.save(meta / "std.npy", np.full(20, 3.0))


def test_guos_judge_normalises_and_embeds_many_clips_in_order():
    generator = torch.Generator().manual_seed(4)
    lengths = torch.randint(4, 41, (BATCH + 30,), generator=generator)
    features = torch.randn(len(lengths), 40, 20, generator=generator)
    embeddings = guo().motion(features, lengths)
    with torch.no_grad():
        truth = torch.cat([
            evaluator().float().embed_motion((features[i : i + 1] - 2) / 3, lengths[i : i + 1]) for i in range(0, len(lengths), 19)
        ])
    torch.testing.assert_close(embeddings[::19], truth)


def test_guos_judge_reads_tokens():
    judge = guo()
    embeddings = judge.text(["walks left", "walks"], [["walk/VERB", "left/ADV"], ["walk/VERB"]])
    assert embeddings.shape == (2, 6)
    torch.testing.assert_close(judge.text(["other letters"], [["walk/VERB"]]), embeddings[1:])


def test_guos_judge_refuses_statistics_or_words_of_other_widths():
    with pytest.raises(UserError, match="statistics of width 20"):
        GuoJudge(evaluator(), torch.zeros(19), torch.ones(19), words())
    with pytest.raises(UserError, match="words of width 5"):
        GuoJudge(evaluator(), torch.zeros(20), torch.ones(20), Words(VOCABULARY, torch.zeros(5, 7)))


def test_guos_judge_comes_from_a_run(tmp_path):
    save_run(tmp_path)
    features, lengths = torch.randn(2, 40, 20), torch.tensor([40, 9])
    for name in ("", "evaluator"):
        judge = GuoJudge.load(tmp_path, "t2m", name)
        torch.testing.assert_close(judge.motion(features, lengths), guo().motion(features, lengths))
        torch.testing.assert_close(judge.text([""], [["left/ADV"]]), guo().text([""], [["left/ADV"]]))


def test_released_files_come_first(tmp_path, monkeypatch):
    save_run(tmp_path)
    (tmp_path / "t2m" / "text_mot_match" / "model").mkdir(parents=True)
    torch.save(released(evaluator()), tmp_path / "t2m" / "text_mot_match" / "model" / "finest.tar")
    with pytest.raises(UserError, match="glove"):
        GuoJudge.load(tmp_path, "t2m")
    monkeypatch.setattr(Words, "from_glove", lambda folder: words())
    with pytest.raises(UserError, match="mean"):
        GuoJudge.load(tmp_path, "t2m")
    save_statistics(tmp_path / "t2m" / "Comp_v6_KLD01" / "meta")
    judge = GuoJudge.load(tmp_path, "t2m")
    assert judge.evaluator.config.max_frames == 196
    assert judge.mean.tolist() == [2.0] * 20
    assert GuoJudge.load(tmp_path, "t2m", "evaluator").evaluator.config.max_frames == 40


def test_without_an_evaluator_the_way_to_one_is_told(tmp_path):
    with pytest.raises(UserError, match=r"train_evaluator\.py"):
        GuoJudge.load(tmp_path, "t2m")
    save_run(tmp_path, "one")
    save_run(tmp_path, "two")
    with pytest.raises(UserError, match="one, two"):
        GuoJudge.load(tmp_path, "t2m")
    write_lamp(tmp_path, "t2m", name="lamp")
    with pytest.raises(UserError, match="a lamp model"):
        GuoJudge.load(tmp_path, "t2m", "lamp")


def test_lamp_judges_by_projections_that_are_no_unit_vectors(tmp_path):
    model = write_lamp(tmp_path, "t2m")
    judge = LampJudge.load(tmp_path, "t2m")
    features, lengths = torch.randn(3, 40, 263), torch.tensor([12, 40, 28])
    motion = judge.motion(features, lengths)
    captions = ["a person walks", "a person bows"]
    text = judge.text(captions, [[], []])
    assert motion.shape == (3, model.config.embed_dim)
    assert (motion.norm(dim=1) - 1).abs().min() > 1e-3
    torch.testing.assert_close(judge.motion(features[1:2], lengths[1:2]), motion[1:2])  # order, and nothing of its neighbours
    torch.testing.assert_close(torch.nn.functional.normalize(text, dim=1), judge.lamp.embed_texts(captions))
    latents = judge.lamp.latents((features - 1) / 1, lengths)  # the run's mean and std are ones
    with torch.no_grad():
        torch.testing.assert_close(motion, judge.lamp.lamp.project_motion(*latents).mean(1))
