"""The session of one visitor of the studio: its motions, undo and redo, and the download of a motion as a .zip file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motion.clip import Motion
from options.generate import GenT2M
from pipelines.api import Lamp
from pipelines.outputs import Sample, write_samples
from pipelines.setup import standard_body
from utils.errors import UserError
from utils.provenance import provenance

MAX_ENTRIES = 100  # maximum number of motions in a session; the oldest motions are dropped first
FORMATS = ("npy", "bvh", "glb", "smpl", "mp4", "html")


@dataclass(frozen=True)
class Action:
    """An action of the visitor that added motions to the session, with the settings that `prompts.json` records."""

    kind: str  # generate, edit or upload
    seed: int = 0
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A motion of the session, with its number (from 1) and the visitor's action that created it."""

    number: int
    sample: Sample
    action: Action

    @property
    def motion(self) -> Motion:
        """The joints and the text of this motion."""
        return self.sample.motion

    @property
    def title(self) -> str:
        """The title in the list of motions: number, shortened text, number of frames."""
        text = self.motion.text or "a motion"
        return f"{self.number}. {text if len(text) <= 60 else text[:59] + '…'} ({len(self.motion)} frames)"


@dataclass(frozen=True)
class Session:
    """An immutable session: instead of changing the session, its methods return a new session.

    Attributes:
        steps: the motions that each action of the visitor created, the oldest action first.
        undone: the steps that were undone and can be redone; the step that was undone last is at the end.
        total: number of motions created so far, including dropped and undone ones.
    """

    steps: tuple[tuple[Entry, ...], ...] = ()
    undone: tuple[tuple[Entry, ...], ...] = ()
    total: int = 0

    @property
    def entries(self) -> list[Entry]:
        """All motions, the oldest first."""
        return [entry for step in self.steps for entry in step]

    def added(self, samples: Iterable[Sample], action: Action) -> Session:
        """Return the session after one more action, which created `samples`.

        If the new session has more than `MAX_ENTRIES` motions, the motions of its oldest actions are dropped.
        """
        entries = tuple(Entry(number, sample, action) for number, sample in enumerate(samples, start=self.total + 1))
        steps = (*self.steps, entries)
        while sum(map(len, steps)) > MAX_ENTRIES and len(steps) > 1:
            steps = steps[1:]
        return Session(steps, (), self.total + len(entries))

    def undo(self) -> Session:
        """The session without the motions of its last action."""
        return Session(self.steps[:-1], (*self.undone, self.steps[-1]), self.total) if self.steps else self

    def redo(self) -> Session:
        """The session with the motions of the action that was undone last."""
        return Session((*self.steps, self.undone[-1]), self.undone[:-1], self.total) if self.undone else self

    def entry(self, number: int | None) -> Entry:
        """The entry whose number is `number`. Raises `UserError` if there is no such entry."""
        for entry in self.entries:
            if entry.number == number:
                return entry
        raise UserError("no motion is selected; generate or upload one first")


def zip_files(lamp: Lamp, entry: Entry, formats: Sequence[str]) -> str:
    """Write a .zip file that contains `prompts.json` and the motion in the given formats.

    Returns the path of the .zip file, which is in a new temporary folder.
    """
    if not formats or not set(formats) <= set(FORMATS):
        raise UserError(f"formats: choose from {', '.join(FORMATS)}")
    made_by = provenance(entry.action, lamp.loader.device, lamp.generator.sources if entry.action.kind != "upload" else ())
    body = standard_body(lamp.generator, lamp.spec) if entry.motion.joints.shape[1] == lamp.spec.num_joints else None
    name = f"motion{entry.number}"
    with tempfile.TemporaryDirectory() as folder:
        config = GenT2M(output_dir=folder, ext=name, formats=list(formats), seed=entry.action.seed)
        write_samples(iter([entry.sample]), 1, config, made_by, body)
        return shutil.make_archive(str(Path(tempfile.mkdtemp(prefix="studio-")) / name), "zip", Path(folder) / name)
