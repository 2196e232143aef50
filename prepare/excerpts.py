"""Excerpts: one action alone, cut from a training clip that shows more than it.

Many takes are long: ten seconds of boxing for a few punches, or someone who sits down, rests and stands up again. Their captions
speak of the whole clip. An excerpt shows a single action, or one bout of it, with a little motion before and after, as long as one
expects of "a person throws a punch". The clip's label or captions must name the action and `prepare/facts` must find it; captions
are generated from the excerpt's own joints.

Sitting down and lying down are slow enough to be played backwards as standing up and getting up, and the other way round, which
doubles the number of these rare actions. Reversed excerpts must pass the same test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from prepare.actions import actions_in
from prepare.facts import FPS, Event, Facts, prove
from prepare.takes import LONGEST, SHORTEST, Clip

SOURCE = "excerpt"
LEAST = SHORTEST + 5  # frames: one more than rows, and some that random crops leave out
MARGIN = 8  # frames before and after an action
BOUT = 6  # frames; events that are no farther apart are one bout
MOST = 0.85  # of the clip; what is longer is nearly the clip itself
PER_CAPTURE = 16  # excerpts of one action from one capture
RESTS = (2 * FPS, FPS // 2)  # frames of sitting or lying that stay with the way down or up: one excerpt for each
LABELS = {  # the label of an excerpt, by its action
    "punch": "punch", "kick": "kick", "squat": "squat", "jump": "jump", "hop": "hop on one leg", "crawl": "crawl",
    "jumping jacks": "jumping jacks", "cartwheel": "cartwheel", "balance on one leg": "balance",
    "pick up": "pick up", "put down": "put down", "sit down": "sit down", "stand up": "stand up", "lie down": "lie down",
    "get up from the floor": "get up",
}  # fmt: skip
DOWN = {"sit down": "sit", "lie down": "lie"}  # they end in a posture
UP = {"stand up": "sit", "get up from the floor": "lie"}  # they begin in one
REVERSES = {"sit down": "stand up", "lie down": "get up from the floor"}
REVERSES |= {up: down for down, up in REVERSES.items()}
BACKWARDS = "_backwards"  # ends the names of excerpts that are played backwards
FROM_THE_FLOOR = ("pick up", "put down")
SEVERAL = ("hop", "jumping jacks")  # once is too little to recognise them
FEW = 4  # of those in one excerpt


def excerpts(clips: Sequence[Clip]) -> list[Clip]:
    """Excerpts of training clips, whose joints are those in the dataset. Raises `ValueError` for a clip of another split."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    found = []
    for clip in sorted(clips, key=lambda clip: clip.name):
        if clip.split != "train":
            raise ValueError(f"{clip.name} is of split '{clip.split}': excerpts are cut from training clips")
        if not set(clip.actions) & set(LABELS):
            continue
        facts = prove(clip.joints)
        named = dict.fromkeys((*clip.actions, *(REVERSES[action] for action in clip.actions if action in REVERSES)))
        for action in named:
            for number, (start, stop) in enumerate(windows(facts, action, clip.actions)):
                if counts[clip.take, action] == PER_CAPTURE:
                    break
                excerpt = cut_out(clip, action, start, stop, number)
                if not is_alone(prove(excerpt.joints), action):
                    continue
                counts[clip.take, action] += 1
                if stop - start <= MOST * len(clip.joints):
                    found.append(excerpt)
                if action in REVERSES and is_alone(prove(excerpt.joints[::-1]), REVERSES[action]):
                    found.append(backwards(excerpt, REVERSES[action]))
    return found


def backwards(excerpt: Clip, action: str) -> Clip:
    """An excerpt in reverse, which shows the reverse action."""
    joints, label = np.ascontiguousarray(excerpt.joints[::-1]), LABELS[action]
    return replace(excerpt, name=f"{excerpt.name}{BACKWARDS}", joints=joints, label=label, actions=actions_in(label))


def cut_out(clip: Clip, action: str, start: int, stop: int, number: int) -> Clip:
    """Frames `start` to `stop` of a clip as a clip of one action."""
    label = clip.label if action == "kick" and "soccer" in clip.actions and clip.label else LABELS[action]
    return replace(
        clip, name=f"{clip.name}_{action.replace(' ', '-')}{number + 1}", content="", style="", source=SOURCE, label=label,
        actions=actions_in(label), captions=(), segment=False, joints=clip.joints[start:stop],
    )  # fmt: skip


def windows(facts: Facts, action: str, named: Sequence[str]) -> Iterator[tuple[int, int]]:
    """[start, stop) of each excerpt of an action in a clip whose label or captions have `named` actions."""
    if action in DOWN:
        for event in facts.of(action):
            rest = next((rest for rest in facts.of(DOWN[action]) if rest.start < event.end <= rest.end), event)
            for frames in RESTS:
                yield widened(max(0, event.start - MARGIN), min(rest.end, event.end + frames), facts.frames, before=True)
    elif action in UP:
        for event in facts.of(action):
            rest = next((rest for rest in facts.of(UP[action]) if rest.start <= event.start < rest.end), event)
            for frames in RESTS:
                yield widened(
                    max(rest.start, event.start - frames), min(facts.frames, event.end + MARGIN), facts.frames, before=False
                )
    elif action in LABELS:
        groups = bouts(events_of(facts, action, named))
        if action in SEVERAL:
            groups = [bout[first : first + FEW] for bout in groups for first in range(0, len(bout), FEW)]
        for bout in groups:
            if len(bout) > (action in SEVERAL):
                start, stop = bout[0].start - MARGIN, max(event.end for event in bout) + MARGIN
                yield around(start, stop, facts.frames)


def events_of(facts: Facts, action: str, named: Sequence[str]) -> tuple[Event, ...]:
    """The events of an action. Joints do not tell picking up from putting down: if both are named, once each, the former comes
    first."""
    events = facts.of(action)
    if action == "squat" and set(FROM_THE_FLOOR) & set(named):
        return ()  # they squat to reach the floor
    if action in FROM_THE_FLOOR and set(FROM_THE_FLOOR) <= set(named):
        return (events[FROM_THE_FLOOR.index(action)],) if len(events) == 2 else ()
    return events


def bouts(events: Sequence[Event]) -> list[list[Event]]:
    """Events grouped by the pauses between them."""
    groups: list[list[Event]] = []
    for event in events:
        if groups and event.start - groups[-1][-1].end <= BOUT:
            groups[-1].append(event)
        else:
            groups.append([event])
    return groups


def around(start: int, stop: int, frames: int) -> tuple[int, int]:
    """A window of at least LEAST frames around [start, stop), within the clip."""
    missing = max(0, LEAST - (stop - start))
    start = max(0, start - missing // 2)
    stop = min(frames, max(stop + missing - missing // 2, start + LEAST))
    return max(0, min(start, stop - LEAST)), stop


def widened(start: int, stop: int, frames: int, before: bool) -> tuple[int, int]:
    """A window of at least LEAST frames if the clip has them, widened only `before` it or only after it."""
    missing = max(0, LEAST - (stop - start))
    return (max(0, start - missing), stop) if before else (start, min(frames, stop + missing))


def is_alone(facts: Facts, action: str) -> bool:
    """Whether an excerpt is long enough, and shows the action and not its reverse."""
    fits = LEAST <= facts.frames <= LONGEST + 1
    return fits and len(facts.of(action)) > (action in SEVERAL) and not (action in REVERSES and facts.of(REVERSES[action]))
