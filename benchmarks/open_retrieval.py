"""Retrieval with LaMP on `open`: `python -m benchmarks.open_retrieval --name lamp`.

R@k among all clips and in batches of 32, for the test split, for CMU's test clips with human captions, and for the combinations of
action and mood not seen in training. For clips of Bandai-Namco's second dataset, whose names contain action and mood: how often the
clip of the best caption has the same ones. Ties are averaged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.open_retrieval")

import torch
from torch import Tensor

from data.store import Clips, MotionStore
from data.text import CaptionedClips
from evaluation.metrics.retrieval import galleries
from evaluation.retrieval import Gallery, evaluate_retrieval, retrieval_table
from motion.spec import get_spec
from options.cli import parse
from options.common import option
from pipelines.language_motion import LanguageMotion
from prepare.phrases import SAME_MOOD
from prepare.sides import swap_sides
from utils.errors import script
from utils.runtime import resolve_device

NAME = re.compile(r"(M?)B([12])_([a-z-]+)_([a-z-]+)_")
PROTOCOLS = ("all", "batches")


def action_and_mood(name: str) -> tuple[str, str] | None:
    """Content and style from the name of a Bandai-Namco clip, the sides of a mirrored clip exchanged."""
    if not (found := NAME.match(name)):
        return None
    mirrored, _, content, style = found.groups()
    return swap_sides(content) if mirrored else content, SAME_MOOD.get(style, style)


def share_right(to_text: Tensor, labels: list, asked: list[bool]) -> Tensor:
    """For each selected motion: the fraction of captions with its label among those with the highest score (n, n)."""
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    number = torch.tensor([numbers[label] for label in labels])
    best = to_text == to_text.amax(1, keepdim=True)
    right = best & (number[:, None] == number)
    return (right.sum(1) / best.sum(1))[torch.tensor(asked)]


def shares(gallery: Gallery, protocol: str) -> str:
    """Action and mood of the best caption, over a protocol's galleries."""
    names = gallery.clips.names
    found = {"action": [], "mood": [], "both": []}
    for places in galleries(protocol, names):
        _, to_text = gallery.scores(places)
        labels = [action_and_mood(names[place]) for place in places]
        asked = ["B2_" in names[place] for place in places]
        for kind, of in (("action", 0), ("mood", 1), ("both", slice(None))):
            found[kind].append(share_right(to_text, [label and label[of] for label in labels], asked))
    parts = {kind: torch.cat(values) for kind, values in found.items()}
    if not len(parts["both"]):
        return ""
    means = ", ".join(f"{kind} {values.mean():.3f}" for kind, values in parts.items())
    return f"  right in the best caption, {protocol}, {len(parts['both'])} motions: {means}"


@dataclass(frozen=True)
class OpenRetrieval:
    """Retrieval on `open`, and how often the best caption names the right action and mood."""

    name: str = option("", "LaMP run; default: the only one there, else the embedded one")
    checkpoints_dir: str = option("./checkpoints", "folder of checkpoint folders")
    data_root: str = option("", "dataset folder, if it is not the usual one under dataset/")
    pool: str = option("max", "how the similarities of the queries are pooled", choices=("max", "mean"))
    caption: int = option(4, "which of a clip's captions, from 1; 0: a random one")
    gpu_id: int | None = option(None, "CUDA device; -1 is the CPU; default: 0 where there is CUDA, else -1")


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(OpenRetrieval, argv)

    spec = get_spec("open", args.data_root)
    model = LanguageMotion.load(args.checkpoints_dir, spec.name, args.name, resolve_device(args.gpu_id))
    store = MotionStore(spec)
    for split in ("test", "test_unseen"):
        gallery = Gallery.of_split(model, CaptionedClips(spec, split, store), args.pool, number=args.caption)
        report(split, gallery)
        clips = gallery.clips
        people = [place for place, name in enumerate(clips.names) if not NAME.match(name)]
        if people:
            part = Clips(clips.rows, [clips.names[place] for place in people], clips.starts[people], clips.lengths[people])
            captions = [gallery.captions[place] for place in people]
            report(f"{split}, CMU with people's captions", Gallery(model, part, captions, args.pool))


def report(title: str, gallery: Gallery) -> None:
    """Print recall and the fraction of right actions and moods of a gallery."""
    print(f"\n{title}: {len(gallery.clips)} clips, {len(gallery.texts)} different captions")
    print(*retrieval_table(evaluate_retrieval(gallery, PROTOCOLS)), sep="\n")
    print(*filter(None, (shares(gallery, name) for name in PROTOCOLS)), sep="\n")


if __name__ == "__main__":
    main()
