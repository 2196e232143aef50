"""Ten edits and joins: tests whether each action happens in the requested section, and whether the seams are smooth.

The weights that edit a motion also generate the source motion of the edit. A displacement is the distance that a joint moves from
one frame to the next. A seam is smooth if the largest displacement across the seam exceeds the largest displacement within half a
second of the seam by less than 3 cm (`benchmarks.seams`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.obedience.judges import JUDGES
from benchmarks.obedience.measures import Body
from benchmarks.seams import LONGEST, over_the_seam
from motion.features import features_to_joints
from motion.skeleton import HUMANML3D
from pipelines.editing import edit
from pipelines.long_motion import join
from pipelines.text2motion import TextToMotion

if TYPE_CHECKING:
    from benchmarks.obedience.__main__ import Obedience

SMOOTH = 0.03  # m
MARGIN = 8  # frames; the middle of an action may be up to this many frames outside the requested section
CASE_STRIDE = 10_000  # difference between the first sample numbers of consecutive cases


class Edit(NamedTuple):
    """An edit of a motion that was generated from the prompt `start` and has `source` frames.

    The new frames follow `prompt`. The edit replaces the frames `section`, appends `after` frames, or inserts `before` frames at
    the start. The rule named `judge`, which detects an action in joints, must detect this action in the new frames.
    """

    start: str
    source: int
    prompt: str
    judge: str
    section: tuple[int, int] | None = None
    after: int = 0
    before: int = 0


EDITS = (
    Edit("a person walks forward", 80, "a person bows", "bow", after=80),
    Edit("a person stands still", 60, "a person sits down on a chair", "sit", after=100),
    Edit("a person walks forward", 160, "a person waves with the right hand", "wave right", section=(48, 120)),
    Edit("a person walks forward", 80, "a person runs forward", "run", before=60),
    Edit("a person stands still", 140, "a person does a squat", "squat", section=(40, 100)),
    Edit("a person walks forward", 80, "a person jumps forward", "jump", after=60),
)
JOINS = (
    (("a person walks forward", "walk"), ("a person waves with both hands", "wave")),
    (("a person kicks with the left leg", "kick left"), ("a person bows", "bow")),
    (("a person sits down on a chair", "sit"), ("a person stands up from a chair", "stand up")),
    (("a person runs forward", "run"), ("a person raises both hands", "raise"), ("a person does a squat", "squat")),
)


def check_edits(model: TextToMotion, args: Obedience) -> tuple[dict, list[str]]:
    """Run all edits and joins; return results for JSON, and the lines of a table.

    For each edit or join, the table has the fraction of generated motions whose actions happen in the requested sections, and the
    fraction whose seams are smooth.
    """
    options = {"sampling": model.sampling.changed(args)}
    rows, cases = [], [*EDITS, *JOINS]
    for number, case in enumerate(tqdm(cases, disable=None)):
        evaluate = edited if isinstance(case, Edit) else joined
        outcomes = [evaluate(model, case, number * CASE_STRIDE + sample, options) for sample in range(args.samples)]
        happens, smooth = np.mean(outcomes, axis=0).tolist()
        rows.append({"case": described(case), "happens": happens, "smooth": smooth})
    means = {key: float(np.mean([row[key] for row in rows])) for key in ("happens", "smooth")}
    average = {"case": f"mean of {len(rows)}, {args.samples} samples each", **means}
    lines = [f"{row['happens']:6.1%} happens  {row['smooth']:6.1%} smooth  {row['case']}" for row in (*rows, average)]
    return {"means": means, "cases": rows}, lines


def edited(model: TextToMotion, case: Edit, sample: int, options: dict) -> tuple[bool, bool]:
    """Generate and edit one motion; return whether the action happens in the requested section, and whether seams are smooth."""
    source, _ = model.generate([case.start], torch.tensor([case.source]), options["sampling"], first_sample=sample)
    sections = [case.section] if case.section else []
    added = {"before": case.before, "after": case.after}
    features = edit(model, source[0], sections, case.prompt, **added, first_sample=sample, longest=LONGEST, **options).features[0]
    end = case.source + case.after
    start, stop = case.section or ((0, case.before) if case.before else (case.source, end))
    seams = [edge for edge in (start, stop) if 0 < edge < len(features)]
    return judged(features, [(case.judge, start, stop)], seams)


def joined(model: TextToMotion, case: tuple[tuple[str, str], ...], sample: int, options: dict) -> tuple[bool, bool]:
    """Generate one joined motion; return whether each action happens in its section, and whether the seams are smooth."""
    features, ends = join(model, [prompt for prompt, _ in case], longest=LONGEST, first_sample=sample, **options)
    starts = [0, *ends[:-1]]
    return judged(features, [(judge, *span) for (_, judge), *span in zip(case, starts, ends)], ends[:-1])


def judged(features: torch.Tensor, expected: list[tuple[str, int, int]], seams: list[int]) -> tuple[bool, bool]:
    """Whether all expected actions happen in their sections, and whether all seams are smooth.

    `expected` lists (name of an action, start, stop). The middle of each action must lie between frames `start` and `stop`, with a
    tolerance of 8 frames (`MARGIN`). `seams` are frame indices.
    """
    joints = features_to_joints(features.float().cpu(), HUMANML3D.num_joints).numpy().astype(np.float64)
    body = Body(joints)
    happens = all(
        any(start - MARGIN <= span.middle <= stop + MARGIN for span in JUDGES[name](body)) for name, start, stop in expected
    )
    return happens, all(over_the_seam(joints, seam)[1] < SMOOTH for seam in seams)


def described(case: Edit | tuple[tuple[str, str], ...]) -> str:
    """Return one line of text that describes an edit or a join."""
    if not isinstance(case, Edit):
        return " → ".join(prompt for prompt, _ in case)
    added = f"{case.after} frames after" if case.after else f"{case.before} frames before"
    section = f"frames {case.section[0]} to {case.section[1]}" if case.section else added
    return f"{case.start} ({case.source} frames); {section}: {case.prompt}"
