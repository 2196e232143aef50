"""The text-to-motion pipeline: prompts → condition → length → base codes → residual codes → motion.

Input: B prompts, and optionally lengths (B,) in frames. Output: features (B, T, D) in the dataset's own units (not normalised),
zero beyond each motion's end, and lengths (B,) in frames. The motion of a prompt depends on the seed and on the sample number of
the motion, but not on other prompts in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from data.store import Normaliser
from models.bert import find_tokenizer
from models.layers import valid_mask
from models.length import LengthPredictor
from models.loading import Loader, require_kind
from models.masked import MaskedTransformer
from models.residual import ResidualTransformer
from models.selector import Selector
from models.vqvae import MotionTokeniser
from pipelines.candidates import FactScorer, MatchScorer, Scorer, varied
from pipelines.conditioner import Conditioner, JointCondition, LaMPCondition, OwnText, load_conditioner
from pipelines.layers import FEATURES, layers
from pipelines.readings import EncoderKey, Reading, encoder_keys, needed_encoders, reading_of
from pipelines.runs import EMBEDDED_DIR
from pipelines.sampling import EMBEDDED_SAMPLING, SamplingSettings
from pipelines.seams import CONTEXT, SAMPLES_PER_WINDOW, soften
from pipelines.sequence import BRIDGE, Action, generate_steps
from pipelines.steps import steps
from utils.checkpoint import CheckpointFolder
from utils.errors import UserError, note
from utils.runtime import autocast

SHARED = ("stride", "nb_code", "num_quantizers")  # sizes that must be equal in a transformer and its tokeniser


class TextToMotion:
    """All models that generate motion from text.

    Args:
        encoder: the text encoder.
        tokeniser: decodes codes to normalised features.
        mean, std: mean and standard deviation (D,) that normalise the tokeniser's features.
        masked: generates base codes, those of the first quantiser.
        residual: generates the codes of the other quantisers; None: only base codes are decoded.
        length: predicts lengths; None: lengths must be given.
        filling: a second masked transformer with full attention, which sees both sides of a gap. If some codes are given, this
            transformer is used instead of `masked`. None: `masked` is always used.
        selector: scores candidates. None: LaMP's matching head scores them, if LaMP is one of the text encoders.
        reads: maps a model ("masked", "filling", "residual", "length" or "selector") to the part of the encoded text (condition)
            that the model takes as input. Models without an entry take the whole condition.
        precision: precision in which codes are sampled (`utils.runtime.autocast`). Everything else is computed in float32.

    Raises `UserError` if the parts do not fit together.
    """

    def __init__(
        self,
        encoder: Conditioner,
        tokeniser: MotionTokeniser,
        mean: Tensor,
        std: Tensor,
        masked: MaskedTransformer,
        residual: ResidualTransformer | None = None,
        length: LengthPredictor | None = None,
        filling: MaskedTransformer | None = None,
        selector: Selector | None = None,
        reads: dict[str, Reading] | None = None,
        precision: str = "fp32",
    ):
        self.reads = {} if reads is None else reads
        self.precision = precision
        self.encoder, self.tokeniser, self.mean, self.std = encoder, tokeniser, mean, std
        self.masked, self.filling, self.residual, self.length = masked, filling, residual, length
        self.sampling = SamplingSettings()  # the defaults for these weights
        self.sources: list[Path] = []  # the weights files read by `load`
        width = tokeniser.config.dim
        if {tuple(mean.shape), tuple(std.shape)} != {(width,)}:
            raise UserError(f"mean.npy, std.npy: {len(mean)} and {len(std)} numbers, but the tokeniser needs {width}; use its own")
        parts = {"masked": masked, "filling": filling, "residual": residual, "length": length, "selector": selector}
        for kind, model in parts.items():
            if model is not None:
                self._check_fit(kind, model.config)
        self.scorer: Scorer | None = None  # scores candidates
        if selector is not None and width != FEATURES:
            raise UserError("a selector needs motions of HumanML3D's skeleton, with 22 joints; leave --selector_name out")
        if selector is not None:
            self.scorer = FactScorer(selector, partial(self.part, "selector"))
        elif lamp := next((part.lamp for part in getattr(encoder, "parts", [encoder]) if isinstance(part, LaMPCondition)), None):
            self.scorer = MatchScorer(lamp)

    def _check_fit(self, kind: str, config) -> None:
        for size in SHARED:
            expected, actual = getattr(config, size, None), getattr(self.tokeniser, size)
            if expected not in (None, actual):
                raise UserError(
                    f"the {kind} model was trained on a tokeniser of {size} {expected}, but this one has {actual}; "
                    "use the one that it was trained on"
                )
        width = len(self.reads[kind].columns) if kind in self.reads else self.encoder.dim
        if config.cond_dim != width:
            raise UserError(
                f"the {kind} model needs conditions of width {config.cond_dim}, but the text encoder returns width {width}; "
                "use the encoder that the model was trained with"
            )

    @classmethod
    def load(
        cls,
        checkpoints_dir: str | Path,
        dataset_name: str,
        name: str,
        res_name: str | None = None,
        length_name: str | None = None,
        fill_name: str | None = None,
        selector_name: str | None = None,
        device: torch.device | str = "cpu",
        tag: str | None = None,
        loader: Loader | None = None,
        precision: str = "fp32",
    ) -> TextToMotion:
        """Load the masked transformer `name` with its tokeniser and text encoder, and the other named models.

        `tag` selects the masked transformer's weights, such as "latest"; None: the best. If a `loader` is given, it
        determines the device. If the tokeniser has one codebook, the residual transformer is ignored and a note is printed. Raises
        `UserError` for models that are missing or do not fit together.
        """
        loader = loader or Loader(device)
        device = loader.device

        def folder(name: str) -> CheckpointFolder:
            return CheckpointFolder(checkpoints_dir, dataset_name, name)

        def load(kind: str, name: str, tag: str | None = None):
            model, metadata = loader(folder(name).root, tag)
            require_kind(metadata, folder(name).root, kind, remedy="check the name")
            return model, metadata

        def load_encoder(key: EncoderKey) -> Conditioner:
            kind, lamp_name, no_query, bert = key
            if kind == "own":  # the released masked transformer contains its text encoder
                pieces = masked.text.qformer.config.vocab_size - 1  # the last one is [DEC]
                return OwnText(masked.text, find_tokenizer(folder(name).root, checkpoints_dir, pieces))
            settings = {"lamp_name": lamp_name, "query": not no_query, "bert": bert, "loader": loader}
            return load_conditioner(kind, checkpoints_dir, dataset_name, **settings)

        masked, metadata = load("masked", name, tag)
        vq_name = metadata.get("vq_name")
        if not vq_name:
            raise UserError(f"{folder(name).root}: does not name its tokeniser; add a line 'vq_name: NAME' to {folder(name).opt}")
        tokeniser = load("tokeniser", vq_name)[0]
        if res_name and tokeniser.num_quantizers == 1:
            note(f"--res_name {res_name} is not used: the tokeniser has one codebook")
            res_name = None
        parts, keys = {}, {"masked": encoder_keys(metadata)}
        names = (
            ("filling", "masked", fill_name), ("residual", "residual", res_name), ("length", "length", length_name),
            ("selector", "selector", selector_name),
        )  # fmt: skip
        for part, kind, run_name in names:
            if run_name:
                parts[part], run_metadata = load(kind, run_name)
                keys[part] = encoder_keys(run_metadata)
                # A selector uses no tokeniser, and the released length predictor fits all released models.
                if kind != "selector" and not (kind == "length" and run_metadata.get("released")):
                    _check_pair(run_name, run_metadata, name, metadata)
        mean, std = (torch.from_numpy(row).to(device) for row in Normaliser.load(folder(vq_name).meta).rows)
        encoders = {key: load_encoder(key) for key in needed_encoders(keys.values())}  # the masked model's come first
        encoder, reads = next(iter(encoders.values())), None
        if len(encoders) > 1 or len(set(keys.values())) > 1:
            encoder = JointCondition(list(encoders.values()))
            reads = {part: reading_of(of_model, encoders, device) for part, of_model in keys.items()}
        model = cls(encoder, tokeniser, mean, std, masked, **parts, reads=reads, precision=precision)
        model.sources = loader.files
        if Path(checkpoints_dir).resolve() == EMBEDDED_DIR:
            model.sampling = EMBEDDED_SAMPLING
        return model

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[str],
        lengths: Tensor | None = None,
        sampling: SamplingSettings | None = None,
        *,
        first_sample: int = 0,
        **changes: float,
    ) -> tuple[Tensor, Tensor]:
        """Generate motions from prompts. Returns features (B, T, D) and lengths (B,) in frames.

        Args:
            prompts: B texts.
            lengths: (B,) in frames, rounded down to whole tokens; 0 or None: predicted.
            sampling: sampling settings; None: the defaults for the weights (`self.sampling`).
            first_sample: sample number of the first prompt; it and the seed determine its motion. The others get the next numbers.
            changes: fields of `sampling` to change, such as `seed=1`.

        Candidate c of sample n has the random numbers of sample n · `sampling.candidates` + c, so a motion does not depend on the
        other prompts.

        Raises `UserError` for an empty prompt, a length shorter than a token, and candidates if there is no model that scores them.
        """
        sampling = replace(sampling or self.sampling, **changes)
        self.check_scorer(sampling.candidates)
        plans = [self.plan(prompt, sampling) for prompt in prompts]
        motions, lengths_of = [], []
        for _, block in groupby(range(len(prompts)), key=lambda row: [len(step) for step in plans[row]]):
            rows = list(block)
            steps = [[self.action(texts) for texts in zip(*step)] for step in zip(*(plans[row] for row in rows))]
            given = None if lengths is None else lengths[rows]
            features, frames = self._in_steps(steps, given, sampling=sampling, first_sample=first_sample + rows[0])
            motions.append(features)
            lengths_of.append(frames)
        if len(motions) == 1:  # the usual case: nothing to concatenate
            return motions[0], lengths_of[0]
        return pad_sequence([motion for block in motions for motion in block], batch_first=True), torch.cat(lengths_of)

    def action(self, texts: Sequence[str]) -> Action:
        """Encode the texts of one action, one text per motion. Returns an `Action`, the pair of texts and encoded texts."""
        return Action(texts, self.encoder(texts))

    def check_scorer(self, candidates: int) -> None:
        """Raise `UserError` if there are several candidates and no model that scores them."""
        if candidates > 1 and self.scorer is None:
            problem = f"--candidates {candidates}: there is no selector, and no LaMP among the text encoders, that scores them"
            raise UserError(f"{problem}; name a selector with --selector_name, or train one with train_selector.py")

    def plan(self, prompt: str, sampling: SamplingSettings) -> list[list[str]]:
        """Split a prompt into steps, which follow each other. A step is returned as the list of its text and, if the step has two
        simultaneous actions, the texts of both actions."""
        stepwise = sampling.stepwise and self.fills and self.length is not None
        return [self.with_actions(text, sampling) for text in (steps(prompt) if stepwise else [prompt])]

    def with_actions(self, text: str, sampling: SamplingSettings) -> list[str]:
        """Return the text and, if it describes two simultaneous actions that can be composed, the texts of both actions."""
        return layers(text) if sampling.layered and self.fills and self.tokeniser.config.dim == FEATURES else [text]

    @property
    def fills(self) -> bool:
        """Whether the model that generates base codes has full attention and was trained to fill gaps.

        Only such a model can generate base codes between and after given codes.
        """
        config = (self.filling or self.masked).config
        return config.attention == "full" and config.infill > 0

    def _in_steps(
        self, steps: Sequence[Sequence[Action]], lengths: Tensor | None, *, sampling: SamplingSettings, first_sample: int
    ) -> tuple[Tensor, Tensor]:
        """Generate motions of B prompts with K steps each. Returns features (B, T, D) and lengths (B,) in frames.

        If `lengths` is None, or 0 for a motion, the lengths of its steps are predicted for each candidate. If their sum is above
        the length of the longest training motion, they are shortened in proportion. The steps of a motion can come from different
        candidates, so the motion can be somewhat longer.
        """
        sizes, totals = [], None
        for k, (whole, *_) in enumerate(steps):
            frames = None if len(steps) > 1 else lengths
            sizes.append(self.sizes(whole, frames, sampling, first_sample + k * SAMPLES_PER_WINDOW))
        sizes = torch.stack(sizes, dim=-1)  # (B, C, K)
        if len(steps) > 1:
            longest = self.length.config.classes - 1  # tokens of the longest motion in training
            sizes[..., 1:] = (sizes[..., 1:] + BRIDGE).clamp(max=longest - CONTEXT)
            ends = sizes.cumsum(2)
            shorter = (ends * (longest / ends[..., -1:]).clamp(max=1)).round().long()
            sizes = shorter.diff(dim=2, prepend=torch.zeros_like(shorter[..., :1]))
            if lengths is not None:
                self.check_lengths(lengths)
                totals = lengths.to(sizes.device) // self.tokeniser.stride
        (codes, tokens), starts = generate_steps(self, steps, sizes, totals, sampling=sampling, first_sample=first_sample)
        features, frames = self.features(codes, tokens)
        if len(steps) == 1:
            return features, frames
        seams = (starts[:, 1:] * self.tokeniser.stride).tolist()
        softened = [soften(row[None, :length], at)[0] for row, length, at in zip(features, frames.tolist(), seams)]
        return pad_sequence(softened, batch_first=True), frames

    def sizes(self, action: Action, lengths: Tensor | None, sampling: SamplingSettings, first_sample: int) -> Tensor:
        """Lengths in tokens (B, C) for C candidates of each motion, given or predicted from the text of `action`.

        `lengths` (B,) are in frames; 0 or None: predicted for each candidate. Predicted lengths are varied (`varied`).
        """
        count = sampling.candidates
        condition = action.condition.repeat_interleave(count, dim=0)
        lengths = None if lengths is None else lengths.repeat_interleave(count)
        numbers = {"seed": sampling.seed, "first_sample": count * first_sample}
        return self.count_tokens(condition, lengths, candidates=count, **numbers).view(-1, count)

    def count_tokens(self, condition: Tensor, lengths: Tensor | None, candidates: int = 1, **sample: int) -> Tensor:
        """Convert `lengths` (B,) in frames to tokens. Lengths of 0, or all if `lengths` is None, are predicted from encoded texts
        (`condition`).

        `candidates` successive rows are candidates for one motion; their predicted lengths are varied (`varied`). `sample` contains
        the arguments `seed` and `first_sample` of `LengthPredictor.predict`.
        """
        stride, tokens = self.tokeniser.stride, None
        if lengths is not None:
            self.check_lengths(lengths)
            tokens = lengths.to(condition.device) // stride
            if bool((lengths != 0).all()):
                return tokens
        if self.length is None:
            raise UserError("no length predictor: name one with --length_name, or give each prompt a length in frames")
        predicted = varied(self.length.predict(self.part("length", condition), **sample).view(-1, candidates)).flatten()
        predicted = predicted.clamp(max=self.length.config.classes - 1)
        return predicted if tokens is None else torch.where(tokens > 0, tokens, predicted)

    def check_lengths(self, lengths: Tensor) -> None:
        """Raise `UserError` if a length in frames is neither 0 nor at least one token.

        `lengths` is on the CPU, because the CPU would have to wait for a check on the GPU.
        """
        if bool(((lengths != 0) & (lengths < self.tokeniser.stride)).any()):
            given = int(lengths[lengths != 0].min())
            raise UserError(f"{given} frames are less than one token; give at least {self.tokeniser.stride}")

    def part(self, model: str, condition: Tensor) -> Tensor:
        """Return the part of an encoded text that `model` ("masked", "filling", "residual", "length" or "selector") uses."""
        return self.reads[model](condition) if model in self.reads else condition

    @torch.no_grad()
    def draw(
        self,
        condition: Tensor,
        tokens: Tensor,
        given: Tensor | None = None,
        *,
        sampling: SamplingSettings | None = None,
        first_sample: int = 0,
    ) -> Tensor:
        """Sample codes (B, L, Q), or (B, L, 1) without a residual transformer.

        Args:
            condition: encoded texts (B, …) of the B motions.
            tokens: (B,) lengths in tokens; codes after the end of a motion are −1.
            given: (B, L, Q) codes that are kept, −1 where codes are to be generated. None: all codes are generated.
            sampling: sampling settings; None: the defaults for the weights (`self.sampling`).
            first_sample: sample number of the first motion; it and the seed determine the motion. The others get the next numbers.
        """
        s = sampling or self.sampling
        draw = {"temperature": s.temperature, "topkr": s.topkr, "seed": s.seed, "first_sample": first_sample}
        steps = {"time_steps": s.time_steps, "choice_temperature": s.choice_temperature}
        base = None if given is None else given[..., 0]
        part, masked = ("masked", self.masked) if given is None or self.filling is None else ("filling", self.filling)
        with autocast(condition.device, self.precision):
            codes = masked.generate(self.part(part, condition), tokens, base, cond_scale=s.cond_scale, **steps, **draw)  # (B, L)
            if self.residual is None:
                return codes[..., None]
            return self.residual.generate(
                codes, self.part("residual", condition), tokens, given, cond_scale=s.res_cond_scale, **draw
            )

    @torch.no_grad()
    def features(self, codes: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Decode codes (B, L, Q) of motions with lengths `tokens` (B,).

        Returns features (B, T, D) in the dataset's own units, zero after the end of each motion, and lengths (B,) in frames.
        """
        frames = tokens * self.tokeniser.stride
        motion = self.tokeniser.decode(codes, frames) * self.std + self.mean
        return motion * valid_mask(frames, motion.shape[1])[..., None], frames


def _check_pair(other: str, other_metadata: dict, name: str, metadata: dict) -> None:
    """Raise `UserError` if two models were trained on different tokenisers."""
    if (other_metadata.get("vq_name") or "") != (metadata.get("vq_name") or ""):
        described = f"'{other}' was trained with vq_name {other_metadata.get('vq_name')}, '{name}' with {metadata.get('vq_name')}"
        raise UserError(f"{described}; use models of the same tokeniser")
