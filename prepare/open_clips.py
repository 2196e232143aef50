"""Cut takes (captures) into clips: HumanML3D's segments, pieces of remaining frames, and joined short clips, each with a mirror
image."""

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

SHORTEST_REST = 60  # rows of features; a shorter last piece of a long take is dropped, as it often shows only an action's end
IDLE_SECONDS = 300  # maximum total duration of standing idle; limited because captures of standing idle can be very long


def make_clips(takes: list[Take]) -> list[Clip]:
    """Cut all usable takes (captures) into clips. Each clip has a split and is followed by its mirror image."""
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
    """Yield the clips of one take (a capture): its captioned segments, then the remaining frames, cut into pieces.

    Clips that are too short for the dataset are also yielded.
    """
    actions = actions_in(take.content or take.label, take.source)
    whole = Clip(take.name, take.content, take.style, take.source, split, take.joints, take.label, actions, take=take.capture)
    for segment in take.segments:
        yield from segment_clips(whole, segment)
    if not (take.content or take.label):
        return
    pieces = [piece for part in unsegmented(take) for piece in cut(part)]
    for letter, joints in zip(ascii_lowercase, pieces):
        yield replace(whole, name=f"{take.name}{letter}" if len(pieces) > 1 else take.name, joints=joints)


def segment_clips(whole: Clip, segment: Segment) -> Iterator[Clip]:
    """Yield a captioned segment of a take as one clip, or as several clips if the segment is too long.

    `whole` is a clip of the entire take. If a segment is too short for a clip and its take has a label, the captions are dropped,
    so that the segment can be joined with other short clips.
    """
    joints, split = whole.joints[segment.start : segment.end], segment.split or whole.split
    if len(joints) <= SHORTEST and whole.label:
        split = "test_everyday" if split == "test" else split  # `test` contains only clips with human captions
        yield replace(whole, name=f"{whole.name}_{segment.name}", joints=joints, split=split)
        return
    label = segment.label or whole.label
    actions = actions_in(label, whole.source) or actions_in(" ".join(segment.captions), whole.source)
    fields = {"split": split, "captions": segment.captions, "label": label, "actions": actions, "segment": whole.source == "cmu"}
    pieces = cut(joints)
    for letter, piece in zip(ascii_lowercase, pieces):
        yield replace(whole, name=f"{segment.name}{letter}" if len(pieces) > 1 else segment.name, joints=piece, **fields)


def unsegmented(take: Take) -> list[np.ndarray]:
    """Return the frames of a take outside its captioned segments, as one array of joints (T, 22, 3) per contiguous part.

    If the take has segments, parts of at most `SHORTEST_REST` frames are dropped.
    """
    if not take.segments:
        return [take.joints]
    parts, start = [], 0
    for segment in sorted(take.segments, key=lambda segment: segment.start):
        parts.append(take.joints[start : max(start, segment.start)])
        start = max(start, segment.end)
    parts.append(take.joints[start:])
    return [part for part in parts if len(part) > SHORTEST_REST]


def cut(joints: np.ndarray) -> list[np.ndarray]:
    """Cut joints into pieces (T + 1, 22, 3) with T ≤ LONGEST. Consecutive pieces share one frame. A short last piece is dropped."""
    pieces = [joints[start : start + LONGEST + 1] for start in range(0, max(len(joints) - 1, 1), LONGEST)]
    return [piece for piece in pieces if len(piece) > SHORTEST_REST or len(pieces) == 1]


def limit_idle(clips: list[Clip]) -> list[Clip]:
    """Drop clips of standing idle so that at most IDLE_SECONDS remain. The remaining idle clips are spread evenly over captures."""
    idle = defaultdict(list)
    for clip in clips:
        if clip.actions[:1] == ("idle",):
            idle[clip.take].append(clip)
    rank = {clip.name: (turn, position) for position, take in enumerate(by_hash(idle)) for turn, clip in enumerate(idle[take])}
    seconds, dropped = 0.0, set()
    for clip in sorted((clip for clip in clips if clip.name in rank), key=lambda clip: rank[clip.name]):
        seconds += (len(clip.joints) - 1) / FPS
        if seconds > IDLE_SECONDS:
            dropped.add(clip.name)
    return [clip for clip in clips if clip.name not in dropped]


def mirrored(clip: Clip) -> Clip:
    """The mirror image of a clip."""
    return replace(
        clip, name=f"M{clip.name}", content=swap_sides(clip.content), label=swap_sides(clip.label), joints=mirror(clip.joints),
        captions=tuple(swap_sides(caption) for caption in clip.captions),
    )  # fmt: skip
