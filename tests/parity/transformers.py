"""Outputs of MoMask's released masked and residual transformers and length estimator, and of LaMP's masked transformer.

The released code is channel-first.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.length import LengthPredictor
from models.masked import MaskedTransformer
from models.residual import ResidualTransformer
from tests.decoded import decoded

Inputs = dict[str, Tensor]
Outputs = dict[str, Callable[[], Tensor]]


def channel_first(logits: Tensor) -> Tensor:
    return logits.transpose(-1, -2)


def masked(model: MaskedTransformer, inputs: Inputs) -> Outputs:
    return lamp_masked(model, inputs) if hasattr(model, "text") else momask_masked(model, inputs)


def momask_masked(model: MaskedTransformer, inputs: Inputs) -> Outputs:
    ids, condition, valid, lengths = inputs["ids"], inputs["cond"], ~inputs["padding_mask"], inputs["m_lens"]
    labels = inputs["labels"]
    counted = labels != model.config.nb_code
    logits = model(ids, condition, valid)  # (B, L, K)
    argmax = {"time_steps": 6, "topkr": 1.0}
    steps = list(decoded(model, condition, lengths, **argmax))

    def guided(scale: float) -> Tensor:
        return channel_first(model.guided(ids, condition, valid, scale))

    return {
        "logits": lambda: channel_first(logits),
        "logits_uncond": lambda: guided(0),
        "fwcs_3": lambda: guided(3),
        "fwcs_1": lambda: guided(1),
        "fwcs_force": lambda: guided(0),
        "ce_loss": lambda: F.cross_entropy(logits[counted], labels[counted]),
        "acc": lambda: (logits[counted].argmax(-1) == labels[counted]).double().mean(),
        "gen_final": lambda: model.generate(condition, lengths, **argmax),
        "gen_ids_in": lambda: torch.stack([step.ids_in for step in steps]),
        "gen_pred": lambda: torch.stack([step.drawn for step in steps]),
        "gen_ids_after": lambda: torch.stack([step.ids for step in steps]),
        "gen_logits": lambda: channel_first(torch.stack([step.logits for step in steps])),
        "gen_uncond_final": lambda: model.generate(condition, lengths, cond_scale=0, **argmax),
    }


def lamp_masked(model: MaskedTransformer, inputs: Inputs) -> Outputs:
    ids, condition, valid, lengths = inputs["ids"], inputs["cond"], ~inputs["padding_mask"], inputs["m_lens"]
    words, written = inputs["input_ids"], inputs["attention_mask"].bool()
    hidden = model.text.qformer.text(words, written)
    from_text = model.text(words, written)
    steps = list(decoded(model, from_text, lengths, time_steps=6, topkr=1.0))

    def guided(condition: Tensor, scale: float) -> Tensor:
        return channel_first(model.guided(ids, condition, valid, scale))

    return {
        "logits": lambda: channel_first(model(ids, condition, valid)),
        "logits_uncond": lambda: guided(condition, 0),
        "logits_text_cond": lambda: guided(from_text, 1),
        "fwcs_3": lambda: guided(condition, 3),
        "fwcs_1": lambda: guided(condition, 1),
        "gen_final": lambda: steps[-1].ids,
        "gen_ids_in": lambda: torch.stack([step.ids_in for step in steps]),
        "gen_pred": lambda: torch.stack([step.drawn for step in steps]),
        "gen_ids_after": lambda: torch.stack([step.ids for step in steps]),
        "gen_logits": lambda: channel_first(torch.stack([step.logits for step in steps])),
        "text_last_hidden": lambda: hidden,
        "text2former": lambda: model.text.projection(hidden),
        "text_query_hidden": lambda: model.text.queries(words, written),
        "text_cond": lambda: from_text,
    }


def residual(model: ResidualTransformer, inputs: Inputs) -> Outputs:
    condition, valid, lengths, history = inputs["cond"], ~inputs["padding_mask"], inputs["m_lens"], inputs["motion_codes"]
    base, layer = inputs["base_ids"], inputs["qids"]
    hidden = model.hidden(history, condition, valid, layer)
    loss, accuracy = model.layer_loss(inputs["all_indices"], lengths, condition, inputs["active_q"])

    def every_layer(scale: float) -> Tensor:
        layers = range(1, model.config.num_quantizers)
        guided = [model.guided(history, condition, valid, torch.full_like(lengths, q), scale) for q in layers]
        return channel_first(torch.stack(guided))

    return {
        "hidden": lambda: channel_first(hidden),
        "hidden_uncond": lambda: channel_first(model.hidden(history, 0 * condition, valid, layer)),
        "logits": lambda: channel_first(model.project(hidden, layer)),
        "fwcs": lambda: every_layer(2),
        "fwcs_1": lambda: every_layer(1),
        "gen_ids": lambda: model.generate(base, condition, lengths, topkr=1.0),
        "gen_logits": lambda: channel_first(
            torch.stack([logits for logits, _ in decoded(model, base, condition, lengths, topkr=1.0)])
        ),
        "gen_ids_2layers": lambda: model.generate(base, condition, lengths, topkr=1.0, layers=2),
        "loss": lambda: loss,
        "loss_acc": lambda: accuracy,
        "token_embed_weight": lambda: model.embeddings,
        "output_proj_weight": lambda: model.projections,
    }


def length(model: LengthPredictor, inputs: Inputs) -> Outputs:
    return {"logits": lambda: model(inputs["cond"])}
