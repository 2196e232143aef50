"""The steps of generation, one by one, for tests that compare logits or intermediate tokens."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from models.masked import MaskedTransformer


@torch.no_grad()
def decoded(model, *arguments, **options) -> Iterator:
    """The steps of a masked transformer or the layers of a residual transformer; arguments as in `model.generate`."""
    tensors, settings = model.inputs(*arguments, **options)
    yield from (model.steps if isinstance(model, MaskedTransformer) else model.layers)(*tensors, *settings)
