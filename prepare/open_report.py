"""The report of a build of the `open` dataset: clips by source and by action, and the captures that were left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

from prepare.clip_files import COMPOSED
from prepare.excerpts import SOURCE as EXCERPT
from prepare.open_clips import SHORTEST_REST
from prepare.open_splits import FEWEST, SPLITS
from prepare.takes import FPS, LONGEST, SHORTEST, Clip, Segment, Take

EXAMPLES = 8  # maximum number of examples of each problem


def report(
    takes: Sequence[Take], clips: Sequence[Clip], captions: int, segments: Mapping[str, Sequence[Segment]]
) -> list[str]:
    """Return the lines of the report on a build of the dataset.

    `takes` are the captures, `clips` the clips that were cut from them. `captions` is the number of captions;
    `segments` maps the names of CMU captures to HumanML3D's segments (captioned sections) of these captures.
    """
    lines = []
    for source in sorted({take.source for take in takes}):
        lines += report_source([take for take in takes if take.source == source], [clip for clip in clips if clip.source == source])
    if excerpts := [clip for clip in clips if clip.source == EXCERPT]:
        counts = Counter(clip.actions[0] for clip in excerpts if not clip.name.startswith("M"))
        by_action = ", ".join(f"{action} {count}" for action, count in sorted(counts.items()))
        total = f"{minutes(excerpts):.0f} minutes, {len(excerpts):,} clips with mirrors"
        lines.append(f"excerpts: {total}; without mirrors: {by_action}")
    if composed := [clip for clip in clips if clip.source == COMPOSED]:
        fraction = len(composed) / sum(clip.split == "train" for clip in clips)
        lines.append(f"composed: {minutes(composed):.0f} minutes, {len(composed):,} clips with mirrors, {fraction:.0%} of train")
    lines += [*report_segments(takes, segments), *report_overlaps(takes), *report_tests(clips), *report_actions(clips)]
    return [*lines, f"{len(clips):,} clips, {captions:,} captions"]


def report_source(takes: list[Take], clips: list[Clip]) -> list[str]:
    """Return lines about one source, such as CMU: takes (captures), minutes, clips per split, and what is left out."""
    splits = Counter(clip.split for clip in clips)
    counts = ", ".join(f"{split} {splits[split]:,}" for split in SPLITS if splits[split])
    built = f"{minutes(clips):.0f} minutes -> {len(clips):,} clips with mirrors"
    lines = [f"{takes[0].source}: {len(takes):,} takes, {built}: {counts}"]
    if unseen := sorted({f"{clip.content} {clip.style}" for clip in clips if clip.split == "test_unseen"}):
        lines.append(f"  {len(unseen)} combinations held out of training: {', '.join(unseen)}")
    if joined := [clip for clip in clips if "_x" in clip.name and not clip.name.startswith("M")]:
        lines.append(f"  {len(joined)} clips joined from takes shorter than {SHORTEST + 1} frames")
    return lines + report_losses(takes, clips)


def report_losses(takes: list[Take], clips: list[Clip]) -> list[str]:
    """Return lines about takes (captures) and their captioned segments that are left out or only partly used."""
    usable = [take for take in takes if not take.problem]
    long = [take for take in usable if (take.content or take.label) and len(take.joints) > LONGEST + 1 and not take.segments]
    short = [take.name for take in usable if len(take.joints) <= SHORTEST and take.content]
    unlabelled = [(take, segment) for take in usable if not take.label for segment in take.segments]
    short += [segment.name for take, segment in unlabelled if min(segment.end, len(take.joints)) - segment.start <= SHORTEST]
    lines = []
    if long:
        last_pieces = sum(0 < (len(take.joints) - 1) % LONGEST < SHORTEST_REST for take in long)
        dropped = f", {last_pieces} last pieces shorter than {SHORTEST_REST + 1} frames left out" if last_pieces else ""
        lines.append(f"  {len(long)} cut because longer than {LONGEST + 1} frames{dropped}")
    if short:
        lines.append(f"  {len(short)} left out because shorter than {SHORTEST + 1} frames: {examples_of(short)}")
    total = sum(len(take.joints) for take in usable) / FPS / 60
    unused = total - minutes(clips)
    if unused >= 0.5:
        reasons = "short last pieces, frames without caption or label, standing idle"
        lines.append(f"  {unused:.1f} of {total:.1f} minutes unused: {reasons}")
    return lines + [f"  left out: {take.name}: {take.problem}" for take in takes if take.problem]


def examples_of(names: Sequence[str]) -> str:
    """List the first `EXAMPLES` names, and state how many more names there are."""
    return ", ".join(names[:EXAMPLES]) + (f" and {len(names) - EXAMPLES:,} more" if len(names) > EXAMPLES else "")


def report_segments(takes: Sequence[Take], segments: Mapping[str, Sequence[Segment]]) -> list[str]:
    """Return a line that states how many segments (captioned sections) of CMU's captures HumanML3D has, and for how many of them
    the capture file is missing."""
    if not segments:
        return []
    usable = {take.name.removeprefix("cmu_") for take in takes if take.source == "cmu" and not take.problem}
    total = sum(map(len, segments.values()))
    missing = {capture: len(listed) for capture, listed in segments.items() if capture not in usable}
    captures = f"{len(missing):,} captures: {examples_of(sorted(missing))}"
    files = f"{sum(missing.values()):,} without a file ({captures})" if missing else "no file missing"
    return [f"HumanML3D's segments of CMU: {total:,}, {files}"]


def report_overlaps(takes: Sequence[Take]) -> list[str]:
    """Return a line that states how many pairs of segments in different splits share frames. They stay in HumanML3D's splits."""
    pairs = sum(
        first.split != second.split and max(first.start, second.start) < min(first.end, second.end)
        for take in takes for first, second in combinations(take.segments, 2)
    )  # fmt: skip
    return [f"{pairs} pairs of HumanML3D's segments in different splits share frames, as in HumanML3D"] if pairs else []


def report_tests(clips: Sequence[Clip]) -> list[str]:
    """Return a line that lists the actions with enough captures for the split test_everyday but without clips in a test split."""
    captures, held_out = defaultdict(set), set()
    for clip in clips:
        actions = clip.actions if clip.label and clip.source != COMPOSED else ()
        for action in actions:
            captures[action].add(clip.take)
        if clip.split not in ("train", "val"):
            held_out.update(actions)
    missing = sorted(action for action, takes in captures.items() if len(takes) >= FEWEST and action not in held_out)
    reason = "HumanML3D has all their captures in train or val"
    return [f"no clips in test_everyday for {', '.join(missing)}: {reason}"] if missing else []


def report_actions(clips: Sequence[Clip]) -> list[str]:
    """Return the lines of a table of clips and minutes per main action. Mirror images and compositions are not counted."""
    groups = defaultdict(list)
    for clip in clips:
        if not clip.name.startswith("M") and clip.source != COMPOSED:
            groups[clip.actions[0] if clip.actions else "(none named)"].append(clip)
    lines = ["clips and minutes by main action, without mirrors and compositions: train | val | test splits"]
    for action, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        parts = [[clip for clip in group if clip.split == split] for split in ("train", "val")]
        parts.append([clip for clip in group if clip.split not in ("train", "val")])
        cells = " | ".join(f"{len(part):5,} {minutes(part, mirrors=False):6.1f}" for part in parts)
        lines.append(f"  {action:22} {cells}")
    return lines


def minutes(clips: Sequence[Clip], mirrors: bool = True) -> float:
    """Minutes of motion, mirror images not counted. `mirrors` states whether `clips` contains the mirror image of each clip."""
    return sum(len(clip.joints) - 1 for clip in clips) / (2 if mirrors else 1) / FPS / 60
