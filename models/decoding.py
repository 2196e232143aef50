"""Decoding of captions: greedy search, beam search and nucleus sampling (Holtzman et al. 2020), without repetitions.

For our own models; Hugging Face models use their own `generate`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from models.sampling import uniforms
from utils.errors import UserError


@dataclass(frozen=True)
class Search:
    """Settings of decoding.

    With `sample`, nucleus sampling with cumulative probability `top_p`; else beam search of width `beams`, which divides
    log-probabilities by length to the power `length_penalty`. `no_repeat` is the size of n-grams that may not repeat (0: no limit).
    A `repetition_penalty` above 1 makes words that were used less likely (Keskar et al. 2019).
    """

    beams: int = 5
    sample: bool = False
    top_p: float = 0.9
    temperature: float = 1.0
    no_repeat: int = 3
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    max_tokens: int = 40
    seed: int = 0

    @classmethod
    def of(cls, flags: Any) -> Search:
        """The settings given by flags of these names. Raises `UserError`, naming the flag, for one out of range."""
        search = cls(**{field.name: getattr(flags, field.name) for field in fields(cls)})
        for name, fine, needed in (
            ("beams", search.beams >= 1, "1 or more"),
            ("top_p", 0 < search.top_p <= 1, "above 0, and at most 1"),
            ("temperature", 0 < search.temperature < float("inf"), "above 0; 1 takes the words' chances as they are"),
            ("no_repeat", search.no_repeat >= 0, "0 or more; 0 lets words repeat"),
            ("repetition_penalty", 0 < search.repetition_penalty < float("inf"), "above 0; 1 is none"),
            ("length_penalty", abs(search.length_penalty) < float("inf"), "finite; 1 is the mean over words"),
            ("max_tokens", search.max_tokens >= 1, "1 or more"),
            ("seed", 0 <= search.seed < 2**63, "from 0 to 2^63 - 1"),
        ):
            if not fine:
                raise UserError(f"--{name} {getattr(search, name)}: must be {needed}")
        return search

    def within(self, longest: int) -> Search:
        """These settings with at most `longest` tokens."""
        return replace(self, max_tokens=min(self.max_tokens, longest))


class WordModel(Protocol):
    """Decoding state of N captions, which returns logits of the next words."""

    device: torch.device

    def next(self, ids: Tensor) -> Tensor:
        """Append words (N,) and return logits (N, V) of the next ones."""

    def reorder(self, rows: Tensor) -> None:
        """Continue caption n from what caption `rows[n]` was; `rows` (M,) may repeat and omit captions."""


def finished(done: Tensor, step: int) -> bool:
    """Whether all captions (N,) are finished. On a GPU this is checked only every eighth step, because the check waits for the GPU;
    words after a caption's end change nothing."""
    return (done.device.type == "cpu" or step % 8 == 7) and bool(done.all())


def write(model: WordModel, numbers: Tensor, start: int, end: int, search: Search, count: int = 1) -> Tensor:
    """Ids (N, count, L) of captions with the numbers (N,), best first, without `start`; positions at and after a caption's end hold
    `end`.

    `model` is the state before the first word. Sampling depends on a caption's number.
    """
    assert search.sample or count <= search.beams, "a beam search finds no more captions than it is wide"
    find = _draw if search.sample else _beam_search
    return find(model, numbers.to(model.device), start, end, search, count)


def _draw(model: WordModel, captions: Tensor, start: int, end: int, search: Search, count: int) -> Tensor:
    """Nucleus sampling; a caption's samples depend on the seed and its number, not on the batch."""
    places = torch.arange(len(captions) * count, device=model.device)
    numbers = (captions[:, None] * count + torch.arange(count, device=model.device)).flatten()
    model.reorder(places // count)
    ids = torch.full_like(numbers[:, None], start)
    done = torch.zeros_like(numbers, dtype=torch.bool)
    for step in range(search.max_tokens):
        logits = restrained(model.next(ids[:, -1]), ids, search)
        drawn = nucleus(logits / search.temperature, uniforms(search.seed, numbers, step, 1)[:, 0], search.top_p)
        drawn = drawn.masked_fill(done, end)
        ids = torch.cat((ids, drawn[:, None]), dim=1)
        done |= drawn == end
        if finished(done, step):
            break
    return ids[:, 1:].unflatten(0, (len(captions), count))


def _beam_search(model: WordModel, captions: Tensor, start: int, end: int, search: Search, count: int) -> Tensor:
    """Beam search of width K for the largest log-probability / length^`length_penalty`.

    A caption is finished when the K best completed hypotheses are better than the best running one at its present length.
    """
    N, K, longest = len(captions), search.beams, search.max_tokens
    first = torch.arange(N, device=model.device)
    model.reorder(first.repeat_interleave(K))
    ids = torch.full((N, K, 1), start, device=model.device)
    scores = torch.full((N, K), -torch.inf, device=model.device)
    scores[:, 0] = 0  # all beams are the same at first: one goes on
    ended, found = torch.full_like(scores, -torch.inf), ids.new_full((N, K, longest), end)
    done = torch.zeros_like(first, dtype=torch.bool)
    for step in range(1, longest + 1):
        logits = restrained(model.next(ids[..., -1].flatten()), ids.flatten(0, 1), search)
        chances = scores[..., None] + logits.log_softmax(-1).unflatten(0, (N, K))  # (N, K, V)
        best = chances.flatten(1).topk(min(2 * K, chances[0].numel()), dim=1)  # at least K of them do not end here
        beam, word = best.indices // logits.shape[1], best.indices % logits.shape[1]  # (N, 2K)
        grown = torch.cat((_pick(ids, beam), word[..., None]), dim=2)  # (N, 2K, 1 + step)
        ends = word == end
        counted = (best.values / step**search.length_penalty).masked_fill(~ends & (step < longest) | done[:, None], -torch.inf)
        ended, kept = torch.cat((ended, counted), dim=1).topk(K, dim=1)
        found = _pick(torch.cat((found, F.pad(grown[..., 1:], (0, longest - step), value=end)), dim=1), kept)
        scores, going = best.values.masked_fill(ends, -torch.inf).topk(K, dim=1)
        done |= ended[:, -1] >= scores[:, 0] / step**search.length_penalty
        if finished(done, step):
            break
        ids = _pick(grown, going)
        model.reorder((beam.gather(1, going) + K * first[:, None]).flatten())
    return found[:, :count]


def _pick(values: Tensor, places: Tensor) -> Tensor:
    """values (N, M, L), places (N, K) → (N, K, L)."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))


def restrained(logits: Tensor, ids: Tensor, search: Search) -> Tensor:
    """Logits (N, V) in float32 after words (N, L), start token included, with the penalties against repetition applied."""
    logits, used = logits.float(), ids[:, 1:]
    if search.repetition_penalty != 1:
        penalty, value = search.repetition_penalty, logits.gather(1, used)
        logits = logits.scatter(1, used, torch.where(value > 0, value / penalty, value * penalty))
    n = search.no_repeat
    if 0 < n <= used.shape[1]:
        runs = used.unfold(1, n, 1)  # (N, L - n + 1, n): all that were used
        same = (runs[..., :-1] == used[:, None, used.shape[1] - n + 1 :]).all(-1)
        banned = torch.zeros_like(logits).scatter_add_(1, runs[..., -1], same.to(logits))
        logits = logits.masked_fill(banned > 0, -torch.inf)
    return logits


def nucleus(logits: Tensor, uniform: Tensor, top_p: float) -> Tensor:
    """Sample words (N,) from the most likely of logits (N, V) whose probabilities sum to at least `top_p`; `uniform` (N,) in [0,
    1)."""
    values, order = logits.sort(dim=-1, descending=True)
    chance = values.double().softmax(-1)
    chance = chance.masked_fill(chance.cumsum(-1) - chance >= top_p, 0).cumsum(-1)  # the first always stays
    place = (chance <= uniform[:, None] * chance[:, -1:]).sum(-1, keepdim=True)
    return order.gather(-1, place.clamp(max=logits.shape[1] - 1))[:, 0]
