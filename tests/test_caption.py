"""The captioning GPT: attention masks, padding, the cache, and whether it learns."""

from __future__ import annotations

import pytest
import torch

from models.bert import load_tokenizer
from models.caption import CaptionGPT, GPTConfig, GPTState, causal_mask
from models.decoding import Search
from models.layers import valid_mask
from tests.small_lamp import WORDS
from utils.errors import UserError

P, H, V = 3, 6, len(WORDS)


def small(**changes) -> CaptionGPT:
    torch.manual_seed(0)
    sizes = {"embed_dim": 16, "num_layers": 2, "num_heads": 2, "block_size": 12, "dropout": 0.0}
    model = CaptionGPT(GPTConfig(vocab_size=V, prefix_dim=H, num_queries=P, **{**sizes, **changes}))
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.data.mul_(8)  # as built, everything is about equally likely
    return model.double().eval()


def inputs(batch: int = 4, words: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    queries = torch.randn(batch, P, H, generator=generator, dtype=torch.double)
    ids = torch.randint(4, V, (batch, words), generator=generator)
    ids[:, 0] = 2
    lengths = torch.tensor([words, 4, 6, 3])[:batch]
    return queries, ids * valid_mask(lengths, words), lengths


def test_a_word_sees_the_queries_and_the_words_before_it():
    model, (queries, ids, _) = small(), inputs()
    queries.requires_grad_()
    words = model.words(ids).detach().requires_grad_()
    before, _ = model.context(queries)
    x = torch.cat((before, words), dim=1)
    mask = causal_mask(torch.ones(x.shape[:2], dtype=torch.bool))
    model.run(x, mask)[0][:, P + 3].sum().backward()
    assert (queries.grad.abs().sum(-1) > 0).all()
    assert (words.grad[:, :4].abs().sum(-1) > 0).all()
    assert (words.grad[:, 4:] == 0).all()


@pytest.mark.parametrize("codes", [False, True])
def test_padding_changes_no_loss(codes):
    model, (queries, ids, lengths) = small(nb_code=9 if codes else 0), inputs()
    codes_read = torch.tensor([[1, 2, 3, 4], [5, -1, -1, -1], [6, 7, 8, -1], [0, 0, -1, -1]]) if codes else None
    total = count = 0
    for row, length in enumerate(lengths.tolist()):
        row_codes = None if codes_read is None else codes_read[row : row + 1, : int((codes_read[row] >= 0).sum())]
        loss, _ = model.text_loss(queries[row : row + 1], ids[row : row + 1, :length], lengths[row : row + 1], row_codes)
        total, count = total + loss * (length - 1), count + length - 1
    together, _ = model.text_loss(queries, ids, lengths, codes_read)
    assert torch.allclose(together, total / count, rtol=1e-6)  # cross-entropy is in float32


@pytest.mark.parametrize("codes", [False, True])
def test_word_by_word_gives_the_logits_of_the_whole(codes):
    model, (queries, ids, _) = small(nb_code=9 if codes else 0), inputs()
    read = torch.tensor([[1, 2, 3], [5, -1, -1], [6, 7, -1], [0, -1, -1]]) if codes else None
    whole = model(ids, torch.ones_like(ids, dtype=torch.bool), model.context(queries, read))
    running = GPTState(model, *model.context(queries, read))
    one_by_one = torch.stack([running.next(ids[:, position]) for position in range(ids.shape[1])], dim=1)
    assert torch.allclose(whole, one_by_one, atol=1e-10)


def test_a_reordered_cache_goes_on_from_the_other_caption():
    model, (queries, ids, _) = small(), inputs()
    rows = torch.tensor([2, 0, 0])
    running = GPTState(model, *model.context(queries))
    running.next(ids[:, 0])
    running.reorder(rows)
    other = GPTState(model, *model.context(queries[rows]))
    other.next(ids[rows, 0])
    assert torch.allclose(running.next(ids[rows, 1]), other.next(ids[rows, 1]), atol=1e-12)


def test_queries_and_codes_change_the_caption():
    model, (queries, ids, lengths) = small(nb_code=9), inputs()
    read = torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]])
    loss = model.text_loss(queries, ids, lengths, read)[0]
    assert loss != model.text_loss(queries.flip(0), ids, lengths, read)[0]
    assert loss != model.text_loss(queries, ids, lengths, read.flip(0))[0]


def test_plain_language_needs_no_motion_and_is_another_loss():
    model, (queries, ids, lengths) = small(), inputs()
    batch = {"ids": ids, "text_lengths": lengths}
    loss, logs = model.loss(batch)
    assert torch.isfinite(loss) and set(logs) == {"caption_ce", "accuracy"}
    assert loss != model.text_loss(queries, ids, lengths)[0]


def test_random_words_are_shown_in_training_alone():
    model, (queries, ids, lengths) = small(pkeep=0.3), inputs()
    assert model.text_loss(queries, ids, lengths)[0] == model.text_loss(queries, ids, lengths)[0]
    model.train()
    losses = {model.text_loss(queries, ids, lengths)[0].item() for _ in range(4)}
    assert len(losses) > 1


@pytest.mark.parametrize("decode", [Search(beams=1), Search(beams=4), Search(sample=True, top_p=0.1)])
def test_eight_motions_are_learned_by_heart(decode, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    model = small().float().train()
    model.tokenizer = load_tokenizer(tmp_path)
    captions = [f"a person {first} {second}" for first in ("walks", "bows") for second in ("left", "right", "jump", "walks jumps")]
    rows = model.token_ids(captions)
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    queries = torch.randn(8, P, H)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        model.text_loss(queries, ids, lengths)[0].backward()
        optimizer.step()
    assert [texts[0] for texts in model.eval().write(queries, decode)] == captions


def test_a_caption_too_long_for_the_model_is_cut(tmp_path, capsys):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    model = small(block_size=4)
    model.tokenizer = load_tokenizer(tmp_path)
    (ids,) = model.token_ids(["A person walks left right"])
    assert len(ids) == 5 and ids[-1] == WORDS.index("[SEP]")
    assert len(model.write(inputs()[0], Search(max_tokens=40))[0][0].split()) <= 4


@pytest.mark.parametrize("wrong", [{"num_layers": 0}, {"embed_dim": 15}, {"block_size": 1}, {"pkeep": 0.0}, {"pkeep": 1.5}])
def test_impossible_sizes_are_named(wrong):
    with pytest.raises(UserError, match="--"):
        small(**wrong)
