"""Generation of motions step by step: for each step, several candidates are generated, and the best candidate is kept.

A step is one action of a prompt such as "squats, then jumps", or two simultaneous actions. Half of the candidates for a later step
continue the motion: they are generated with the last `CONTEXT` tokens before the step as context (MoMask section 3.5). The other
half are generated without context; then the first `BRIDGE` tokens of the step, which connect the motion with the candidate, are
generated with the tokens on both sides as context. A candidate without context is only kept if its first pose is close to the last
pose of the motion before it, because a person who sits cannot start the next step standing.

Each simultaneous action is generated separately, with its own candidates. The best candidates are composed (`pipelines/layers.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from motion.features import features_to_joints
from motion.layering import is_gesture
from motion.skeleton import HUMANML3D
from pipelines.candidates import best_of, score_spans
from pipelines.layers import FEATURES, composed
from pipelines.seams import CONTEXT, SAMPLES_PER_WINDOW

if TYPE_CHECKING:
    from pipelines.sampling import SamplingSettings
    from pipelines.text2motion import TextToMotion

BRIDGE = 3  # tokens
NEAR = 0.2  # metres; mean distance of the joints in two poses that are close to each other
SAMPLES_PER_ACTION = SAMPLES_PER_WINDOW // 4  # difference of the sample numbers of simultaneous actions
SAMPLES_PER_BRIDGE = SAMPLES_PER_ACTION // 2  # difference of the sample numbers of a candidate and its bridge


class Action(NamedTuple):
    """The texts of one action, one text for each of B motions, and these texts encoded by the text encoder (B, …)."""

    texts: Sequence[str]
    condition: Tensor


class Motions(NamedTuple):
    """Token codes (B, L, Q), −1 after the end of each motion, and the number of tokens (B,) of each motion."""

    codes: Tensor
    tokens: Tensor


class Candidates(NamedTuple):
    """C candidates for the next part of each of B motions: codes (B · C, L, Q), lengths in tokens (B · C,), and scores (B, C).
    A candidate begins with the context, the last tokens of the motion so far."""

    codes: Tensor
    tokens: Tensor
    scores: Tensor

    def best(self, allowed: Tensor | None = None) -> Motions:
        """Return, for each motion, the candidate with the highest score.

        If the mask `allowed` (B, C) is True for at least one candidate of a motion, only the candidates of this motion for which it
        is True are considered.
        """
        scores = self.scores
        if allowed is not None:
            allowed = allowed & scores.isfinite()
            scores = scores.masked_fill(~allowed & allowed.any(1, keepdim=True), -torch.inf)
        rows = best_of(scores.flatten(), scores.shape[1])
        return Motions(self.codes[rows], self.tokens[rows])


def generate_steps(
    model: TextToMotion,
    steps: Sequence[Sequence[Action]],
    sizes: Tensor,
    totals: Tensor | None = None,
    *,
    continues: Sequence[bool] = (),
    sampling: SamplingSettings,
    first_sample: int = 0,
) -> tuple[Motions, Tensor]:
    """Generate B motions with K steps, which follow each other. Returns the motions, and the first token (B, K) of each step.

    Args:
        steps: K steps, each as a list of actions: the whole text of the step and, if the text names two simultaneous actions, the
            texts of these two actions.
        sizes: (B, C, K) number of tokens of each step, for each of C = `sampling.candidates` candidates.
        totals: (B,) number of tokens of each motion. The sizes of the remaining steps are scaled so that the motion gets this
            length. None, or 0 for a motion: the sizes are not scaled.
        continues: K flags; flag k is True if step k continues the action of step k − 1. All candidates of such a step are generated
            with the last tokens before the step as context. Empty: all flags are False.
        sampling: sampling settings.
        first_sample: sample number of the first motion; it and the seed determine the motion. The others get the next numbers.
    """
    B = len(sizes)
    Q, device = model.tokeniser.num_quantizers, sizes.device
    motions = Motions(torch.empty(B, 0, Q, dtype=torch.long, device=device), torch.zeros(B, dtype=torch.long, device=device))
    starts = []
    comparable = model.fills and model.tokeniser.config.dim == FEATURES  # poses are compared on HumanML3D's skeleton
    for k, actions in enumerate(steps):
        size = sizes[..., k]
        if totals is not None:
            left = (totals - motions.tokens)[:, None].clamp(min=0)
            scaled = torch.minimum((left * size / sizes[..., k:].sum(2)).round().long().clamp(min=1), left)
            size = torch.where(totals[:, None] > 0, scaled, size)
        starts.append(motions.tokens)
        bridges = k > 0 and comparable and not (continues and continues[k])
        numbers = {"sampling": sampling, "first_sample": first_sample + k * SAMPLES_PER_WINDOW}
        motions = add_step(model, motions, actions, size, bridges=bridges, **numbers)
    return motions, torch.stack(starts, dim=1)


def add_step(
    model: TextToMotion, before: Motions, actions: Sequence[Action], sizes: Tensor, *,
    bridges: bool, sampling: SamplingSettings, first_sample: int,
) -> Motions:  # fmt: skip
    """Append one step, described by `actions`, to the B motions `before`. `sizes` (B, C) are the candidates' numbers of tokens.

    If `bridges` is True, half of the candidates are generated without context and then connected with the motion before.
    """
    context = before.tokens.clamp(max=CONTEXT)
    given = None
    if before.codes.shape[1]:
        positions = (before.tokens - context)[:, None] + torch.arange(CONTEXT, device=sizes.device)
        given = padded(before.codes, before.codes.shape[1] + CONTEXT)
        given = given.gather(1, positions[..., None].expand(-1, -1, given.shape[2]))  # (B, CONTEXT, Q)
        given = given.masked_fill((positions >= before.tokens[:, None])[..., None], -1)
    if len(actions) > 1:  # only motions of equal length can be composed without a loss
        sizes = sizes[:, :1].expand_as(sizes)
    drawn = [
        candidates(
            model, action, sizes, given, context, bridges=bridges, sampling=sampling,
            first_sample=first_sample + number * SAMPLES_PER_ACTION,
        )
        for number, action in enumerate(actions)
    ]  # fmt: skip
    step = drawn[0].best() if len(drawn) == 1 else compose(model, drawn, context)
    stops = before.tokens + step.tokens - context
    codes = padded(before.codes, max(int(stops.max()), before.codes.shape[1]))
    columns = torch.arange(step.codes.shape[1], device=sizes.device)
    rows, columns = ((columns >= context[:, None]) & (columns < step.tokens[:, None])).nonzero(as_tuple=True)
    codes[rows, (before.tokens - context)[rows] + columns, : step.codes.shape[2]] = step.codes[rows, columns]
    return Motions(codes, stops)


def candidates(
    model: TextToMotion, action: Action, sizes: Tensor, given: Tensor | None, context: Tensor, *,
    bridges: bool, sampling: SamplingSettings, first_sample: int,
) -> Candidates:  # fmt: skip
    """Generate C candidates of one action for each of B motions.

    Args:
        sizes: (B, C) numbers of tokens to generate.
        given: (B, CONTEXT, Q) codes of the context, −1 after its end. None: there is no context.
        context: (B,) numbers of tokens of the context.
        bridges: whether the last half of the candidates are generated without context and then connected with it.
    """
    B, C = sizes.shape
    size, numbers = sizes.flatten(), {"sampling": sampling, "first_sample": first_sample * C}
    condition, context = (rows.repeat_interleave(C, dim=0) for rows in (action.condition, context))
    given = None if given is None else given.repeat_interleave(C, dim=0)
    apart = torch.arange(C, device=size.device).repeat(B) >= C - (C // 2 if bridges else 0)  # candidates without context
    tokens = torch.where(apart, (size - BRIDGE).clamp(min=1), context + size)
    known = None if given is None else padded(given, int(tokens.max())).masked_fill(apart[:, None, None], -1)
    codes = model.draw(condition, tokens, known, **numbers)
    if C == 1:
        return Candidates(codes, tokens, torch.zeros(B, 1, device=codes.device))
    reachable = torch.ones_like(apart)
    if bridges:
        rows = apart.nonzero()[:, 0]
        reachable[rows] = is_near(model, given[rows], context[rows], codes[rows], tokens[rows]) & (size[rows] > 2 * BRIDGE)
        numbers["first_sample"] = first_sample * (C // 2) + SAMPLES_PER_BRIDGE
        bridged = bridge(model, condition[rows], given[rows], context[rows], codes[rows], size[rows], **numbers)
        tokens = context + size
        codes = padded(codes, int(tokens.max()))
        codes[rows] = padded(bridged, codes.shape[1])
    texts = [text for text in action.texts for _ in range(C)]
    scores = score_spans(model, texts, condition, codes, tokens, context, tokens)
    return Candidates(codes, tokens, scores.masked_fill(~reachable, -torch.inf).view(B, C))


def padded(codes: Tensor, width: int) -> Tensor:
    """Cut or pad codes (B, L, Q) to (B, width, Q). The padding is −1."""
    return F.pad(codes[:, :width], (0, 0, 0, max(0, width - codes.shape[1])), value=-1)


def is_near(model: TextToMotion, given: Tensor, context: Tensor, codes: Tensor, tokens: Tensor) -> Tensor:
    """Return a mask (N,) of the motions `codes` whose first pose is near the last pose of `given`, the motion before.

    `context` and `tokens` (N,) are the lengths of `given` and of `codes` in tokens.
    """
    last, frames = model.features(given, context)
    first, _ = model.features(codes, tokens)
    poses = torch.stack((last[torch.arange(len(last), device=last.device), frames - 1], first[:, 0]))  # (2, N, D)
    poses[..., :3] = 0  # the root stands at the origin and has the same heading
    last, first = features_to_joints(poses[..., None, :].float(), HUMANML3D.num_joints)
    return (last - first).norm(dim=-1).mean(dim=(1, 2)) < NEAR


def bridge(
    model: TextToMotion, condition: Tensor, given: Tensor, context: Tensor, codes: Tensor, size: Tensor, *,
    sampling: SamplingSettings, first_sample: int,
) -> Tensor:  # fmt: skip
    """Connect the tokens `given` with the motions `codes` by `BRIDGE` generated tokens. Returns codes (N, L, Q) of all three parts.

    `context` (N,) is the number of tokens in `given`, and `size` (N,) the number of tokens of the bridge and the motion.
    """
    tokens = context + size
    columns = torch.arange(int(tokens.max()), device=codes.device).expand(len(codes), -1)
    positions = columns - context[:, None] - BRIDGE
    own = codes.gather(1, positions.clamp(min=0, max=codes.shape[1] - 1)[..., None].expand(-1, -1, codes.shape[2]))
    known = torch.where((positions >= 0)[..., None], own, -1)
    width = min(CONTEXT, known.shape[1])
    before = given[:, :width, : codes.shape[2]]
    known[:, :width] = torch.where((columns < context[:, None])[:, :width, None], before, known[:, :width])
    known = known.masked_fill((columns >= tokens[:, None])[..., None], -1)
    return model.draw(condition, tokens, known, sampling=sampling, first_sample=first_sample)


def compose(model: TextToMotion, drawn: Sequence[Candidates], context: Tensor) -> Motions:
    """Compose the motions of two simultaneous actions, if one of them is a gesture; if not, keep the motion of the whole text.

    `drawn` contains the candidates for the whole text and for each of the two actions, which begin with `context` (B,) tokens of
    the motion before.
    """
    chosen = [drawn[0].best(), *best_parts(model, drawn[1:], context)]
    stride = model.tokeniser.stride
    whole, *parts = [model.features(*motions)[0] for motions in chosen]
    codes, tokens = chosen[0]
    motion, layered = composed(whole, parts, context * stride, tokens * stride)
    encoded = model.tokeniser.encode((motion - model.mean) / model.std, tokens * stride)[..., : codes.shape[2]]
    return Motions(torch.where(layered[:, None, None], encoded.masked_fill(codes < 0, -1), codes), tokens)


def best_parts(model: TextToMotion, parts: Sequence[Candidates], context: Tensor) -> list[Motions]:
    """Return the best candidate of each of two simultaneous actions.

    The candidates of both actions are tested for gestures (`is_gesture`). For the action with more candidates that are gestures,
    only these candidates are considered. For the other action, all candidates are considered. If both actions have the same number
    of such candidates, all candidates of both actions are considered.
    """
    gestures = []
    for part in parts:
        B, C = part.scores.shape
        features, frames = model.features(part.codes, part.tokens)
        joints = features_to_joints(features.float(), HUMANML3D.num_joints).cpu().double().numpy()
        first = (context * model.tokeniser.stride).repeat_interleave(C).tolist()
        mask = [end > start and is_gesture(clip[start:end]) for clip, start, end in zip(joints, first, frames.tolist())]
        gestures.append(torch.tensor(mask, device=part.scores.device).view(B, C))
    count = [mask.sum(1) for mask in gestures]
    leads = count[0] > count[1], count[1] > count[0]
    return [part.best(mask & lead[:, None]) for part, mask, lead in zip(parts, gestures, leads)]
