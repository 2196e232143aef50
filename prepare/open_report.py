"""The report of a build of the `open` dataset: content by source and action, and what is left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

from prepare.clip_files import COMPOSED
from prepare.excerpts import SOURCE as EXCERPT
from prepare.open_clips import SHORTEST_REST
from prepare.open_splits import FEWEST, SPLITS
from prepare.takes import FPS, LONGEST, SHORTEST, Clip, Segment, Take

NAMED = 8  # examples of a problem that the report names


def report(
    takes: Sequence[Take], clips: Sequence[Clip], captions: int, segments: Mapping[str, Sequence[Segment]]
) -> list[str]:
    """The lines of the report; `segments`: HumanML3D's segments by CMU capture, if used."""
    lines = []
    for source in sorted({take.source for take in takes}):
        lines += report_source([take for take in takes if take.source == source], [clip for clip in clips if clip.source == source])
    if cut := [clip for clip in clips if clip.source == EXCERPT]:
        counts = Counter(clip.actions[0] for clip in cut if not clip.name.startswith("M"))
        listed = ", ".join(f"{action} {count}" for action, count in sorted(counts.items()))
        lines.append(f"excerpts: {minutes(cut):.0f} minutes, {len(cut):,} clips with mirrors; without: {listed}")
    if composed := [clip for clip in clips if clip.source == COMPOSED]:
        share = len(composed) / sum(clip.split == "train" for clip in clips)
        lines.append(f"composed: {minutes(composed):.0f} minutes, {len(composed):,} clips with mirrors, {share:.0%} of train")
    lines += [*report_segments(takes, segments), *report_overlaps(takes), *report_tests(clips), *report_actions(clips)]
    return [*lines, f"{len(clips):,} clips, {captions:,} captions"]


def report_source(takes: list[Take], clips: list[Clip]) -> list[str]:
    """Lines about one source: takes, minutes, clips by split, clips left out."""
    splits = Counter(clip.split for clip in clips)
    counts = ", ".join(f"{split} {splits[split]:,}" for split in SPLITS if splits[split])
    built = f"{minutes(clips):.0f} minutes -> {len(clips):,} clips with mirrors"
    lines = [f"{takes[0].source}: {len(takes):,} takes, {built}: {counts}"]
    unseen = sorted({f"{clip.content} {clip.style}" for clip in clips if clip.split == "test_unseen"})
    if unseen:
        lines.append(f"  {len(unseen)} combinations unseen in training: {', '.join(unseen)}")
    joined = [clip for clip in clips if "_x" in clip.name and not clip.name.startswith("M")]
    if joined:
        lines.append(f"  {len(joined)} clips joined from takes shorter than {SHORTEST + 1} frames")
    return lines + report_losses(takes, clips)


def report_losses(takes: list[Take], clips: list[Clip]) -> list[str]:
    """Lines about takes that are left out or only partly used."""
    usable = [take for take in takes if not take.problem]
    whole = [take for take in usable if take.content or take.label]
    long = [take for take in whole if len(take.joints) > LONGEST + 1 and not take.segments]
    short = [take.name for take in usable if len(take.joints) <= SHORTEST and take.content]
    unlabelled = [(take, segment) for take in usable if not take.label for segment in take.segments]
    short += [part.name for take, part in unlabelled if min(part.end, len(take.joints)) - part.start <= SHORTEST]
    lines = []
    if long:
        rests = sum(0 < (len(take.joints) - 1) % LONGEST < SHORTEST_REST for take in long)
        dropped = f", {rests} rests shorter than {SHORTEST_REST} frames left out" if rests else ""
        lines.append(f"  {len(long)} cut because longer than {LONGEST} frames{dropped}")
    if short:
        lines.append(f"  {len(short)} left out because shorter than {SHORTEST} frames: {some_of(short)}")
    frames = sum(len(take.joints) for take in usable) / FPS / 60
    lost = frames - minutes(clips)
    if lost >= 0.5:
        lines.append(f"  {lost:.1f} of {frames:.1f} minutes unused: rests, frames without caption or label, standing idle")
    return lines + [f"  left out: {take.name}: {take.problem}" for take in takes if take.problem]


def some_of(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")


def report_segments(takes: Sequence[Take], segments: Mapping[str, Sequence[Segment]]) -> list[str]:
    """A line about HumanML3D's segments of CMU's captures whose file was not found."""
    if not segments:
        return []
    usable = {take.name.removeprefix("cmu_") for take in takes if take.source == "cmu" and not take.problem}
    total = sum(map(len, segments.values()))
    missing = {capture: len(some) for capture, some in segments.items() if capture not in usable}
    captures = f"{len(missing):,} captures: {some_of(sorted(missing))}"
    lost = f"{sum(missing.values()):,} found no file ({captures})" if missing else "all found their file"
    return [f"HumanML3D's segments of CMU: {total:,}, {lost}"]


def report_overlaps(takes: Sequence[Take]) -> list[str]:
    """A line about HumanML3D's segments of one take that overlap but have different splits; they are kept."""
    pairs = 0
    for take in takes:
        for first, second in combinations(take.segments, 2):
            pairs += first.split != second.split and max(first.start, second.start) < min(first.end, second.end)
    return [f"{pairs} pairs of HumanML3D's segments in different splits share frames, as published"] if pairs else []


def report_tests(clips: Sequence[Clip]) -> list[str]:
    """A line about actions with enough captures that have no test clips."""
    captures, held_out = defaultdict(set), set()
    for clip in clips:
        for action in clip.actions if clip.label and clip.source != COMPOSED else ():
            captures[action].add(clip.take)
            held_out |= {action} if clip.split not in ("train", "val") else set()
    missing = sorted(action for action, some in captures.items() if len(some) >= FEWEST and action not in held_out)
    return [f"test_everyday without {', '.join(missing)}: HumanML3D has their captures in train or val"] if missing else []


def report_actions(clips: Sequence[Clip]) -> list[str]:
    """A table of clips and minutes by main action, without mirrors and compositions."""
    groups = defaultdict(list)
    for clip in clips:
        if not clip.name.startswith("M") and clip.source != COMPOSED:
            groups[clip.actions[0] if clip.actions else "(none named)"].append(clip)
    lines = ["clips and minutes by main action, without mirrors and compositions: train | val | tests"]
    for action, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        parts = [[clip for clip in group if clip.split == split] for split in ("train", "val")]
        parts.append([clip for clip in group if clip.split not in ("train", "val")])
        cells = " | ".join(f"{len(part):5,} {minutes(part, mirrors=False):6.1f}" for part in parts)
        lines.append(f"  {action:22} {cells}")
    return lines


def minutes(clips: Sequence[Clip], mirrors: bool = True) -> float:
    """Minutes of motion, without mirrors."""
    return sum(len(clip.joints) - 1 for clip in clips) / (2 if mirrors else 1) / FPS / 60
