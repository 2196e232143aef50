"""Store the captions, lengths and real-motion embeddings of a split in one file. The file replaces the dataset in evaluations.

    python -m evaluation.stored --dataset_name open --checkpoints_dir assets/demo --splits test test_everyday

This command writes `splits/<split>.safetensors` in the folder of the evaluator's run. FID, R-precision, MM-Dist and Diversity need
no other data of real motions, so anyone who has the evaluator and this file can compute these metrics for generated motion. Run
this command with the evaluator's weights in the precision in which they are distributed, because rounding the weights changes the
embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.prompts import STRIDE
from data.store import MotionStore, Normaliser, named
from data.text import Caption, CaptionedClips, parse_captions
from evaluation.judges import GuoJudge, Judge
from evaluation.protocol import BATCH, Pass, Reconstruct, Sample, SplitEvaluation
from motion.spec import DatasetSpec, get_spec
from options.cli import parse
from options.evaluate import StoreSplits
from utils.checkpoint import load_weights, save_weights
from utils.errors import UserError, script

FOLDER = "splits"
KIND = "evaluated split"


class StoredSplit:
    """A split without its motions: captions, lengths (N,) in frames and motion embeddings (N, E) of N clips.

    `judge` is the fingerprint (a hash) of the evaluator that computed the embeddings. The captions of clip i are
    `captions[first[i] : first[i + 1]]`.
    """

    def __init__(self, spec: DatasetSpec, captions: Sequence[Sequence[Caption]], lengths: Tensor, motion: Tensor, judge: str):
        self.spec, self.lengths, self.motion, self.judge = spec, lengths, motion, judge
        self.captions = [caption for of_clip in captions for caption in of_clip]
        self.first = np.cumsum([0, *map(len, captions)])  # (N + 1,)

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def of(cls, clips: CaptionedClips, judge: GuoJudge) -> StoredSplit:
        """Embed clips with the evaluator, each at its full length, without the random crops of an evaluation pass."""
        lengths = torch.as_tensor(clips.clips.lengths) // STRIDE * STRIDE
        motion = torch.empty(len(clips), judge.evaluator.config.embed_dim)
        for batch in clips.clips.batches(Normaliser.identity(clips.spec.dim)):
            motion[batch["index"]] = judge.motion(batch["motion"], batch["lengths"] // STRIDE * STRIDE).cpu()
        captions = [clips.captions_of(index) for index in range(len(clips))]
        return cls(clips.spec, captions, lengths, motion, judge.fingerprint)

    def save(self, path: Path) -> None:
        """Write the split to a safetensors file, with the embeddings in fp16."""
        text = "\n".join(f"{caption.text}#{caption.tokens}#0.0#0.0" for caption in self.captions)
        state = {
            "motion": self.motion.half(), "lengths": self.lengths.to(torch.int16),
            "captions": torch.from_numpy(np.diff(self.first)).to(torch.int16),
            "text": torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8),
        }  # fmt: skip
        save_weights(path, state, {"kind": KIND, "judge": self.judge})

    @classmethod
    def load(cls, path: Path, spec: DatasetSpec) -> StoredSplit:
        """Read a stored split. Raises `UserError` if the file is missing, damaged or not a stored split."""
        state, metadata = load_weights(path)
        if metadata.get("kind") != KIND or not {"motion", "lengths", "captions", "text"} <= set(state):
            raise UserError(f"{path}: not a stored split; write one with python -m evaluation.stored")
        captions = parse_captions(bytes(state["text"].numpy()).decode("utf-8", errors="replace"), path)
        counts, lengths, motion = state["captions"].tolist(), state["lengths"].long(), state["motion"].float()
        if not len(counts) == len(lengths) == len(motion) or sum(counts) != len(captions) or min(counts, default=0) < 1:
            counted = f"{len(motion)} motions, {len(lengths)} lengths, {len(captions)} captions"
            raise UserError(f"{path}: inconsistent numbers of entries ({counted}); store the split again")
        ends = np.cumsum(counts).tolist()
        by_clip = [captions[end - count : end] for end, count in zip(ends, counts)]
        return cls(spec, by_clip, lengths, motion, str(metadata.get("judge")))


def find_split(spec: DatasetSpec, split: str, judge: Judge) -> Path | None:
    """Return the file of a stored split if the dataset is missing; None if the dataset exists or no splits are stored.

    Raises `UserError` if the dataset is missing and only other splits are stored.
    """
    folder = judge.folder / FOLDER if isinstance(judge, GuoJudge) and judge.folder else None
    if spec.root.exists() or folder is None or not folder.is_dir():
        return None
    if (path := folder / f"{split}.safetensors").is_file():
        return path
    stored = sorted(path.stem for path in folder.glob("*.safetensors"))
    raise UserError(f"--split {split}: {spec.root} is missing, and the evaluator stores only {named(stored, 9)}; choose one")


class StoredEvaluation(SplitEvaluation):
    """Evaluates generated motion on a stored split, without the dataset.

    Physical metrics of real motion are missing, because these metrics need the clips. Raises `UserError` if the split was embedded
    by another evaluator.
    """

    def __init__(self, split: StoredSplit, judge: GuoJudge, **settings):
        if split.judge != judge.fingerprint:
            raise UserError("the stored split was embedded by another evaluator; store it again with python -m evaluation.stored")
        super().__init__(split, judge, **settings)

    def _pass(self, repeat: int, reconstruct: Reconstruct) -> Pass:
        split, generator, in_order = self.clips, self.draws(repeat), self.published == "lamp"
        order = np.arange(len(split)) if in_order else generator.permutation(len(split))
        size = min(BATCH, len(split))
        batches = min(len(split) // size, self.batches or len(split))
        rows = order[: batches * size]
        indices = split.first[rows] if in_order else generator.integers(split.first[rows], split.first[rows + 1])
        captions = [split.captions[index] for index in indices]
        texts = [caption.text for caption in captions]
        embedded = self.judge.text(texts, [caption.tokens.split() for caption in captions]).cpu()
        return Pass([str(row) for row in rows], texts, split.lengths[rows], embedded, Sample(split.motion[rows], {}, []))


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(StoreSplits, argv)
    spec = get_spec(config.dataset_name, config.data_root, config.cache_dir)
    judge = GuoJudge.load(config.checkpoints_dir, config.dataset_name, config.name)
    store = MotionStore(spec)
    for split in config.splits:
        stored = StoredSplit.of(CaptionedClips(spec, split, store), judge)
        path = judge.folder / FOLDER / f"{split}.safetensors"
        stored.save(path)
        print(f"{path}: {len(stored)} clips, {len(stored.captions)} captions, {path.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
