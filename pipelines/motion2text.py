"""Motion to text, the whole pipeline: features → the tokeniser's latents → LaMP's queries → captions.

Motions are features (B, T, D) in the dataset's own units, zero beyond their lengths (B,) in frames. LaMP's matching head scores
captions and ranks them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from data.windows import Window, batches
from models.bert import load_tokenizer
from models.caption import CaptionGPT, MotionReader
from models.decoding import Search
from models.layers import valid_mask
from models.loading import Loader, load_model
from options.common import Common
from options.generate import GenM2T
from pipelines.language_motion import LanguageMotion
from pipelines.runs import CAPTIONER, resolve
from pipelines.subtitles import CaptionedWindow
from utils.checkpoint import RELEASED, CheckpointFolder, find_weights, fingerprint
from utils.errors import UserError
from utils.progress import progress

VQ_FLAGS = ("nb_code", "down_t", "depth", "dilation_growth_rate", "vq_act")  # of LaMP's release
SPARE = 3  # candidates for each of several captions: many say the same in the same words


class RankedCaption(NamedTuple):
    """A caption and its log-odds of matching the motion, by LaMP's matching head (−∞ for an empty caption)."""

    text: str
    match: float


class MotionToText:
    """`reader` is the LaMP that `captioner` was trained with. Raises `UserError` if they do not fit each other."""

    def __init__(self, captioner: MotionReader, reader: LanguageMotion):
        theirs, ours = captioner.config.prefix_dim, reader.lamp.config.hidden_size
        if theirs != ours:
            raise UserError(f"the captioner reads queries of width {theirs}, this LaMP gives {ours}; use its own")
        self.reader, self.captioner = reader, captioner.read_with_(reader.lamp).eval()
        self.mean, self.std = (torch.as_tensor(row, device=reader.device) for row in (reader.mean, reader.std))

    @classmethod
    def load(
        cls,
        checkpoints_dir: str | Path,
        dataset_name: str,
        name: str = "",
        device: torch.device | str = "cpu",
        tag: str | None = None,
        out_dir: str | Path = "",
        loader: Loader | None = None,
    ) -> MotionToText:
        """The captioner `name`, a run or a weights file, with LaMP and the tokeniser it was trained on.

        Without a name, `pipelines.runs` finds it in `out_dir` or in `checkpoints_dir`. Raises `UserError` if
        there is none, if it is not the only one, or if it is no captioner.
        """
        run = resolve(CAPTIONER, (out_dir or checkpoints_dir, checkpoints_dir), dataset_name, name)
        path, loader = run.weights(tag), loader or Loader(device)
        model, metadata = load_captioner(path, loader)
        root = run.checkpoints_dir if run.embedded else checkpoints_dir
        reader = LanguageMotion.load(root, run.dataset_name, metadata.get("lamp_name", ""), loader=loader)
        if metadata.get("lamp") not in (None, reader.fingerprint):
            raise UserError(f"{path}: was trained with another LaMP than the present '{metadata['lamp_name']}'; train it again")
        return cls(model, reader)

    @property
    def stride(self) -> int:
        """Frames per token of the motion."""
        return self.reader.tokeniser.stride

    @torch.no_grad()
    def captions(
        self,
        features: Tensor,
        lengths: Tensor,
        *,
        search: Search,
        count: int = 1,
        candidates: int = 1,
        numbers: Tensor | None = None,
    ) -> list[list[RankedCaption]]:
        """`count` captions of each motion, the best match first; sampling depends on the motions' `numbers` (B,).

        They are the best matches among the search's `candidates` (at least `SPARE` per caption if `count` > 1), with different
        words as far as possible. Raises `UserError` for a motion shorter than a token.
        """
        features, lengths = features.to(self.mean), lengths.to(self.mean.device)
        motion = (features - self.mean) / self.std * valid_mask(lengths, features.shape[1])[..., None]
        latents, tokens = self.reader.latents(motion, lengths)
        codes = None
        if self.captioner.reads_codes:
            codes = self.reader.tokeniser.quantizer(latents, valid_mask(tokens, latents.shape[1])).codes[..., 0]
        candidates = max(candidates, SPARE * count if count > 1 else 1)
        search = replace(search, beams=max(search.beams, candidates))
        texts = self.captioner.write(self.captioner.queries(latents, tokens), search, candidates, codes, numbers)
        scores = self._matches(texts, latents, tokens)
        ranked = [sorted((RankedCaption(*pair) for pair in zip(*both)), key=lambda one: -one.match) for both in zip(texts, scores)]
        return [different(captions)[:count] for captions in ranked]

    def _matches(self, texts: list[list[str]], latents: Tensor, lengths: Tensor) -> list[list[float]]:
        """Log-odds that each of `texts[b]` matches motion b, whose latents (B, N, C) have `lengths` (B,) tokens."""
        count = len(texts[0])
        scores = torch.full((len(texts) * count,), -torch.inf)
        flat = [text for some in texts for text in some]
        if spoken := [index for index, text in enumerate(flat) if text.strip()]:
            rows = torch.tensor(spoken, device=latents.device) // count
            matches = self.reader.match_latents([flat[index] for index in spoken], latents[rows], lengths[rows])
            scores[spoken] = matches.cpu().float()
        return scores.unflatten(0, (len(texts), count)).tolist()


def caption_windows(
    model: MotionToText, windows: list[Window], search: Search, config: GenM2T, fps: float
) -> list[CaptionedWindow]:
    """The captions of all windows, in order; windows of similar length share a batch."""
    captions: list[list[tuple[str, float]]] = [[] for _ in windows]
    with progress(total=len(windows), desc="captions", unit="window") as bar:
        for indices, features, lengths in batches([window.features for window in windows], config.batch_size):
            asked = {"count": config.num_captions, "candidates": config.candidates, "numbers": torch.tensor(indices)}
            ranked = model.captions(features, lengths, search=search, **asked)
            for index, best in zip(indices, ranked):
                captions[index] = [(" ".join(text.split()), match) for text, match in best]
            bar.update(len(indices))
    return [CaptionedWindow(file, start / fps, end / fps, best) for (file, start, end, _), best in zip(windows, captions)]


def different(captions: list[RankedCaption]) -> list[RankedCaption]:
    """The captions, with those that repeat an earlier one (ignoring punctuation) moved to the end."""
    words = [re.findall(r"\w+", caption.text.lower()) for caption in captions]
    repeated = [of_caption in words[:index] for index, of_caption in enumerate(words)]
    return [caption for last in (False, True) for caption, repeats in zip(captions, repeated) if repeats == last]


def load_captioner(path: Path, loader: Loader, kinds: tuple[str, ...] = CAPTIONER.kinds) -> tuple[MotionReader, dict]:
    """The captioner in a weights file, without its LaMP, and its metadata. Raises `UserError` for a model of another kind."""
    model, metadata = loader(path)
    if metadata["kind"] not in kinds:
        raise UserError(f"{path}: holds a {metadata['kind']} model, a captioner is needed; train one with train_m2t.py")
    if isinstance(model, CaptionGPT):
        model.use_tokenizer_(load_tokenizer(path.parent.parent))
    return model, metadata


def check_tokeniser(reader: LanguageMotion, config: Common) -> None:
    """Check the tokeniser against a script's legacy flags: its sizes (`VQ_FLAGS`), and --resume_pth or --vq_name.

    Raises `UserError`, naming both, if they differ, because LaMP reads only latents of its own tokeniser.
    """
    given = {flag: config.legacy[flag] for flag in VQ_FLAGS if flag in config.legacy}
    for flag, value in given.items():
        if value != (ours := getattr(reader.tokeniser.config, flag)):
            raise UserError(f"--{flag} {value}: LaMP's tokeniser has {ours}; leave the flag out, or say that")
    if not (name := config.legacy.get("resume_pth") or config.legacy.get("vq_name")):
        return
    source = Path(name) if Path(name).exists() else CheckpointFolder(config.checkpoints_dir, config.dataset_name, name).root
    free = {flag: given[flag] for flag in ("dilation_growth_rate", "vq_act") if flag in given}  # no shape of a released file tells
    model, metadata = load_model(source, **(free if find_weights(source).suffix in RELEASED else {}))
    if metadata["kind"] != "tokeniser" or fingerprint(model) != fingerprint(reader.tokeniser):
        raise UserError(f"{source}: not the tokeniser that LaMP was trained on; leave --resume_pth and --vq_name out")


def check_sizes(config: object, flags: dict) -> None:
    """Raise `UserError` for a size among `flags` (None: not given) that differs from the captioner's."""
    for flag, (name, given) in flags.items():
        ours = getattr(config, name, None)
        if given is not None and given != ours:
            raise UserError(f"--{flag} {given}: the captioner has {ours}; leave the flag out, or say that")
