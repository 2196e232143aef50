"""Load LaMP's released captioner (`m2t.pth`) as our `CaptionOPT`.

The file lists each weight of OPT under two names, `opt_model.…` and `llm.base_model.model.…`; both tensors share storage. This
module reads the tensors named `llm.base_model.model.…`. The part of a name after this prefix depends on the version of PEFT that
wrote the file. The weights of OPT are not copied; on a CPU, these weights therefore stay memory-mapped to the file.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from models.caption_opt import CaptionOPT, CaptionOPTConfig
from models.opt import FIRST_POSITION
from models.upstream.lamp import QFORMER, qformer_sizes, qformer_state, under
from models.upstream.tokeniser import encoder_sizes, tokeniser_name

State = dict[str, Tensor]

LM = "llm.base_model.model."
ENCODER = "motion_encoder."
OPT_HEAD_WIDTH = 80  # width of an attention head of OPT-2.7B
LORA_SCALE = 2  # alpha / r in the released code; the file does not contain this ratio
# Pattern of tensors that the released code loads but does not use, or that the file contains a second time.
LEFTOVERS = r"(trans_base|trans_head|vq_model|opt_model|Qformer\.cls)\..*|Qformer\.bert\.embeddings\.position_ids"

LAYER = re.compile(r"model\.decoder\.layers\.(\d+)\.(.+)")
PARTS = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.out_proj": "out",
    "self_attn_layer_norm": "norm1",
    "final_layer_norm": "norm2",
    "fc1": "ff1",
    "fc2": "ff2",
}
# PEFT up to 0.2 wrote `lora_A.weight`; later versions insert an adapter name. From 0.7 on, OPT's weights are in `base_layer`.
LORA = re.compile(r"(.+)\.lora_([AB])(?:\.\w+)?\.weight")
OUTSIDE = {
    "lm_head.weight": "words.weight",
    "model.decoder.embed_positions.weight": "positions.weight",
    "model.decoder.final_layer_norm.weight": "norm.weight",
    "model.decoder.final_layer_norm.bias": "norm.bias",
}


def is_captioner(state: State) -> bool:
    """Whether a state dict belongs to LaMP's released captioner."""
    return "opt_proj.weight" in state and any(name.startswith(LM) for name in state)


def captioner_from(
    state: State, *, bert_heads: int | None = None, opt_heads: int | None = None, lora_alpha: int | None = None, **encoder: Any
) -> CaptionOPT:
    """Build the captioner from a released state dict.

    Args:
        bert_heads, opt_heads: number of attention heads of the Q-Former and of OPT; default: width / 64 and width / 80.
        lora_alpha: alpha of LoRA; LoRA's update is multiplied by alpha / rank. Default: twice the rank.
        encoder: `dilation_growth_rate` (default 3) and `vq_act` (default relu) of the motion encoder.

    Raises `KeyError` for an unknown tensor.
    """
    qformer = {name: value for name, value in state.items() if name.startswith(QFORMER)}
    encoder_state = {f"encoder.{name}": value for name, value in under(state, ENCODER).items()}
    if unknown := {name for name in state if not name.startswith((*QFORMER, LM, ENCODER, "opt_proj."))} - {"motion_projection"}:
        raise KeyError(min(unknown))
    opt = opt_state(under(state, LM))
    hidden, rank = opt["words.weight"].shape[1], opt["layers.0.q.lora_a"].shape[0]
    config = CaptionOPTConfig(
        **qformer_sizes({**qformer, "motion_projection": state["motion_projection"]}, bert_heads),
        **encoder_sizes(encoder_state),
        **encoder,
        opt_vocab=opt["words.weight"].shape[0],
        opt_hidden=hidden,
        opt_ff=opt["layers.0.ff1.weight"].shape[0],
        opt_layers=len({name.split(".")[1] for name in opt if name.startswith("layers.")}),
        opt_heads=opt_heads or max(1, hidden // OPT_HEAD_WIDTH),
        opt_positions=opt["positions.weight"].shape[0] - FIRST_POSITION,
        lora_r=rank,
        lora_alpha=lora_alpha or LORA_SCALE * rank,
    )
    renamed = {tokeniser_name(name, config.down_t): value.float() for name, value in encoder_state.items()}
    renamed |= {f"qformer.{name}": value.float() for name, value in qformer_state(qformer).items()}
    renamed |= {"motion_projection.weight": state["motion_projection"].T.float().contiguous()}
    renamed |= {f"projection.{kind}": state[f"opt_proj.{kind}"].float() for kind in ("weight", "bias")}
    renamed |= {f"opt.{name}": value for name, value in opt.items()}
    with torch.device("meta"):
        model = CaptionOPT(config)
    model.load_state_dict(renamed, strict=True, assign=True)
    return model


def opt_state(state: State) -> State:
    """Rename the tensors of OPT and LoRA to our names. The word embeddings, which are tied to the output layer, are read from that
    layer.

    Raises `KeyError` for an unknown tensor.
    """
    renamed = {}
    for name, value in state.items():
        name = name.replace(".base_layer.", ".")
        if name in OUTSIDE:
            renamed[OUTSIDE[name]] = value
        elif match := LAYER.fullmatch(name):
            number, part = match.groups()
            if lora := LORA.fullmatch(part):
                renamed[f"layers.{number}.{PARTS[lora[1]]}.lora_{lora[2].lower()}"] = value
            else:
                stem, _, kind = part.rpartition(".")
                renamed[f"layers.{number}.{PARTS[stem]}.{kind}"] = value
        elif name != "model.decoder.embed_tokens.weight":
            raise KeyError(name)
    return renamed
