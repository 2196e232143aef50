"""Outputs of the released tokenisers: LaMP's `HumanVQVAE` and MoMask's `RVQVAE`. The released code is channel-first."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from models.vqvae import MotionTokeniser


def outputs(model: MotionTokeniser, inputs: dict[str, Tensor]) -> dict[str, Callable[[], Tensor]]:
    motion = inputs["motion"]
    codes = model.encode(motion)  # (B, L, Q)

    def code_vectors() -> Tensor:
        layers = [model.quantizer.layer(q).codebook[codes[..., q]] for q in range(model.num_quantizers)]
        return rearrange(torch.stack(layers), "q b l c -> q b c l")

    return {
        "encoder_output": lambda: rearrange(model.encode_latent(motion), "b l c -> b c l"),
        "decoded": lambda: model.decode(codes),
        "fwd_motion": lambda: model(motion)[0][:1],
        "fwd_commit_loss": lambda: model(motion)[1].commitment,
        "fwd_perplexity": lambda: model(motion)[1].perplexity.mean(),
        # LaMP
        "ids": lambda: codes[..., 0],
        "ids_odd": lambda: model.encode(inputs["motion_odd"])[..., 0],
        "decoded_batch_call": lambda: model.decode(rearrange(codes[:2, :3], "b l q -> 1 (b l) q")),  # it joins clips in time
        # MoMask
        "code_idx": lambda: codes,
        "code_idx_odd": lambda: model.encode(inputs["motion_odd"]),
        "all_codes": code_vectors,
        "decoded_first2": lambda: model.decode(codes[:1, :, :2]),
        "decoded_padded": lambda: model.decode(inputs["ids_padded"][1:]),
    }
