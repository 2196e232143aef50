"""LaMP: four losses that can each be left out, negatives that are never positives, features that do not depend on padding."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F

from models.lamp import LOSSES, LaMP, LaMPConfig, hard_negatives
from models.loading import load_model
from utils.checkpoint import own_state, save_weights

SIZES = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 16, "num_queries": 6, "cross_width": 24, "latent_dim": 12, "nb_code": 9, "embed_dim": 10,
    "max_text": 12, "dropout": 0.0,
}  # fmt: skip
PAD, CLS, SEP = 0, 1, 2


def make(**changes) -> LaMP:
    torch.manual_seed(0)
    return LaMP(LaMPConfig(**{**SIZES, **changes}))


def batch(size: int = 6) -> dict[str, torch.Tensor]:
    """Clips shorter and longer than the six queries."""
    generator = torch.Generator().manual_seed(4)
    lengths, text_lengths = torch.tensor([3, 9, 6, 1, 8, 5])[:size], torch.tensor([5, 7, 4, 6, 3, 7])[:size]
    codes = torch.randint(9, (size, 9), generator=generator)
    ids = torch.randint(3, 39, (size, 7), generator=generator)
    ids[:, 0] = CLS
    ids[torch.arange(size), text_lengths - 1] = SEP
    ids[torch.arange(7) >= text_lengths[:, None]] = PAD
    codes[torch.arange(9) >= lengths[:, None]] = -1
    return {
        "latents": torch.randn(size, 9, 12, generator=generator), "codes": codes, "lengths": lengths,
        "ids": ids, "text_lengths": text_lengths, "caption": torch.arange(size),
    }  # fmt: skip


@pytest.mark.parametrize("names", [LOSSES, *((name,) for name in LOSSES)])
def test_every_loss_alone_and_all_together_fall_and_stay_finite(names):
    model, data = make(losses=names), batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for _ in range(30):
        loss, logs = model.loss(data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append({name: value.item() for name, value in logs.items()})
    assert set(history[0]) == set(names)
    assert all(math.isfinite(value) for step in history for value in step.values())
    for name in names:
        assert history[-1][name] < (0.95 if len(names) == 1 else 1) * history[0][name], name


def test_the_loss_is_the_sum_of_its_parts():
    loss, parts = make().eval().loss(batch())
    assert torch.allclose(loss, sum(parts.values()))


def test_padding_of_motions_and_texts_changes_no_feature():
    model, data = make().eval(), batch()
    longer = torch.cat((data["latents"], torch.full_like(data["latents"], 7.0)), 1)
    assert torch.allclose(
        model.motion_features(longer, data["lengths"]), model.motion_features(data["latents"], data["lengths"]), atol=1e-5
    )
    alone = model.motion_features(data["latents"][3:4, :1], data["lengths"][3:4])
    assert torch.allclose(model.motion_features(data["latents"], data["lengths"])[3:4], alone, atol=1e-5)
    ids = torch.cat((data["ids"], data["ids"]), 1)
    text = model.text_features(data["ids"], data["text_lengths"])
    assert torch.allclose(model.text_features(ids, data["text_lengths"]), text, atol=1e-5)


def test_features_are_unit_vectors():
    model, data = make().eval(), batch()
    assert torch.allclose(model.motion_features(data["latents"], data["lengths"]).norm(dim=-1), torch.ones(6, 6), atol=1e-5)
    assert torch.allclose(model.text_features(data["ids"], data["text_lengths"]).norm(dim=-1), torch.ones(6), atol=1e-5)


def test_contrastive_loss_is_smoothed_cross_entropy_both_ways():
    model, data = make().eval(), batch()
    motion = model.motion_features(data["latents"], data["lengths"])
    text = model.text_features(data["ids"], data["text_lengths"])
    logits = model.scale * model.similarity(motion, text)
    target = torch.arange(6)
    expected = sum(F.cross_entropy(scores, target, label_smoothing=0.1) for scores in (logits, logits.T)) / 2
    assert torch.allclose(model.contrastive_loss(motion, text, target), expected)


def test_other_samples_of_the_same_caption_are_neither_right_nor_wrong():
    model, data = make(label_smoothing=0.0).eval(), batch()
    motion = model.motion_features(data["latents"], data["lengths"])
    text = model.text_features(data["ids"], data["text_lengths"])
    shared = torch.tensor([0, 1, 2, 3, 4, 0])
    text = text[[0, 1, 2, 3, 4, 0]]
    logits = (model.scale * model.similarity(motion, text)).double()
    expected = 0.0
    for row in range(6):
        candidates = [column for column in range(6) if column == row or shared[column] != shared[row]]
        for scores in (logits[row], logits[:, row]):
            expected += (scores[candidates].logsumexp(0) - scores[row]).item() / 12
    assert model.contrastive_loss(motion, text, shared).item() == pytest.approx(expected, rel=1e-4)


def test_smoothing_is_spread_over_the_classes_that_count():
    """Samples with the same caption are excluded and receive no smoothing mass."""
    model, data = make(label_smoothing=0.3).eval(), batch()
    motion = model.motion_features(data["latents"], data["lengths"])
    shared = torch.tensor([0, 1, 2, 3, 0, 0])
    text = model.text_features(data["ids"], data["text_lengths"])[shared]
    logits = model.scale * model.similarity(motion, text)
    expected = 0.0
    for row in range(6):
        classes = [other for other in range(6) if other == row or shared[other] != shared[row]]
        target = torch.tensor(classes.index(row))
        for scores in (logits[row], logits[:, row]):
            expected += F.cross_entropy(scores[classes], target, label_smoothing=0.3).item() / 12
    assert model.contrastive_loss(motion, text, shared).item() == pytest.approx(expected, rel=1e-4)


def smoothed_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The paper's: 0.9 on the target, 0.1 spread over all classes. Logits (N, classes), target (N,)."""
    log_chance = logits.log_softmax(-1)
    return -(0.9 * log_chance[torch.arange(len(target)), target] + 0.1 * log_chance.mean(-1)).mean()


def test_labels_are_smoothed_by_a_tenth_as_in_the_paper():
    assert LaMPConfig().label_smoothing == 0.1


def test_the_captioning_loss_smooths_its_labels():
    model, data = make().eval(), batch()
    valid = torch.arange(7) < data["text_lengths"][:, None]
    caches = model.qformer.queries(*model.motion_context(data["latents"], data["lengths"]))[1]
    words = model.words(model.qformer.caption(model.decoder_ids(data["ids"]), valid, caches)[0])
    expected = smoothed_cross_entropy(words[:, :-1][valid[:, 1:]], data["ids"][:, 1:][valid[:, 1:]])
    assert torch.allclose(model.captioning_loss(data["ids"], valid, caches), expected)


def test_the_generation_loss_smooths_its_labels():
    model, data = make().eval(), batch()
    valid, context = torch.arange(7) < data["text_lengths"][:, None], torch.randn(6, 7, 24)
    logits, codes = model.code_head(model.query_context(context, valid)), data["codes"][:, :6]
    expected = smoothed_cross_entropy(logits[codes >= 0], codes[codes >= 0])
    assert torch.allclose(model.generation_loss(context, valid, data["codes"]), expected)


def test_temperature_is_clamped_at_100():
    model = make()
    model.logit_scale.data.fill_(20.0)
    assert float(model.scale) == pytest.approx(100)


def test_negatives_are_never_of_the_samples_own_caption():
    torch.manual_seed(0)
    caption = torch.tensor([0, 1, 0, 2, 1, 0])
    scores = 30 * torch.eye(6) + torch.randn(6, 6)  # the positive is far the likeliest
    for _ in range(200):
        assert (caption[hard_negatives(scores, caption)] != caption).all()


def test_hard_negatives_are_drawn_by_similarity():
    torch.manual_seed(0)
    scores = torch.full((4, 4), -50.0)
    scores[range(4), [2, 3, 1, 0]] = 50
    assert hard_negatives(scores, torch.arange(4)).tolist() == [2, 3, 1, 0]


def test_a_batch_of_one_caption_has_no_negatives_and_a_finite_loss():
    model, data = make().eval(), batch()
    data["caption"] = torch.zeros(6, dtype=torch.long)
    loss, logs = model.loss(data)
    assert torch.isfinite(loss) and all(torch.isfinite(value) for value in logs.values())


def test_match_rows_limits_what_the_matching_loss_sees():
    model = make(match_rows=2).eval()
    rows, other_motion, other_text = model.negatives(torch.randn(6, 6), torch.arange(6))
    assert len(rows) == len(other_motion) == len(other_text) == 2
    assert (other_motion != rows).all() and (other_text != rows).all()


def test_generation_loss_counts_valid_codes_within_the_queries_only():
    model, data = make().eval(), batch()
    valid = torch.arange(7) < data["text_lengths"][:, None]
    context = torch.randn(6, 7, 24)
    expected = model.generation_loss(context, valid, data["codes"])
    beyond = data["codes"].clone()
    beyond[:, 6:] = 0
    assert torch.equal(model.generation_loss(context, valid, beyond), expected)
    assert torch.equal(model.generation_loss(context, valid, F.pad(data["codes"], (0, 3), value=-1)), expected)


def test_the_condition_is_what_generation_was_trained_on():
    """Queries after attention to a text predict the codes in training and are the condition later; both use the same code path."""
    model, data = make().eval(), batch()
    valid = torch.arange(7) < data["text_lengths"][:, None]
    hidden = model.qformer.text(data["ids"], valid)
    queries = model.query_context(model.text_context(data["ids"], hidden), valid)
    assert torch.allclose(model.condition(data["ids"], data["text_lengths"]), queries.mean(1), atol=1e-6)
    assert torch.allclose(model.condition(data["ids"], data["text_lengths"], query=False), hidden[:, 0], atol=1e-6)


def test_captioning_learns_captions_by_heart_and_says_them():
    model, data = make(losses=("captioning",), label_smoothing=0.0), batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        model.loss(data)[0].backward()
        optimizer.step()
    captions = model.eval().caption(data["latents"], data["lengths"], end=SEP)
    for row, ids, length in zip(captions, data["ids"], data["text_lengths"]):
        words = ids[1 : length - 1]
        assert row[: len(words)].tolist() == words.tolist() and (row[len(words) :] == 0).all()


def test_saved_and_loaded_it_gives_the_same_features(tmp_path):
    model, data = make().eval(), batch()
    from dataclasses import asdict

    save_weights(tmp_path / "lamp.safetensors", own_state(model), {"kind": "lamp", "config": asdict(model.config)})
    loaded, _ = load_model(tmp_path / "lamp.safetensors")
    assert torch.equal(
        loaded.motion_features(data["latents"], data["lengths"]), model.motion_features(data["latents"], data["lengths"])
    )


def features(size: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Motions, texts and their captions' numbers; two samples share a caption."""
    generator = torch.Generator().manual_seed(5)
    motion, text = torch.randn(size, 3, 10, generator=generator), torch.randn(size, 10, generator=generator)
    return motion, text, torch.tensor([0, 1, 2, 3, 4, 0, 6, 7])


def contrast(motion: torch.Tensor, text: torch.Tensor, caption: torch.Tensor) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The contrastive loss in training, and its gradients."""
    motion.requires_grad_()
    text.requires_grad_()
    loss = make().train().contrastive_loss(F.normalize(motion, dim=-1), F.normalize(text, dim=-1), caption)
    loss.backward()
    return loss.item(), motion.grad, text.grad


def _rank(rank: int, path: str, results) -> None:
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    rows = slice(4 * rank, 4 * rank + 4)
    results[rank] = contrast(*(value[rows].clone() for value in features()))
    dist.destroy_process_group()


def test_two_processes_contrast_with_each_others_samples_and_share_gradients(tmp_path):
    """The mean of their losses is the loss of the joined batch, and so is the mean of their gradients, as DDP takes it."""
    loss, *gradients = contrast(*features())
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_rank, (str(tmp_path / "rendezvous"), results), nprocs=2)
        (first, *first_gradients), (second, *second_gradients) = results[0], results[1]
    assert (first + second) / 2 == pytest.approx(loss, rel=1e-5)
    for whole, parts in zip(gradients, zip(first_gradients, second_gradients)):
        assert torch.allclose(torch.cat(parts) / 2, whole, atol=1e-6)
