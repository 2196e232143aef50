"""The text encoders that models were trained with, and the part of the encoders' outputs that each model takes as input.

The models of a pipeline may have been trained with different encoders. Each prompt is encoded once by each encoder, and the outputs
of the encoders are concatenated to a joint condition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pipelines.conditioner import Conditioner

EncoderKey = tuple[str, str, bool, str]  # kind, LaMP run, no_query, BERT folder


@dataclass(frozen=True)
class Reading:
    """The part of an encoded text (condition) that a model takes as input.

    `columns` (C,) are indices; `words` states whether the rows of the word pieces are included.
    """

    columns: Tensor
    words: bool

    def __call__(self, condition: Tensor) -> Tensor:
        """Select this part from the concatenated outputs of all text encoders, (B, D) or (B, 1 + W, D)."""
        if condition.ndim == 3 and not self.words:
            condition = condition[:, 0]
        return condition[..., self.columns]


def encoder_keys(metadata: dict) -> tuple[EncoderKey, ...]:
    """Return keys (kind, LaMP run, no_query, BERT folder) of the text encoders that a model was trained with, from its metadata."""
    lamp = (metadata.get("lamp_name") or "", bool(metadata.get("no_query")), "")
    bert = ("", False, metadata.get("bert") or "")
    settings = {"lamp": lamp, "sentence": bert, "words": bert}
    return tuple((kind, *settings.get(kind, ("", False, ""))) for kind in metadata["text_encoder"].split("+"))


def needed_encoders(models: Iterable[tuple[EncoderKey, ...]]) -> list[EncoderKey]:
    """Return the text encoders that all models need together, without duplicates. `models` has one tuple of encoders per model.

    A `sentence` encoder is omitted if there is a `words` encoder with the same BERT, because the first row of the `words` encoder's
    output equals the output of the `sentence` encoder.
    """
    keys = list(dict.fromkeys(key for of_model in models for key in of_model))
    return [key for key in keys if key[0] != "sentence" or ("words", *key[1:]) not in keys]


def reading_of(keys: Sequence[EncoderKey], encoders: dict[EncoderKey, Conditioner], device: torch.device) -> Reading:
    """Return which part of a condition, the concatenated outputs of all `encoders`, a model takes as input.

    The model was trained with the encoders `keys`.
    """
    starts = dict(zip(encoders, accumulate((encoder.dim for encoder in encoders.values()), initial=0)))
    used = [key if key in encoders else ("words", *key[1:]) for key in keys]
    columns = [column for key in used for column in range(starts[key], starts[key] + encoders[key].dim)]
    return Reading(torch.tensor(columns, device=device), any(key[0] == "words" for key in keys))
