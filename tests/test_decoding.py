"""Search for captions: a wide beam finds the best caption, no n-gram is repeated, and samples do not depend on the batch."""

from __future__ import annotations

import itertools

import pytest
import torch

from models.decoding import Search, nucleus, penalised, write

START, END, WORDS = 0, 1, 6
ALL = torch.arange(3)


class Chain:
    """A language of WORDS words in which the next one depends on the last two, and on the caption's own `bias` (N, WORDS)."""

    device = torch.device("cpu")

    def __init__(self, captions: int = 3, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.table = 2 * torch.randn(WORDS, WORDS, WORDS, generator=generator)
        self.table[..., START] = -torch.inf
        self.bias = torch.randn(captions, WORDS, generator=generator)
        self.last = torch.zeros(captions, dtype=torch.long)

    def next(self, ids: torch.Tensor) -> torch.Tensor:
        logits = self.table[self.last, ids] + self.bias
        self.last = ids
        return logits

    def reorder(self, rows: torch.Tensor) -> None:
        self.bias, self.last = self.bias[rows], self.last[rows]


def likelihood(chain: Chain, caption: int, words: tuple[int, ...]) -> float:
    """Log-probability of words in one of the captions."""
    before, last, total = 0, START, 0.0
    for word in words:
        total += float((chain.table[before, last] + chain.bias[caption]).log_softmax(-1)[word])
        before, last = last, word
    return total


def every_caption(longest: int):
    """All captions that end within `longest` words, and those that are cut there."""
    words = range(2, WORDS)
    for length in range(1, longest + 1):
        for body in itertools.product(words, repeat=length - 1):
            yield (*body, END)
    yield from itertools.product(words, repeat=longest)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_a_wide_beam_finds_the_best_of_all_captions(power):
    search = Search(beams=400, no_repeat=0, length_penalty=power, max_tokens=4)
    written = write(Chain(), ALL, START, END, search)[:, 0].tolist()
    for caption in range(3):
        best = max(every_caption(4), key=lambda words: likelihood(Chain(), caption, words) / len(words) ** power)
        assert tuple(written[caption][: len(best)]) == best
        assert set(written[caption][len(best) :]) <= {END}


def test_the_captions_of_a_beam_are_different_and_in_order():
    written = write(Chain(), ALL, START, END, Search(beams=8, no_repeat=0, max_tokens=6), count=5)
    for caption, rows in enumerate(written.tolist()):
        cut = [tuple(row[: row.index(END) + 1]) if END in row else tuple(row) for row in rows]
        assert len(set(cut)) == 5
        scores = [likelihood(Chain(), caption, words) / len(words) for words in cut]
        assert scores == sorted(scores, reverse=True)


def test_a_beam_of_one_takes_the_likeliest_word_each_time():
    chain = Chain()
    written = write(chain, ALL, START, END, Search(beams=1, no_repeat=0, max_tokens=8))[:, 0]
    again, ids = Chain(), torch.full((3,), START)
    for step in range(8):
        ids = again.next(ids).argmax(-1)
        running = (written[:, :step] != END).all(1)
        assert torch.equal(written[running, step], ids[running])


@pytest.mark.parametrize("search", [Search(beams=3), Search(sample=True), Search(sample=True, top_p=0.5, temperature=2, seed=3)])
def test_a_caption_is_the_same_alone_as_among_others(search):
    together = write(Chain(), ALL, START, END, search)
    for caption in range(3):
        alone = Chain()
        alone.reorder(torch.tensor([caption]))
        written = write(alone, torch.tensor([caption]), START, END, search)[0, 0]
        size = min(written.shape[0], together.shape[2])
        assert torch.equal(written[:size], together[caption, 0, :size])


def test_no_run_of_words_comes_twice():
    free = write(Chain(), ALL, START, END, Search(beams=1, no_repeat=0, max_tokens=30))
    for n in (1, 2, 3):
        for caption in write(Chain(), ALL, START, END, Search(beams=4, no_repeat=n, max_tokens=30))[:, 0].tolist():
            words = caption[: caption.index(END)] if END in caption else caption
            runs = list(zip(*(words[shift:] for shift in range(n))))
            assert len(runs) == len(set(runs))
    assert free.shape[2] == 30


def test_a_repetition_penalty_lowers_said_words_alone():
    logits = torch.tensor([[1.0, -1.0, 2.0, 0.5]])
    ids = torch.tensor([[START, 2, 1]])
    assert penalised(logits, ids, Search(repetition_penalty=2.0)).tolist() == [[1.0, -2.0, 1.0, 0.5]]
    assert penalised(logits, ids, Search()).tolist() == logits.tolist()


def test_the_nucleus_holds_the_words_that_reach_the_share_and_their_chances():
    logits = torch.tensor([0.1, 0.5, 0.3, 0.1]).log().expand(10_000, 4)
    drawn = nucleus(logits, torch.linspace(0, 0.9999, 10_000, dtype=torch.double), 0.7)
    fraction = torch.bincount(drawn, minlength=4) / 10_000
    assert torch.allclose(fraction, torch.tensor([0.0, 5 / 8, 3 / 8, 0.0]), atol=2e-3)
    assert set(nucleus(logits, torch.rand(10_000, dtype=torch.double), 1e-9).tolist()) == {1}


def test_draws_follow_the_seed():
    one, again, other = (write(Chain(), ALL, START, END, Search(sample=True, top_p=1, seed=seed), count=4) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert one.shape != other.shape or not torch.equal(one, other)
