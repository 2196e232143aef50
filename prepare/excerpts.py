"""Excerpts: short clips of a single action, cut from training clips that show more than this action.

Many clips are long. Examples are ten seconds of boxing with a few punches, or a person who sits down, rests and stands up again.
The captions of such a clip describe the whole clip. An excerpt shows a single action, or one bout of an action (quick repetitions),
with a little motion before and after the action. An excerpt has about the length that a generated motion should have for a prompt
like "a person throws a punch". The label or the captions of the clip must name the action, and `motion/facts` must detect the
action. Captions of an excerpt are generated from the joints of the excerpt.

Sitting down is so slow that, played backwards, it looks like standing up, and vice versa. Lying down, played backwards, looks like
getting up, and vice versa. These actions are rare, so excerpts that show one of them are also played backwards as additional
excerpts, which doubles the number of such excerpts. `motion/facts` must detect the reverse action in the reversed excerpt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from motion.facts import FPS, Event, Facts, prove
from prepare.actions import actions_in
from prepare.takes import LONGEST, SHORTEST, Clip

SOURCE = "excerpt"
LEAST = SHORTEST + 5  # minimum number of frames: 1 more than the rows of features, plus 4 that random crops may remove
MARGIN = 8  # frames before and after an action
BOUT = 6  # frames; maximum pause between two events of one bout
MOST = 0.85  # maximum length of an excerpt as a fraction of the clip; a longer excerpt would nearly repeat the clip
PER_CAPTURE = 16  # maximum number of excerpts of one action from one capture
RESTS = (2 * FPS, FPS // 2)  # frames of sitting or lying to keep, after going down or before getting up; one excerpt per value
LABELS = {  # the label of an excerpt, by its action
    "punch": "punch", "kick": "kick", "squat": "squat", "jump": "jump", "hop": "hop on one leg", "crawl": "crawl",
    "jumping jacks": "jumping jacks", "cartwheel": "cartwheel", "balance on one leg": "balance",
    "pick up": "pick up", "put down": "put down", "sit down": "sit down", "stand up": "stand up", "lie down": "lie down",
    "get up from the floor": "get up",
}  # fmt: skip
DOWN = {"sit down": "sit", "lie down": "lie"}  # action → posture in which the action ends
UP = {"stand up": "sit", "get up from the floor": "lie"}  # action → posture in which the action begins
REVERSES = {"sit down": "stand up", "lie down": "get up from the floor"}
REVERSES |= {up: down for down, up in REVERSES.items()}
BACKWARDS = "_backwards"  # suffix of the names of excerpts that are played backwards
FROM_THE_FLOOR = ("pick up", "put down")
SEVERAL = ("hop", "jumping jacks")  # excerpts show several of these actions, because a single one is not recognisable
FEW = 4  # maximum number of hops or jumping jacks in one excerpt


def excerpts(clips: Sequence[Clip]) -> list[Clip]:
    """Cut excerpts, short clips of a single action, out of training clips.

    The clips must have the joints (T, 22, 3) that are stored in the dataset, in metres.
    """
    counts: dict[tuple[str, str], int] = defaultdict(int)
    results = []
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
                    results.append(excerpt)
                if action in REVERSES and is_alone(prove(excerpt.joints[::-1]), REVERSES[action]):
                    results.append(backwards(excerpt, REVERSES[action]))
    return results


def backwards(excerpt: Clip, action: str) -> Clip:
    """Return an excerpt played backwards, which shows `action`, the reverse of the original action."""
    joints, label = np.ascontiguousarray(excerpt.joints[::-1]), LABELS[action]
    return replace(excerpt, name=f"{excerpt.name}{BACKWARDS}", joints=joints, label=label, actions=actions_in(label))


def cut_out(clip: Clip, action: str, start: int, stop: int, number: int) -> Clip:
    """Cut frames `start` to `stop` − 1 out of a clip, as excerpt `number` (from 0) of this clip that shows `action`."""
    label = clip.label if action == "kick" and "soccer" in clip.actions and clip.label else LABELS[action]
    return replace(
        clip, name=f"{clip.name}_{action.replace(' ', '-')}{number + 1}", content="", style="", source=SOURCE, label=label,
        actions=actions_in(label), captions=(), segment=False, joints=clip.joints[start:stop],
    )  # fmt: skip


def windows(facts: Facts, action: str, named: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the frames [start, stop) of each excerpt of an action in a clip. `named` are the actions in label or captions."""
    if action in DOWN:
        for event in facts.of(action):
            posture = next((posture for posture in facts.of(DOWN[action]) if posture.start < event.end <= posture.end), event)
            for rest in RESTS:
                stop = min(posture.end, event.end + rest)
                yield max(0, min(event.start - MARGIN, stop - LEAST)), stop
    elif action in UP:
        for event in facts.of(action):
            posture = next((posture for posture in facts.of(UP[action]) if posture.start <= event.start < posture.end), event)
            for rest in RESTS:
                start = max(posture.start, event.start - rest)
                yield start, min(facts.frames, max(event.end + MARGIN, start + LEAST))
    elif action in LABELS:
        groups = bouts(events_of(facts, action, named))
        if action in SEVERAL:
            groups = [bout[first : first + FEW] for bout in groups for first in range(0, len(bout), FEW)]
        for bout in groups:
            if len(bout) > (action in SEVERAL):
                start, stop = bout[0].start - MARGIN, max(event.end for event in bout) + MARGIN
                yield around(start, stop, facts.frames)


def events_of(facts: Facts, action: str, named: Sequence[str]) -> tuple[Event, ...]:
    """Return the events (detected occurrences) of an action in a clip, from which excerpts are cut.

    `named` are the actions in the clip's label or captions. The joints do not distinguish picking up from putting down. If `named`
    contains both actions, there must be exactly two events: the person picks something up in the first event and puts something
    down in the second event. If `named` contains "pick up" or "put down", squats are ignored.
    """
    events = facts.of(action)
    if action == "squat" and set(FROM_THE_FLOOR) & set(named):
        return ()  # the person squats only to reach the floor
    if action in FROM_THE_FLOOR and set(FROM_THE_FLOOR) <= set(named):
        return (events[FROM_THE_FLOOR.index(action)],) if len(events) == 2 else ()
    return events


def bouts(events: Sequence[Event]) -> list[list[Event]]:
    """Group the detected occurrences of an action into bouts. Pauses within a bout are at most `BOUT` frames long."""
    groups: list[list[Event]] = []
    for event in events:
        if groups and event.start - groups[-1][-1].end <= BOUT:
            groups[-1].append(event)
        else:
            groups.append([event])
    return groups


def around(start: int, stop: int, frames: int) -> tuple[int, int]:
    """Extend [start, stop) on both sides to at least `LEAST` frames, the minimum for an excerpt, in a clip of `frames` frames."""
    missing = max(0, LEAST - (stop - start))
    start = max(0, start - missing // 2)
    stop = min(frames, max(stop + missing - missing // 2, start + LEAST))
    return max(0, min(start, stop - LEAST)), stop


def is_alone(facts: Facts, action: str) -> bool:
    """Whether an excerpt with these facts is neither too short nor too long, and shows the action but not its reverse."""
    fits = LEAST <= facts.frames <= LONGEST + 1
    return fits and len(facts.of(action)) > (action in SEVERAL) and not (action in REVERSES and facts.of(REVERSES[action]))
