"""Outputs of LaMP's released captioner: what its queries find, the teacher-forced pass over captions, and generated ids."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.caption_opt import CaptionOPT
from models.decoding import Search

PAD = 1  # OPT's
IGNORED = -100


def outputs(model: CaptionOPT, inputs: dict[str, Tensor]) -> dict[str, Callable[[], Tensor]]:
    motion, ids, prompt = inputs["motion"], inputs["caption_ids"], inputs["prompt_ids"]
    latents = model.encoder(motion, None)
    queries = model.read(motion, torch.full((len(motion),), motion.shape[1]))
    prefix = model.prefix(queries)
    before = torch.cat((prefix, model.opt.embed(prompt).expand(len(prefix), -1, -1)), dim=1)
    seen = torch.cat((torch.ones(prefix.shape[:2], dtype=torch.bool), inputs["caption_mask"].bool()), dim=1)
    logits = run(model, torch.cat((prefix, model.opt.embed(ids)), dim=1), seen)
    targets = torch.cat((torch.full(prefix.shape[:2], IGNORED), ids.masked_fill(ids == PAD, IGNORED)), dim=1)

    def generated(beams: int) -> Tensor:
        most, end = int(inputs["max_new_tokens"]), int(inputs["eos_token_id"])
        search = Search(beams=beams, no_repeat=0, max_tokens=most)
        written = model.search(queries, prompt, end, search, 1, torch.arange(len(queries)))[:, 0]
        written = F.pad(written, (0, most - written.shape[1]), value=end)
        return written.masked_fill(((written == end).cumsum(1) - (written == end).long()) > 0, PAD)

    return {
        "motion_embeds": lambda: latents,
        "motion_embeds_proj": lambda: model.context(latents),
        "query_last_hidden": lambda: queries,
        "inputs_opt": lambda: prefix,
        "targets": lambda: targets,
        "logits": lambda: logits,
        "loss": lambda: F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORED),
        "prompt_logits": lambda: run(model, before, torch.ones(before.shape[:2], dtype=torch.bool))[:, -1],
        "greedy_ids": lambda: generated(1),
        "beam_ids": lambda: generated(int(inputs["num_beams"])),
    }


def run(model: CaptionOPT, x: Tensor, seen: Tensor) -> Tensor:
    """Logits (B, L, V) of all places x (B, L, W), of which those `seen` (B, L) count; the others stand before the first place."""
    places = seen.cumsum(1) * seen - 1
    earlier = torch.ones(seen.shape[1], seen.shape[1], dtype=torch.bool).tril()
    return model.opt.logits(model.opt.run(x, places, earlier & seen[:, None, None, :])[0])
