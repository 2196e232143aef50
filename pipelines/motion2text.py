"""The motion-to-text pipeline: features → tokeniser latents → LaMP's query outputs → captions, ranked by LaMP's matching head.

Motions are features (B, T, D) in the dataset's own units, zero beyond their lengths (B,) in frames.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from data.windows import Window, batches
from models.bert import load_tokenizer
from models.caption import CaptionGPT, MotionReader
from models.caption_opt import CaptionOPT
from models.decoding import Search
from models.layers import valid_mask
from models.loading import Loader, kind_of, load_model, require_kind
from models.upstream.released import run_folder
from options.common import Common
from options.generate import GenM2T
from pipelines.language_motion import LanguageMotion
from pipelines.runs import CAPTIONER, resolve
from pipelines.subtitles import CaptionedWindow
from utils.checkpoint import RELEASED, CheckpointFolder, find_weights, fingerprint
from utils.errors import UserError
from utils.progress import progress

VQ_FLAGS = ("nb_code", "down_t", "depth", "dilation_growth_rate", "vq_act")  # the released scripts' flags for the tokeniser
SPARE = 3  # candidates per requested caption if several captions are requested, because many candidates are identical


class RankedCaption(NamedTuple):
    """A caption, and LaMP's log-odds that it matches the motion; −∞ for an empty caption, NaN if no log-odds were computed."""

    text: str
    match: float


Matcher = Callable[[list[str], Tensor], Tensor]  # N texts and the indices (N,) of their motions → log-odds (N,) of a match


class MotionToText:
    """A captioner with `reader`, the LaMP model that encodes motions for it. Raises `UserError` if their query widths differ."""

    def __init__(self, captioner: MotionReader, reader: LanguageMotion):
        expected, actual = captioner.config.prefix_dim, reader.lamp.config.hidden_size
        if expected != actual:
            raise UserError(
                f"the captioner needs queries of width {expected}, but this LaMP has {actual}; "
                "use the LaMP that the captioner was trained with"
            )
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
        lm: str = "",
    ) -> MotionToText:
        """Load the captioner `name` with the LaMP model and the tokeniser that the captioner was trained on.

        Args:
            checkpoints_dir, dataset_name: location of the runs. If `dataset_name` is None, runs of all datasets are searched.
            name: name of a run, or path of a weights file; "": the only captioner (see `pipelines.runs`).
            device: ignored if a `loader` is given.
            tag: name of the weights, such as "latest"; None: the best.
            out_dir: a folder that is searched for the captioner first.
            loader: loads the weights and determines the device.
            lm: folder of the captioner's language model or, for the released captioner, of OPT's tokeniser. "": the language model
                that the captioner was trained with, or the default folders of the tokeniser.

        Raises `UserError` if there is no captioner, if there are several and `name` is empty, or if `name` is not a captioner.
        """
        run = resolve(CAPTIONER, (out_dir or checkpoints_dir, checkpoints_dir), dataset_name, name)
        path, loader = run.weights(tag), loader or Loader(device)
        model, metadata = load_captioner(path, loader, lm=lm)
        if metadata["kind"] == "caption_opt":
            from pipelines.released_captioner import ReleasedCaptioner  # not at the top, to avoid a circular import

            return ReleasedCaptioner(model, run, loader, Path(checkpoints_dir), lm)
        root = run.checkpoints_dir if run.embedded else checkpoints_dir
        reader = LanguageMotion.load(root, run.dataset_name, metadata.get("lamp_name", ""), loader=loader)
        if metadata.get("lamp") not in (None, reader.fingerprint):
            reason = f"was trained with another LaMP than the current '{metadata['lamp_name']}'"
            raise UserError(f"{path}: {reason}; train the captioner again")
        return cls(model, reader)

    @property
    def stride(self) -> int:
        """Frames per motion token."""
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
        """Generate `count` captions of each motion, the best match first.

        Args:
            features, lengths: features (B, T, D) of the motions in the dataset's own units, and lengths (B,) in frames.
            search: settings of beam search or sampling.
            count: number of captions per motion. A caption with the same words as a better caption is returned only if there are
                too few different captions.
            candidates: number of captions from which LaMP's matching head selects the best. If `count` > 1, at least
                `SPARE` × `count` candidates are generated.
            numbers: (B,) sample numbers, which determine the random numbers of sampling.

        Raises `UserError` for a motion shorter than a token.
        """
        features, lengths = features.to(self.mean), lengths.to(self.mean.device)
        motion = (features - self.mean) / self.std * valid_mask(lengths, features.shape[1])[..., None]
        candidates = max(candidates, SPARE * count if count > 1 else 1)
        queries, codes, matcher = self.read(motion, lengths, ranked=candidates > 1)
        search = replace(search, beams=max(search.beams, candidates))
        texts = self.captioner.write(queries, search, candidates, codes, numbers)
        scores = match_all(texts, matcher, lengths.device)
        ranked = [list(map(RankedCaption, *pair)) for pair in zip(texts, scores)]
        return [different(sorted(captions, key=lambda caption: -caption.match))[:count] for captions in ranked]

    def read(self, motion: Tensor, lengths: Tensor, ranked: bool) -> tuple[Tensor, Tensor | None, Matcher | None]:
        """Encode normalised motions for the captioner.

        Returns LaMP's query outputs (B, P, H), the codes (B, N) of the first quantiser if the captioner uses them, and a `Matcher`,
        which computes log-odds that texts match these motions. `ranked` states whether the captions will be ranked.
        """
        latents, tokens = self.reader.latents(motion, lengths)
        codes = None
        if self.captioner.reads_codes:
            codes = self.reader.tokeniser.quantizer(latents, valid_mask(tokens, latents.shape[1])).codes[..., 0]
        queries = self.captioner.queries(latents, tokens)
        return queries, codes, lambda texts, rows: self.reader.match_latents(texts, latents[rows], tokens[rows])

    def check(self, config: Common, sizes: dict[str, str]) -> None:
        """Raise `UserError` if a model size in the flags of LaMP's released scripts differs from the captioner or its tokeniser.

        `sizes` maps names of such flags to fields of the captioner's config.
        """
        check_sizes(self.captioner.config, {flag: (field, config.legacy.get(flag)) for flag, field in sizes.items()})
        check_tokeniser(self.reader, config)


def match_all(texts: list[list[str]], matcher: Matcher | None, device: torch.device) -> list[list[float]]:
    """Compute log-odds that each of `texts[b]` matches motion b: −∞ for empty texts, NaN for all texts if `matcher` is None."""
    count = len(texts[0])
    scores = torch.full((len(texts) * count,), -torch.inf)
    flat = [text for of_motion in texts for text in of_motion]
    if nonempty := [index for index, text in enumerate(flat) if text.strip()]:
        rows = torch.tensor(nonempty, device=device) // count
        matches = matcher([flat[index] for index in nonempty], rows) if matcher else torch.full((len(nonempty),), torch.nan)
        scores[nonempty] = matches.cpu().float()
    return scores.unflatten(0, (len(texts), count)).tolist()


def caption_windows(
    model: MotionToText, windows: list[Window], search: Search, config: GenM2T, fps: float
) -> list[CaptionedWindow]:
    """Caption windows, which are sections of motions, in batches of similar length. Results have the order of `windows`."""
    captions: list[list[tuple[str, float]]] = [[] for _ in windows]
    with progress(total=len(windows), desc="captions", unit="window") as bar:
        for indices, features, lengths in batches([window.features for window in windows], config.batch_size):
            options = {"count": config.num_captions, "candidates": config.candidates, "numbers": torch.tensor(indices)}
            ranked = model.captions(features, lengths, search=search, **options)
            for index, best in zip(indices, ranked):
                captions[index] = [(" ".join(text.split()), match) for text, match in best]
            bar.update(len(indices))
    return [CaptionedWindow(file, start / fps, end / fps, best) for (file, start, end, _), best in zip(windows, captions)]


def different(captions: list[RankedCaption]) -> list[RankedCaption]:
    """Move captions with the same words as an earlier caption to the end of the list."""
    words = [re.findall(r"\w+", caption.text.lower()) for caption in captions]
    repeated = [of_caption in words[:index] for index, of_caption in enumerate(words)]
    return [caption for value in (False, True) for caption, repeats in zip(captions, repeated) if repeats == value]


def load_captioner(
    path: Path, loader: Loader, kinds: tuple[str, ...] = CAPTIONER.kinds, lm: str = ""
) -> tuple[MotionReader | CaptionOPT, dict]:
    """Load a captioner from a weights file, without its LaMP. Returns the captioner and its metadata.

    `kinds` are the accepted kinds of captioner. For `lm` see `MotionToText.load`. Raises `UserError` for a model of another kind,
    and if `lm` is given but the captioner has no language model.
    """
    overrides = {"lm": lm} if lm and kind_of(path) == "caption_lm" else {}
    model, metadata = loader(path, **overrides)
    if lm and metadata["kind"] == "caption_gpt":
        raise UserError(f"--lm {lm}: {path} was trained from scratch, without a language model; leave --lm out")
    require_kind(metadata, path, *kinds, remedy="train a captioner with train_m2t.py")
    if isinstance(model, CaptionGPT):
        model.use_tokenizer_(load_tokenizer(run_folder(path)))
    return model, metadata


def check_tokeniser(reader: LanguageMotion, config: Common) -> None:
    """Raise `UserError` if flags of LaMP's released scripts describe another tokeniser than that of the loaded LaMP model.

    The flags are the tokeniser's sizes (`VQ_FLAGS`), and --resume_pth or --vq_name.
    """
    given = {flag: config.legacy[flag] for flag in VQ_FLAGS if flag in config.legacy}
    for flag, value in given.items():
        if value != (actual := getattr(reader.tokeniser.config, flag)):
            raise UserError(f"--{flag} {value}: LaMP's tokeniser has {actual}; leave the flag out, or give {actual}")
    if not (name := config.legacy.get("resume_pth") or config.legacy.get("vq_name")):
        return
    source = Path(name) if Path(name).exists() else CheckpointFolder(config.checkpoints_dir, config.dataset_name, name).root
    # Released files do not store the dilation growth rate and the activation.
    not_stored = {flag: given[flag] for flag in ("dilation_growth_rate", "vq_act") if flag in given}
    overrides = not_stored if find_weights(source).suffix in RELEASED else {}
    model, metadata = load_model(source, **overrides)
    if metadata["kind"] != "tokeniser" or fingerprint(model) != fingerprint(reader.tokeniser):
        raise UserError(f"{source}: not the tokeniser that LaMP was trained on; leave --resume_pth and --vq_name out")


def check_sizes(config: object, flags: dict) -> None:
    """Raise `UserError` if the value of a flag differs from the captioner's `config`.

    `flags` maps the name of a flag to (field of the config, value of the flag). The value is None if the flag is not given.
    """
    for flag, (field, given) in flags.items():
        actual = getattr(config, field, None)
        if given is not None and given != actual:
            raise UserError(f"--{flag} {given}: the captioner has {actual}; leave the flag out, or give {actual}")
