"""Load LaMP's released Q-Former (`h3d-qformer.tar`, `kit-qformer.tar`) and masked transformer (`t2m.tar`).

The Q-Former becomes our `LaMP`, together with the tokeniser in the same file. The file of the masked transformer also contains the
part of a Q-Former that computes the condition.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from models.lamp import LaMP, LaMPConfig
from models.linear import Linear
from models.masked import MaskedTransformer
from models.qformer import QFormer, QFormerConfig
from models.upstream.tokeniser import tokeniser_from
from models.upstream.transformers import masked_from
from utils.checkpoint import freeze

State = dict[str, Tensor]

BERT_HEAD_WIDTH = 64  # width of an attention head in every BERT
# Released tensor names inside a layer → our names. We keep keys and values in one matrix.
LAYER = {
    "attention.self.query": "attention.q",
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention.norm",
    "crossattention.self.query": "cross.q",
    "crossattention.output.dense": "cross.out",
    "crossattention.output.LayerNorm": "cross.norm",
    "intermediate.dense": "text.ff1",
    "output.dense": "text.ff2",
    "output.LayerNorm": "text.norm",
    "intermediate_query.dense": "query.ff1",
    "output_query.dense": "query.ff2",
    "output_query.LayerNorm": "query.norm",
}
EMBEDDINGS = {"word_embeddings": "words", "position_embeddings": "positions", "LayerNorm": "norm"}
HEADS = {
    "text_proj": "text_embedding",
    "motion_proj": "motion_embedding",
    "itm_head": "match_head",
    "motion_cls": "code_head",
    "Qformer.cls.predictions.transform.dense": "word_head.dense",
    "Qformer.cls.predictions.transform.LayerNorm": "word_head.norm",
}
SINGLE = {"temp": "logit_scale", "Qformer.cls.predictions.bias": "word_head.bias"}
MATRICES = ("motion_projection", "text_projection")
QFORMER = ("Qformer.bert.", "query_tokens")
LAYER_NAME = re.compile(r"bert\.encoder\.layer\.(\d+)\.(.+)\.(weight|bias)")


def lamp_from(state: State, *, bert_heads: int | None = None, **tokeniser_settings: Any) -> LaMP:
    """Build LaMP from a released state dict.

    The result has two tokenisers: `tokeniser` encodes the motions that LaMP takes as input, and `coder` computes the codes that
    LaMP predicts. `bert_heads` is the number of attention heads, by default width / 64. `tokeniser_settings`: see `tokeniser_from`.
    """
    parts = {prefix: under(state, prefix) for prefix in ("vq_model.", "motion_encoder.")}
    coder = tokeniser_from(parts["vq_model."], **tokeniser_settings)
    encoder = {f"vqvae.encoder.{name}": value for name, value in parts["motion_encoder."].items()}
    tokeniser = tokeniser_from({**parts["vq_model."], **encoder}, **tokeniser_settings)
    lamp_state = {name: value for name, value in state.items() if not name.startswith(tuple(parts))}
    config = LaMPConfig(
        **qformer_sizes(lamp_state, bert_heads),
        latent_dim=lamp_state["motion_projection"].shape[0],
        nb_code=lamp_state["motion_cls.weight"].shape[0],
        stride=coder.stride,
        embed_dim=lamp_state["text_proj.weight"].shape[0],
        released=True,
    )
    model = _filled(LaMP, config, _renamed(lamp_state))
    model.tokeniser, model.coder = freeze(tokeniser), freeze(coder)
    return model


def _filled(model: type[nn.Module], config: Any, state: State) -> nn.Module:
    """Build a model with the weights `state`. Random initialisation, which would take seconds, is skipped."""
    with torch.device("meta"):
        empty = model(config)
    dtypes = {name: value.dtype for name, value in empty.state_dict().items()}
    copied = {name: value.to(dtypes.get(name), copy=True) for name, value in state.items()}
    empty.load_state_dict(copied, strict=True, assign=True)
    return empty


def qformer_sizes(state: State, bert_heads: int | None = None) -> dict[str, int]:
    """Fields of `QFormerConfig` from tensor shapes, except `bert_heads`, the number of attention heads (by default width / 64)."""
    words, positions = (state[f"Qformer.bert.embeddings.{name}_embeddings.weight"] for name in ("word", "position"))
    layers = [int(match[1]) for name in state if (match := LAYER_NAME.search(name))]
    crossing = [int(match[1]) for name in state if "crossattention" in name and (match := LAYER_NAME.search(name))]
    return {
        "vocab_size": words.shape[0],
        "hidden_size": words.shape[1],
        "num_hidden_layers": max(layers) + 1,
        "num_attention_heads": bert_heads or words.shape[1] // BERT_HEAD_WIDTH,
        "intermediate_size": state["Qformer.bert.encoder.layer.0.intermediate.dense.weight"].shape[0],
        "max_position_embeddings": positions.shape[0],
        "num_queries": state["query_tokens"].shape[1],
        "cross_width": state["Qformer.bert.encoder.layer.0.crossattention.self.key.weight"].shape[1],
        "cross_every": sorted({*crossing, max(layers) + 1})[1],
    }


def qformer_state(state: State) -> State:
    """Rename the tensors `Qformer.bert.*` and `query_tokens` to our names. Raises `KeyError` for an unknown tensor."""
    renamed = {}
    joined: dict[str, dict[str, Tensor]] = {}  # keys and values, to be concatenated
    for name, value in state.items():
        if match := re.search(r"bert\.embeddings\.(\w+)\.(weight|bias)", name):
            renamed[f"{EMBEDDINGS[match[1]]}.{match[2]}"] = value
        elif match := LAYER_NAME.search(name):
            layer, part, kind = match.groups()
            if part.endswith((".key", ".value")):
                attention = "cross" if part.startswith("cross") else "attention"
                joined.setdefault(f"layers.{layer}.{attention}.kv.{kind}", {})[part.rpartition(".")[2]] = value
            else:
                renamed[f"layers.{layer}.{LAYER[part]}.{kind}"] = value
        elif name == "query_tokens":
            renamed[name] = value[0]
        else:
            raise KeyError(name)
    return renamed | {name: torch.cat((parts["key"], parts["value"])) for name, parts in joined.items()}


def _renamed(state: State) -> State:
    """Rename all tensors but the tokeniser's to our names. Raises `KeyError` for an unknown tensor."""
    qformer = {name: value for name, value in state.items() if name.startswith(QFORMER)}
    renamed = {f"qformer.{name}": value for name, value in qformer_state(qformer).items()}
    for name in state.keys() - qformer.keys():
        stem, _, kind = name.rpartition(".")
        if stem in HEADS:
            renamed[f"{HEADS[stem]}.{kind}"] = state[name]
        elif name in MATRICES:  # in × out
            renamed[f"{name}.weight"] = state[name].T
        elif name in SINGLE:
            renamed[SINGLE[name]] = state[name]
        else:
            raise KeyError(name)
    return renamed


def under(state: State, prefix: str) -> State:
    """The tensors whose names begin with `prefix`, without the prefix."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


# The masked transformer and its text encoder (`t2m.tar`)

PROJECTION = "text2former."


class TextCondition(nn.Module):
    """The text encoder in `t2m.tar`: Q-Former queries attend to a text; their mean output is the condition of the transformer."""

    def __init__(self, qformer: QFormer):
        super().__init__()
        self.qformer = qformer
        self.projection = Linear(qformer.config.hidden_size, qformer.config.cross_width)

    def queries(self, ids: Tensor, valid: Tensor) -> Tensor:
        """Outputs (B, Q, H) of the queries for texts with token ids (B, L) and the mask `valid` (B, L).

        The queries attend to padding too, so L must be 49, as in the training of the released weights.
        """
        context = self.projection(self.qformer.text(ids, valid))
        return self.qformer.queries(context, torch.ones_like(valid))[0]

    def forward(self, ids: Tensor, valid: Tensor) -> Tensor:
        """The conditions (text vectors) (B, H) of texts with token ids (B, L) and the mask `valid` (B, L)."""
        return self.queries(ids, valid).mean(1)


def text_condition(config: dict[str, Any]) -> TextCondition:
    """A new `TextCondition` from the fields of a `QFormerConfig`."""
    return TextCondition(QFormer(QFormerConfig(**config)))


def lamp_masked_from(state: State, *, n_heads: int = 8, bert_heads: int | None = None, stride: int = 4) -> MaskedTransformer:
    """Build LaMP's masked transformer, with its frozen text encoder, from a released state dict. `stride`: frames per token."""
    qformer = {name: value for name, value in state.items() if name.startswith(QFORMER)}
    text = TextCondition(_filled(QFormer, QFormerConfig(**qformer_sizes(qformer, bert_heads)), qformer_state(qformer)))
    text.projection.load_state_dict(under(state, PROJECTION), strict=True)
    transformer = {name: value for name, value in state.items() if not name.startswith((*QFORMER, PROJECTION))}
    model = masked_from(transformer, n_heads=n_heads, attention="additive", stride=stride)
    model.text = freeze(text)
    return model
