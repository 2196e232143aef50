"""A trained LaMP model with its motion tokeniser, its WordPiece tokenizer, and the mean and standard deviation of its features.

Captions are strings. Motions are features (B, T, D), normalised with this mean and standard deviation, and lengths (B,) in frames.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from data.store import Clips, Normaliser
from models.bert import by_length, find_tokenizer, load_tokenizer, padded, token_ids
from models.lamp import LaMP
from models.loading import Loader, require_kind
from models.vqvae import MotionTokeniser
from pipelines.runs import LAMP, resolve
from utils.checkpoint import CheckpointFolder, freeze
from utils.errors import UserError
from utils.progress import progress


class LanguageMotion:
    """Embeds and matches captions and motions, without gradients. `mean` and `std` (D,) normalise the features.

    Raises `UserError` if the tokeniser has another stride or code width than LaMP needs.
    """

    def __init__(self, lamp: LaMP, tokeniser: MotionTokeniser, tokenizer: Tokenizer, mean: np.ndarray, std: np.ndarray):
        if tokeniser.stride != lamp.config.stride or tokeniser.config.code_dim != lamp.config.latent_dim:
            actual = f"{tokeniser.stride} frames and width {tokeniser.config.code_dim}"
            expected = f"{lamp.config.stride} frames and width {lamp.config.latent_dim}"
            raise UserError(f"LaMP needs tokens of {expected}, but this tokeniser has {actual}; use LaMP's own tokeniser")
        self.lamp, self.tokeniser, self.tokenizer = freeze(lamp), freeze(tokeniser), tokenizer
        self.mean, self.std = mean, std

    @classmethod
    def load(
        cls,
        checkpoints_dir: str | Path,
        dataset_name: str,
        name: str = "",
        device: torch.device | str = "cpu",
        tag: str | None = None,
        loader: Loader | None = None,
    ) -> LanguageMotion:
        """Load the LaMP run `name` ("": the only LaMP run) with the tokeniser that this LaMP was trained on.

        `tag` selects the weights, such as "latest"; None: the best. If a `loader` is given, it determines the device. Raises
        `UserError` if there is no LaMP run, or if there are several and `name` is empty.
        """
        run = resolve(LAMP, checkpoints_dir, dataset_name, name)
        checkpoints_dir, dataset_name, _ = run.address
        folder = CheckpointFolder(*run.address)
        loader = loader or Loader(device)
        lamp, metadata = loader(run.weights(tag))
        require_kind(metadata, folder.root, "lamp", remedy="train one with train_lamp.py")
        mean, std = Normaliser.load(folder.meta).rows
        tokeniser = lamp.tokeniser
        if tokeniser is not None:  # a released file, which contains its tokeniser but no vocabulary
            tokenizer = find_tokenizer(folder.root, checkpoints_dir, lamp.config.vocab_size - 1)
        else:
            tokeniser, _ = loader(CheckpointFolder(checkpoints_dir, dataset_name, metadata["vq_name"]).root)
            tokenizer = load_tokenizer(folder.root)
        return cls(lamp, tokeniser, tokenizer, mean, std)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights and the vocabulary."""
        digest = hashlib.sha256(self.tokenizer.to_str().encode())
        for model in (self.lamp, self.tokeniser):
            for name, value in sorted(model.state_dict().items()):
                digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        """Unit embeddings (N, E) of captions."""
        return self._embed(captions, self.lamp.text_features)

    @torch.no_grad()
    def conditions(self, captions: Sequence[str], query: bool = True) -> Tensor:
        """Encode captions as input (N, H) for generators: the mean query output or, without `query`, the [CLS] output of each."""
        return self._embed(captions, lambda ids, lengths: self.lamp.condition(ids, lengths, query))

    @torch.no_grad()
    def motion_features(self, motion: Tensor, lengths: Tensor) -> Tensor:
        """Unit embeddings (B, Q, E) of normalised motions (B, T, D), one per query of LaMP. `lengths` (B,) are in frames."""
        return self.lamp.motion_features(*self.latents(motion, lengths))

    def clip_features(self, clips: Clips) -> Tensor:
        """Unit embeddings (N, Q, E) of clips, one per query of LaMP, on the model's device. Clips are cut to whole tokens."""
        sizes = self.lamp.config
        features = torch.empty(len(clips), sizes.num_queries, sizes.embed_dim, device=self.device)
        with progress(total=len(clips), desc="motions", unit="clip") as bar:
            for batch in clips.batches(Normaliser(self.mean, self.std)):
                features[batch["index"].to(self.device)] = self.motion_features(batch["motion"], batch["lengths"])
                bar.update(len(batch["index"]))
        return features

    @torch.no_grad()
    def project_texts(self, captions: Sequence[str]) -> Tensor:
        """Embeddings (N, E) of captions, not scaled to unit length."""
        return self._embed(captions, self.lamp.project_text)

    @torch.no_grad()
    def project_motions(self, motion: Tensor, lengths: Tensor) -> Tensor:
        """Embeddings (B, Q, E) of normalised motions (B, T, D), one per query of LaMP, not scaled to unit length."""
        return self.lamp.project_motion(*self.latents(motion, lengths))

    @torch.no_grad()
    def match(self, captions: Sequence[str], motion: Tensor, lengths: Tensor) -> Tensor:
        """Log-odds (B,) that caption b matches motion b, from normalised motions (B, T, D) and lengths (B,) in frames."""
        return self.match_latents(captions, *self.latents(motion, lengths))

    @torch.no_grad()
    def match_latents(self, captions: Sequence[str], latents: Tensor, lengths: Tensor) -> Tensor:
        """Log-odds (B,) that caption b matches motion b, from the outputs `latents` (B, N, C) of the tokeniser's encoder.

        `lengths` (B,) are in tokens.
        """
        ids, text_lengths = padded(token_ids(self.tokenizer, captions, self.lamp.config.max_text), self.device)
        return self.lamp.match(ids, text_lengths, latents, lengths)

    @torch.no_grad()
    def captions(self, motion: Tensor, lengths: Tensor) -> list[str]:
        """Caption each motion with LaMP's caption branch, by greedy decoding."""
        ids = self.lamp.caption(*self.latents(motion, lengths), end=self.tokenizer.token_to_id("[SEP]"))
        size = self.tokenizer.get_vocab_size()  # also the id of [DEC], which is not in the vocabulary
        return self.tokenizer.decode_batch([[piece for piece in row if piece < size] for row in ids.tolist()])

    @torch.no_grad()
    def latents(self, motion: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode normalised motions (B, T, D) with the tokeniser. Returns its encoder's outputs (B, N, C) and lengths in tokens."""
        motion, lengths = motion.to(self.device), lengths.to(self.device)
        return self.tokeniser.encode_latent(motion, lengths), lengths // self.tokeniser.stride

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.lamp.logit_scale.device

    def _embed(self, captions: Sequence[str], embed: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return by_length(token_ids(self.tokenizer, captions, self.lamp.config.max_text), embed, self.device)

