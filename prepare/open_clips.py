"""From takes to clips: HumanML3D's segments, pieces of the remaining frames, and joined short clips, each with its mirror image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from string import ascii_lowercase

import numpy as np

from prepare.actions import actions_in
from prepare.captures import mirror
from prepare.open_splits import by_hash, draw_splits
from prepare.short_clips import join_short
from prepare.sides import swap_sides
from prepare.takes import FPS, LONGEST, SHORTEST, Clip, Segment, Take

SHORTEST_REST = 60  # rows; what is left over when a long take is cut often shows only how the person comes to rest
IDLE_SECONDS = 300  # of standing idle in all; captures of it are as long as one likes


def make_clips(takes: list[Take]) -> list[Clip]:
    """The clips of all usable takes, each with its mirror, each with its split."""
    usable = [take for take in takes if not take.problem and (len(take.joints) > SHORTEST or not take.content)]
    splits = draw_splits(usable)
    clips, short = [], []
    for take in usable:
        for clip in take_clips(take, splits[take.name]):
            if len(clip.joints) > SHORTEST:
                clips.append(clip)
            elif clip.label and len(clip.joints) > 2:
                short.append((take.actor, clip))
    clips = limit_idle(clips) + join_short(short)
    return [version for clip in sorted(clips, key=lambda clip: clip.name) for version in (clip, mirrored(clip))]


def take_clips(take: Take, split: str) -> Iterator[Clip]:
    """The clips of one take, in order, including whole takes and segments that are too short."""
    whole = Clip(take.name, take.content, take.style, take.source, split, take.joints, take.label, named(take), take=take.capture)
    for segment in take.segments:
        yield from segment_clips(whole, segment)
    if not (take.content or take.label):
        return
    pieces = [piece for stretch in free_stretches(take) for piece in cut(stretch)]
    for letter, joints in zip(ascii_lowercase, pieces):
        yield replace(whole, name=f"{take.name}{letter}" if len(pieces) > 1 else take.name, joints=joints)


def named(take: Take) -> tuple[str, ...]:
    """The actions that a take's label names, the main one first."""
    return actions_in(take.content or take.label, take.source)


def segment_clips(whole: Clip, segment: Segment) -> Iterator[Clip]:
    """A segment of a take as one clip, or as several if it is too long.

    A segment that is too short loses its captions if its take has a label, and becomes part of a longer clip.
    """
    joints, split = whole.joints[segment.start : segment.end], segment.split or whole.split
    if len(joints) <= SHORTEST and whole.label:
        split = "test_everyday" if split == "test" else split  # test holds no captions made from labels of everyday takes
        yield replace(whole, name=f"{whole.name}_{segment.name}", joints=joints, split=split)
        return
    label = segment.label or whole.label
    actions = actions_in(label, whole.source) or actions_in(" ".join(segment.captions), whole.source)
    about = {"split": split, "captions": segment.captions, "label": label, "actions": actions, "segment": whole.source == "cmu"}
    pieces = cut(joints)
    for letter, piece in zip(ascii_lowercase, pieces):
        yield replace(whole, name=f"{segment.name}{letter}" if len(pieces) > 1 else segment.name, joints=piece, **about)


def free_stretches(take: Take) -> list[np.ndarray]:
    """The frames of a take outside its segments."""
    if not take.segments:
        return [take.joints]
    stretches, start = [], 0
    for segment in sorted(take.segments, key=lambda segment: segment.start):
        stretches.append(take.joints[start : max(start, segment.start)])
        start = max(start, segment.end)
    stretches.append(take.joints[start:])
    return [stretch for stretch in stretches if len(stretch) > SHORTEST_REST]


def cut(joints: np.ndarray) -> list[np.ndarray]:
    """Consecutive pieces (T + 1, 22, 3) with T ≤ LONGEST; frame T of one is frame 0 of the next."""
    pieces = [joints[start : start + LONGEST + 1] for start in range(0, max(len(joints) - 1, 1), LONGEST)]
    return [piece for piece in pieces if len(piece) > SHORTEST_REST or len(pieces) == 1]


def limit_idle(clips: list[Clip]) -> list[Clip]:
    """The clips with at most IDLE_SECONDS of standing idle in total, distributed evenly over captures."""
    turns = defaultdict(list)
    for clip in clips:
        if clip.actions[:1] == ("idle",):
            turns[clip.take].append(clip)
    rank = {clip.name: (turn, position) for position, take in enumerate(by_hash(turns)) for turn, clip in enumerate(turns[take])}
    seconds, left_out = 0.0, set()
    for clip in sorted((clip for clip in clips if clip.name in rank), key=lambda clip: rank[clip.name]):
        seconds += (len(clip.joints) - 1) / FPS
        if seconds > IDLE_SECONDS:
            left_out.add(clip.name)
    return [clip for clip in clips if clip.name not in left_out]


def mirrored(clip: Clip) -> Clip:
    """The mirror image of a clip."""
    return replace(
        clip, name=f"M{clip.name}", content=swap_sides(clip.content), label=swap_sides(clip.label), joints=mirror(clip.joints),
        captions=tuple(swap_sides(caption) for caption in clip.captions),
    )  # fmt: skip
