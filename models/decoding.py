"""Caption decoding: greedy search, beam search and nucleus sampling (Holtzman et al. 2020), with penalties on repetition.

Captioners whose language model comes from Hugging Face use the method `generate` of the language model instead of this module.
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
    """Decoding settings.

    If `sample` is set, words are drawn by nucleus sampling with cumulative probability `top_p` and softmax `temperature`.
    Otherwise, beam search of width `beams` is used; width 1 is greedy search. Beam search ranks captions by log-probability /
    length^`length_penalty`. N-grams of `no_repeat` words may not repeat within a caption (0: any n-gram may
    repeat). A `repetition_penalty` above 1 lowers the probability of words that the caption already contains (Keskar et al. 2019).
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
        """Read the settings from the attributes of `flags`. Raises `UserError`, naming the flag, for a value out of range."""
        search = cls(**{field.name: getattr(flags, field.name) for field in fields(cls)})
        for name, valid, requirement in (
            ("beams", search.beams >= 1, "1 or more"),
            ("top_p", 0 < search.top_p <= 1, "above 0 and at most 1"),
            ("temperature", 0 < search.temperature < float("inf"), "above 0; 1 leaves probabilities unchanged"),
            ("no_repeat", search.no_repeat >= 0, "0 or more; 0 allows repetition"),
            ("repetition_penalty", 0 < search.repetition_penalty < float("inf"), "above 0; 1 is no penalty"),
            ("length_penalty", abs(search.length_penalty) < float("inf"), "finite; 1 ranks by the mean log-probability per word"),
            ("max_tokens", search.max_tokens >= 1, "1 or more"),
            ("seed", 0 <= search.seed < 2**63, "from 0 to 2^63 - 1"),
        ):
            if not valid:
                raise UserError(f"--{name} {getattr(search, name)}: must be {requirement}")
        return search

    def within(self, longest: int) -> Search:
        """These settings with `max_tokens` limited to `longest`."""
        return replace(self, max_tokens=min(self.max_tokens, longest))


class DecodingState(Protocol):
    """The state of a language model while it decodes N captions."""

    device: torch.device

    def next(self, ids: Tensor) -> Tensor:
        """Append the word `ids[n]` to each caption n; returns logits (N, V) of the words that follow."""

    def reorder(self, rows: Tensor) -> None:
        """Keep the captions with the indices `rows` (M,), in the order of `rows`. Captions may be repeated or omitted."""


def finished(done: Tensor, step: int) -> bool:
    """Whether all captions are finished. `done` (N,) is True for finished captions, and `step` is the number of the decoding step.

    On a GPU, the check is made only at every eighth step, because the check has to wait for the GPU; at all other steps, the result
    is False. Additional steps are harmless, because words after the end of a caption are ignored.
    """
    return (done.device.type == "cpu" or step % 8 == 7) and bool(done.all())


def write(model: DecodingState, numbers: Tensor, start: int, end: int, search: Search, count: int = 1) -> Tensor:
    """Decode `count` captions for each of N motions; returns token ids (N, count, L). Beam search returns the best caption first.

    `model` is the state of a language model before the first word of N captions, one per motion. With nucleus sampling, the random
    numbers for a motion depend on its entry in `numbers` (N,). Decoding begins with the id `start`, which the result does not
    include; all positions after a caption's last word contain the id `end`.
    """
    assert search.sample or count <= search.beams, "beam search returns at most `beams` captions"
    method = _nucleus_sampling if search.sample else _beam_search
    return method(model, numbers.to(model.device), start, end, search, count)


def _nucleus_sampling(model: DecodingState, numbers: Tensor, start: int, end: int, search: Search, count: int) -> Tensor:
    """Sample `count` captions per motion; see `write`.

    A caption depends on the seed and on the number of its motion in `numbers`, but not on the other motions.
    """
    samples = (numbers[:, None] * count + torch.arange(count, device=model.device)).flatten()
    model.reorder(torch.arange(len(numbers), device=model.device).repeat_interleave(count))
    ids = torch.full_like(samples[:, None], start)
    done = torch.zeros_like(samples, dtype=torch.bool)
    for step in range(search.max_tokens):
        logits = penalised(model.next(ids[:, -1]), ids, search)
        drawn = nucleus(logits / search.temperature, uniforms(search.seed, samples, step, 1)[:, 0], search.top_p)
        drawn = drawn.masked_fill(done, end)
        ids = torch.cat((ids, drawn[:, None]), dim=1)
        done |= drawn == end
        if finished(done, step):
            break
    return ids[:, 1:].unflatten(0, (len(numbers), count))


def _beam_search(model: DecodingState, numbers: Tensor, start: int, end: int, search: Search, count: int) -> Tensor:
    """Beam search of width K for the captions with the largest log-probability / length^`length_penalty`.

    The search for the captions of a motion ends when the K best completed hypotheses all score at least as high as the best
    unfinished hypothesis. An unfinished hypothesis is scored as if it ended at its current length.
    """
    N, K, longest = len(numbers), search.beams, search.max_tokens
    first = torch.arange(N, device=model.device)
    model.reorder(first.repeat_interleave(K))
    ids = torch.full((N, K, 1), start, device=model.device)
    scores = torch.full((N, K), -torch.inf, device=model.device)
    scores[:, 0] = 0  # all beams are identical at first, so only one is extended
    ended_scores, ended_ids = torch.full_like(scores, -torch.inf), ids.new_full((N, K, longest), end)
    done = torch.zeros_like(first, dtype=torch.bool)
    for step in range(1, longest + 1):
        logits = penalised(model.next(ids[..., -1].flatten()), ids.flatten(0, 1), search)
        extended = scores[..., None] + logits.log_softmax(-1).unflatten(0, (N, K))  # (N, K, V)
        best = extended.flatten(1).topk(min(2 * K, extended[0].numel()), dim=1)  # at least K of these 2K extensions are unfinished
        beyond = torch.arange(best.values.shape[1], device=model.device) >= K
        beam, word = best.indices // logits.shape[1], best.indices % logits.shape[1]  # (N, 2K)
        grown = torch.cat((ids.take_along_dim(beam[..., None], dim=1), word[..., None]), dim=2)  # (N, 2K, 1 + step)
        ends = word == end
        excluded = done[:, None] | ~ends & (step < longest) | ends & beyond  # only the K best extensions may end a caption
        candidates = (best.values / step**search.length_penalty).masked_fill(excluded, -torch.inf)
        ended_scores, kept = torch.cat((ended_scores, candidates), dim=1).topk(K, dim=1)
        new_ids = F.pad(grown[..., 1:], (0, longest - step), value=end)
        ended_ids = torch.cat((ended_ids, new_ids), dim=1).take_along_dim(kept[..., None], dim=1)
        scores, survivors = best.values.masked_fill(ends, -torch.inf).topk(K, dim=1)
        done |= ended_scores[:, -1] >= scores[:, 0] / step**search.length_penalty
        if finished(done, step):
            break
        ids = grown.take_along_dim(survivors[..., None], dim=1)
        model.reorder((beam.gather(1, survivors) + K * first[:, None]).flatten())
    return ended_ids[:, :count]


def penalised(logits: Tensor, ids: Tensor, search: Search) -> Tensor:
    """Apply the penalties on repetition to logits (N, V), in float32.

    `ids` (N, L) are the words so far, including the start token.
    """
    logits, used = logits.float(), ids[:, 1:]
    if search.repetition_penalty != 1:
        penalty, value = search.repetition_penalty, logits.gather(1, used)
        logits = logits.scatter(1, used, torch.where(value > 0, value / penalty, value * penalty))
    n = search.no_repeat
    if 0 < n <= used.shape[1]:
        ngrams = used.unfold(1, n, 1)  # (N, number of n-grams so far, n)
        same = (ngrams[..., :-1] == used[:, None, used.shape[1] - n + 1 :]).all(-1)
        banned = torch.zeros_like(logits).scatter_add_(1, ngrams[..., -1], same.to(logits))
        logits = logits.masked_fill(banned > 0, -torch.inf)
    return logits


def nucleus(logits: Tensor, uniform: Tensor, top_p: float) -> Tensor:
    """Sample words (N,) from logits (N, V), restricted to the most likely words whose probabilities sum to at least `top_p`.

    `uniform` (N,) are random numbers in [0, 1).
    """
    values, order = logits.sort(dim=-1, descending=True)
    probability = values.double().softmax(-1)
    outside = probability.cumsum(-1) - probability >= top_p  # False for the most likely word
    cumulative = probability.masked_fill(outside, 0).cumsum(-1)
    rank = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(-1, keepdim=True)
    return order.gather(-1, rank.clamp(max=logits.shape[1] - 1))[:, 0]
