"""Models that declare that every step uses all parameters (for data-parallel training) do so."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import models

BATCH = {
    "codes": torch.randint(16, (3, 12, 2), generator=torch.Generator().manual_seed(0)),
    "lengths": torch.tensor([12, 5, 8]),
    "condition": torch.randn(3, 384, generator=torch.Generator().manual_seed(1)),
}


@pytest.mark.parametrize("kind", ["masked", "residual", "length"])
def test_every_parameter_gets_a_gradient(kind):
    model = models()[kind].train()
    assert model.uses_all_parameters
    model.loss(BATCH)[0].backward()
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None] == []
