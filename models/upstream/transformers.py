"""Load MoMask's released transformers and length estimator as our models: tensors are renamed, sizes come from tensor shapes.

The released files contain the state dicts under the keys `t2m_transformer`, `res_transformer` and `estimator`. Tensor shapes do not
determine the number of attention heads; the default is 6, as in MoMask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.length import LengthConfig, LengthPredictor
from models.masked import MaskedConfig, MaskedTransformer
from models.residual import ResidualConfig, ResidualTransformer

State = dict[str, Tensor]

# Released name → our name, replaced in this order. If one name is a prefix of another, the longer name must come first.
NAMES = {
    "seqTransEncoder.layers": "encoder.layers",
    "self_attn.in_proj_weight": "attention.qkv.weight",
    "self_attn.in_proj_bias": "attention.qkv.bias",
    "self_attn.out_proj": "attention.out",
    "linear1": "ff1",
    "linear2": "ff2",
    "input_process.poseEmbedding": "input",
    "output_process.dense": "head.dense",
    "output_process.LayerNorm": "head.norm",
    "output_process.poseFinal": "head.final",
}
LENGTH_NAMES = {0: "linears.0", 1: "norms.0", 4: "linears.1", 5: "norms.1", 8: "linears.2", 9: "norms.2", 11: "output"}


def _renamed(state: State) -> State:
    """Rename the tensors of a released state dict to our names."""
    renamed = {}
    for name, value in state.items():
        for old, new in NAMES.items():
            name = name.replace(old, new)
        renamed[name] = value
    return renamed


def _sizes(state: State) -> dict[str, int]:
    """Sizes common to masked and residual transformers, from a renamed state dict."""
    latent_dim, code_dim = state["input.weight"].shape
    layers = {name.split(".")[2] for name in state if name.startswith("encoder.layers.")}
    return {
        "latent_dim": latent_dim,
        "code_dim": code_dim,
        "cond_dim": state["cond_emb.weight"].shape[1],
        "ff_size": state["encoder.layers.0.ff1.weight"].shape[0],
        "n_layers": len(layers),
    }


def masked_from(state: State, *, n_heads: int = 6, attention: str = "full", stride: int = 4) -> MaskedTransformer:
    """Build MoMask's masked transformer (`stride`: frames per token); with `attention="additive"` (see
    `models.layers.attention_mask`), build LaMP's."""
    state = _renamed(state)
    settings = {"n_heads": n_heads, "attention": attention, "stride": stride}
    config = MaskedConfig(nb_code=len(state["token_emb.weight"]) - 2, **settings, **_sizes(state))
    model = MaskedTransformer(config)
    model.load_state_dict(state)
    return model


def residual_from(state: State, *, n_heads: int = 6, stride: int = 4) -> ResidualTransformer:
    """Build MoMask's residual transformer.

    If the released model does not share input and output tables, its logits are 2 W h + bias (W: output table, h: hidden state),
    and the last row of the bias is unused. `stride` is the number of frames per token.
    """
    state = _renamed(state)
    shared = "embed_proj_shared_weight" in state
    if shared:
        parts = ("token_embed_weight_", "embed_proj_shared_weight", "output_proj_weight_")
        state["tables"] = torch.cat([state.pop(part) for part in parts])
    else:
        state["input_tables"] = state.pop("token_embed_weight")
        state["output_tables"] = state.pop("output_proj_weight")
        state["output_bias"] = state.pop("output_proj_bias")[:-1]
    config = ResidualConfig(
        nb_code=state["tables" if shared else "input_tables"].shape[1] - 1,
        num_quantizers=state["quant_emb.weight"].shape[1],
        stride=stride,
        n_heads=n_heads,
        share_weight=shared,
        weight_gain=1.0 if shared else 2.0,
        **_sizes(state),
    )
    model = ResidualTransformer(config)
    model.load_state_dict(state)
    return model


def length_from(state: State, *, stride: int = 4) -> LengthPredictor:
    """Build MoMask's length estimator; `stride` is the number of frames per token."""
    renamed = {}
    for name, value in state.items():
        _, index, kind = name.split(".")
        renamed[f"{LENGTH_NAMES[int(index)]}.{kind}"] = value
    first, last = renamed["linears.0.weight"], renamed["output.weight"]
    sizes = {"cond_dim": first.shape[1], "classes": last.shape[0], "hidden_dim": first.shape[0]}
    model = LengthPredictor(LengthConfig(**sizes, stride=stride))
    model.load_state_dict(renamed)
    return model
