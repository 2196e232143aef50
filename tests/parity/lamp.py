"""Outputs of LaMP's released pretraining model: passes of the Q-Former, features, the four losses, embeddings for retrieval."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.lamp import LaMP


def outputs(model: LaMP, inputs: dict[str, Tensor]) -> dict[str, Callable[[], Tensor]]:
    motion, ids, valid = inputs["motion"], inputs["input_ids"], inputs["attention_mask"].bool()
    rows, text_lengths = torch.arange(len(ids)), valid.sum(1)
    latents = model.tokeniser.encode_latent(motion)
    codes = model.coder.encode(motion)[..., 0]
    context, context_valid = model.motion_context(latents, torch.full_like(text_lengths, latents.shape[1]))
    queries, caches = model.qformer.queries(context, context_valid)
    words = model.qformer.text(ids, valid)
    motion_features = F.normalize(model.motion_embedding(queries), dim=-1)
    text_features = F.normalize(model.text_embedding(words[:, 0]), dim=-1)
    to_text = model.scale * model.similarity(motion_features, text_features)  # (B motions, B texts)
    negatives = rows, inputs["neg_motion_idx"], inputs["neg_text_idx"]
    text, other = torch.cat((rows, rows, negatives[2])), torch.cat((rows, negatives[1], rows))
    caption_logits = model.words(model.qformer.caption(model.decoder_ids(ids), valid, caches)[0])
    grounding = model.text_context(ids, words)
    grounded = model.query_context(grounding, valid)
    losses = {
        "loss_ptc": model.contrastive_loss(motion_features, text_features, rows),
        "loss_ptm": model.matching_loss(ids, text_lengths, context, context_valid, negatives, rows),
        "loss_lm": model.captioning_loss(ids, valid, caches),
        "loss_gen": model.generation_loss(grounding, valid, codes),
    }
    arrays = {
        "motion_embeds": latents,
        "motion_embeds_proj": context,
        "query_last_hidden": queries,
        "query_past_key": torch.stack([keys for keys, _ in caches]),
        "query_past_value": torch.stack([values for _, values in caches]),
        "text_last_hidden": words,
        "motion_feats": motion_features,
        "motion_re_feats": F.normalize(motion_features.mean(1), dim=-1),
        "text_feat": text_features,
        "sim_p2t_max": to_text,
        "sim_t2p_max": to_text.T,
        "weights_t2p": to_text.T.softmax(-1),
        "weights_p2t": to_text.softmax(-1),
        "itm_logits": model.match_logits(ids[text], text_lengths[text], context[other], context_valid[other]),
        "lm_input_ids": model.decoder_ids(ids),
        "lm_labels": model.decoder_ids(ids).where(valid, -100),
        "lm_logits": caption_logits,
        "t2m_text_embeds": grounding,
        "t2m_query_hidden": grounded,
        "motion_cls": model.code_head(grounded),
        "motion_targets": codes,
        **losses,
        "loss": sum(losses.values()),
        "retrieval_motion": model.motion_embedding(queries).mean(1),
        "retrieval_text": model.text_embedding(words[:, 0]),
    }
    return {name: lambda value=value: value for name, value in arrays.items()}
