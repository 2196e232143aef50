"""Ten prompted edits and joins: whether the action happens in the requested section, and whether the seam is smooth.

Sources are generated from a prompt by the same weights. A seam is smooth if no joint moves more than 3 cm further between its
frames than between frames within half a second of it (`benchmarks.seams`).
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
MARGIN = 8  # frames by which an action may lie outside of its stretch
WINDOW = 10_000  # between the sample numbers of two cases


class Edit(NamedTuple):
    """An edit of `source` frames generated from `start`; the action is expected in `section`, or in that many frames `after` or
    `before`."""

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
    """Results for JSON, and a table with one line per case: the fraction of samples in which the action happens in its section, and
    the fraction with a smooth seam."""
    options = {"sampling": model.sampling.changed(args)}
    rows, cases = [], [*EDITS, *JOINS]
    for number, case in enumerate(tqdm(cases, disable=None)):
        take = edited if isinstance(case, Edit) else joined
        outcomes = [take(model, case, number * WINDOW + sample, options) for sample in range(args.samples)]
        happens, smooth = np.mean(outcomes, axis=0).tolist()
        rows.append({"case": described(case), "happens": happens, "smooth": smooth})
    lines = [f"{row['happens']:6.1%} happens  {row['smooth']:6.1%} smooth  {row['case']}" for row in rows]
    means = {key: float(np.mean([row[key] for row in rows])) for key in ("happens", "smooth")}
    lines.append(
        f"{means['happens']:6.1%} happens  {means['smooth']:6.1%} smooth  mean of {len(rows)}, {args.samples} samples each"
    )
    return {"means": means, "cases": rows}, lines


def edited(model: TextToMotion, case: Edit, sample: int, options: dict) -> tuple[bool, bool]:
    """Whether the action happens in the requested section and the seams are smooth, in one sample."""
    source, _ = model.generate([case.start], torch.tensor([case.source]), options["sampling"], first_sample=sample)
    sections = [case.section] if case.section else []
    added = {"before": case.before, "after": case.after}
    features = edit(model, source[0], sections, case.prompt, **added, first_sample=sample, longest=LONGEST, **options).features[0]
    end = case.source + case.after
    start, stop = case.section or ((0, case.before) if case.before else (case.source, end))
    seams = [edge for edge in (start, stop) if 0 < edge < len(features)]
    return judged(features, [(case.judge, start, stop)], seams)


def joined(model: TextToMotion, case: tuple[tuple[str, str], ...], sample: int, options: dict) -> tuple[bool, bool]:
    """Whether a joined motion shows each action at its place, and whether its seams are smooth."""
    features, ends = join(model, [prompt for prompt, _ in case], longest=LONGEST, first_sample=sample, **options)
    starts = [0, *ends[:-1]]
    return judged(features, [(judge, *span) for (_, judge), *span in zip(case, starts, ends)], ends[:-1])


def judged(features: torch.Tensor, asked: list[tuple[str, int, int]], seams: list[int]) -> tuple[bool, bool]:
    """Whether each judge sees its action between two frames, and whether every seam is smooth."""
    joints = features_to_joints(features.float().cpu(), HUMANML3D.num_joints).numpy().astype(np.float64)
    body = Body(joints)
    happens = all(any(start - MARGIN <= span.middle <= stop + MARGIN for span in JUDGES[name](body)) for name, start, stop in asked)
    return happens, all(over_the_seam(joints, seam)[1] < SMOOTH for seam in seams)


def described(case: Edit | tuple[tuple[str, str], ...]) -> str:
    """One line that describes an edit or a joined prompt."""
    if not isinstance(case, Edit):
        return " → ".join(prompt for prompt, _ in case)
    beside = f"{case.after} frames after" if case.after else f"{case.before} frames before"
    where = f"frames {case.section[0]} to {case.section[1]}" if case.section else beside
    return f"{case.start} ({case.source} frames); {where}: {case.prompt}"
