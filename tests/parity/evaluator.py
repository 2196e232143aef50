"""Outputs of the released matching evaluator, and of the code that prepares its captions and motions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data.store import Normaliser, padded
from data.text import crop_length
from models.evaluator import UNSEEN, Evaluator
from models.words import CLASSES, Words, framed

Inputs = dict[str, Tensor]
Outputs = dict[str, Callable[[], Tensor]]

WIDEST = 196  # frames of the released code's batches


def embeddings(model: Evaluator, inputs: Inputs) -> Outputs:
    """The released wrapper wants texts longest first, and returns rows by descending length of motion."""
    motion, lengths = inputs["motions"], inputs["m_lens"]
    text = model.embed_text(inputs["word_embs"], inputs["pos_onehot"], inputs["cap_lens"])
    model.config = replace(model.config, max_frames=motion.shape[1])  # the fixture's batch is as wide as this, not 196
    embedded = model.embed_motion(motion, lengths)
    order = torch.argsort(inputs["cap_lens"], descending=True, stable=True)
    align = torch.from_numpy(np.argsort(lengths[order].numpy())[::-1].copy())
    return {
        "movements": lambda: model.movement_encoder(motion[..., :-UNSEEN]),
        "text_emb": lambda: text,
        "motion_emb": lambda: embedded,
        "cap_order": lambda: order,
        "wrapper_align": lambda: align,
        "wrapper_text": lambda: text[order][align],
        "wrapper_motion": lambda: embedded[order][align],
        "wrapper_motion_only": lambda: embedded[order][align],
    }


def captions(inputs: Inputs, folder: Path) -> Outputs:
    """Words and crops as the released dataset makes them; each case tells the draws that it would leave to chance."""
    words = Words.from_glove(folder)
    tokens, cases = (json.loads(bytes(inputs[name].tolist())) for name in ("token_strings", "case_json"))
    batch = words(case["tokens"] for case in cases)
    frames = np.array([case["frames"] for case in cases])
    units = [case["unit_length"] for case in cases]
    kept = np.array([crop_length(n, case["coin"] == "double", unit) for n, case, unit in zip(frames, cases, units)])
    looked_up = torch.tensor([words.look_up(token) for token in tokens])  # (N, 2)
    names = ["_".join(framed(case["tokens"])[0]) for case in cases]

    def motion() -> Tensor:
        normaliser = Normaliser(inputs["mean"].numpy(), inputs["std"].numpy())
        starts = np.minimum([case["start"] for case in cases], frames - kept)  # a case may name one that cannot be drawn
        return padded(inputs["motion_full"].numpy(), starts, kept, WIDEST, normaliser)["motion"]

    return {
        "word_index": lambda: looked_up[:, 0],
        "word_vec": lambda: words.vectors[looked_up[:, 0]],
        "pos_onehot": lambda: F.one_hot(looked_up[:, 1], len(CLASSES)).double(),
        "case_m_length": lambda: torch.from_numpy(kept),
        "case_sent_len": lambda: batch["text_lengths"],
        "case_start_max": lambda: torch.from_numpy(frames - kept),
        "case_word_emb": lambda: batch["words"],
        "case_pos": lambda: batch["pos"],
        "case_motion": motion,
        "case_tokens": lambda: torch.tensor(list(json.dumps(names).encode()), dtype=torch.uint8),
    }
