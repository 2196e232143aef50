"""Retrieval with LaMP on the dataset `open`: `python -m benchmarks.open_retrieval --name lamp`.

This module prints R@k among all clips and in batches of 32, for the splits `test` and `test_unseen`. The combinations of action and
mood in `test_unseen` do not occur in the training data. Results for CMU's clips with human captions (`test_cmu.txt`) are also
printed separately. The names of the clips of Bandai-Namco's second dataset contain the action and the mood. For these clips, the
module prints how often the best-matching caption belongs to a clip with the action of the query, with the mood of the query, or
with both. If several captions match equally well, the fraction of these captions that are correct is counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.open_retrieval")

import torch
from torch import Tensor

from data.store import Clips, MotionStore
from data.text import CaptionedClips
from evaluation.metrics.retrieval import galleries
from evaluation.retrieval import Gallery, evaluate_retrieval, retrieval_table
from motion.spec import get_spec, listed_names
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
    """Return action and mood (such as "sad") from the name of a Bandai-Namco clip; None for other clips.

    For a mirrored clip, left and right are exchanged in the action.
    """
    if not (match := NAME.match(name)):
        return None
    mirrored, _, content, style = match.groups()
    return swap_sides(content) if mirrored else content, SAME_MOOD.get(style, style)


def cmu_clips(names: Sequence[str], root: Path) -> list[int]:
    """Return the indices in `names` of CMU's clips with human captions, which `test_cmu.txt` in the dataset folder `root` lists."""
    listed = root / "test_cmu.txt"
    cmu = set(listed_names(listed)) if listed.is_file() else set()
    return [index for index, name in enumerate(names) if name in cmu]


def fraction_correct(to_text: Tensor, labels: list, selected: list[bool]) -> Tensor:
    """Return for each selected motion the fraction of its best captions that have the label (such as the action) of the motion.

    `to_text` (n, n) holds scores of motions × captions. All captions that share a motion's highest score are its best captions.
    """
    ids = {label: index for index, label in enumerate(dict.fromkeys(labels))}
    label_ids = torch.tensor([ids[label] for label in labels])
    best = to_text == to_text.amax(1, keepdim=True)
    correct = best & (label_ids[:, None] == label_ids)
    return (correct.sum(1) / best.sum(1))[torch.tensor(selected)]


def accuracy(gallery: Gallery, protocol: str) -> str:
    """A line of text: how often the best caption has the right action and mood.

    The protocol, "all" or "batches", determines whether each motion is compared with all captions or within a batch of 32.
    Only clips of Bandai-Namco's second dataset are counted. Without such clips, the line is empty.
    """
    names = gallery.clips.names
    fractions = {"action": [], "mood": [], "both": []}
    for indices in galleries(protocol, names):
        _, to_text = gallery.scores(indices)
        labels = [action_and_mood(names[index]) for index in indices]
        selected = ["B2_" in names[index] for index in indices]
        for kind, part in (("action", 0), ("mood", 1), ("both", slice(None))):
            fractions[kind].append(fraction_correct(to_text, [label and label[part] for label in labels], selected))
    parts = {kind: torch.cat(values) for kind, values in fractions.items()}
    if not len(parts["both"]):
        return ""
    means = ", ".join(f"{kind} {values.mean():.3f}" for kind, values in parts.items())
    return f"  {protocol}: best caption is correct for {len(parts['both'])} motions: {means}"


@dataclass(frozen=True)
class OpenRetrieval:
    """Evaluate retrieval on `open`, and how often the best caption has the right action and mood."""

    name: str = option("", "LaMP run; default: the only LaMP run in --checkpoints_dir or, if there is none, the embedded LaMP")
    checkpoints_dir: str = option("./checkpoints", "folder of checkpoint folders")
    data_root: str = option("", "folder of the dataset; default: the folder of `open` under dataset/")
    pool: str = option("max", "how the similarities of a text to the queries of a motion are pooled", choices=("max", "mean"))
    caption: int = option(4, "number of the caption to use from each clip, counted from 1; 0: a random caption")
    gpu_id: int | None = option(None, "CUDA device; -1 is the CPU; default: 0 if CUDA is available, else -1")


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
        if cmu := cmu_clips(clips.names, spec.root):
            subset = Clips(clips.rows, [clips.names[index] for index in cmu], clips.starts[cmu], clips.lengths[cmu])
            captions = [gallery.captions[index] for index in cmu]
            report(f"{split}, CMU with human captions", Gallery(model, subset, captions, args.pool))


def report(title: str, gallery: Gallery) -> None:
    """Print the recall for a gallery (motions with captions), and how often the best captions have the right action and mood."""
    print(f"\n{title}: {len(gallery.clips)} clips, {len(gallery.texts)} distinct captions")
    print(*retrieval_table(evaluate_retrieval(gallery, PROTOCOLS)), sep="\n")
    print(*filter(None, (accuracy(gallery, name) for name in PROTOCOLS)), sep="\n")


if __name__ == "__main__":
    main()
