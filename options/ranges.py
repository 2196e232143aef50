"""The valid range of each numeric flag. A script checks the ranges before it loads any data or weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from utils.errors import UserError

FRACTION, POSITIVE, COUNT, SIZE = (0, 1), (1, None), (0, None), (1, 100_000)
RANGES: dict[str, tuple[float, float | None]] = {
    "seed": (0, 2**63 - 1),
    "candidates": (1, 1000),
    **dict.fromkeys(("max_epoch", "log_every", "save_latest", "eval_every_e", "accumulate", "window_size"), POSITIVE),
    **dict.fromkeys(("workers", "num_captions", "top", "max_upload"), POSITIVE),
    **dict.fromkeys(("batch_size", "repeat_times", "time_steps", "num_quantizers", "nb_code", "code_dim", "width"), SIZE),
    **dict.fromkeys(("latent_dim", "ff_size", "n_layers", "n_heads", "num_layers", "embed_dim_gpt", "n_head_gpt", "ff_rate"), SIZE),
    **dict.fromkeys(("block_size", "lora_r", "lora_alpha", "num_queries", "embed_dim", "hidden_dim", "cross_width"), SIZE),
    **dict.fromkeys(("max_iters", "max_minutes", "eval_iter", "warm_up_iter", "clip_grad", "weight_decay", "min_lr"), COUNT),
    **dict.fromkeys(("match_rows", "loss_joints", "commit", "rerank", "caption", "eval_fid", "eval_batches"), COUNT),
    "choice_temperature": COUNT,
    "pictures": (0, 100),
    **dict.fromkeys(("beta2", "gamma", "mu", "dropout", "drop_out_rate", "lora_dropout", "pkeep", "cond_drop_prob"), FRACTION),
    **dict.fromkeys(("quantize_dropout_prob", "ema_decay", "topkr", "drop_encoder"), FRACTION),
    "temperature": (0.001, None),
    "compositions": (0, 0.9),
    "max_text": (3, 100_000),
    "port": (0, 65_535),
    "depth": (0, 100),
    "text_noise": (0, 10),
    "down_t": (0, 8),
    "dilation_growth_rate": (1, 16),
    "gpu_id": (-1, 1023),
    **dict.fromkeys(("fps", "input_fps"), (1, 1000)),
    **dict.fromkeys(("skip_frames", "input_sample", "before", "after", "motion_length"), COUNT),
}


def check_ranges(values: Mapping[str, Any]) -> None:
    """Raise `UserError` for the first flag whose value is infinite, NaN or out of the flag's range."""
    for name, value in values.items():
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                continue
            if not math.isfinite(number):
                raise UserError(f"--{name} {number}: must be a finite number")
            minimum, maximum = RANGES.get(name, (None, None))
            if (minimum is not None and number < minimum) or (maximum is not None and number > maximum):
                limits = f"at least {minimum:,}" if maximum is None else f"from {minimum:,} to {maximum:,}"
                raise UserError(f"--{name} {number}: must be {limits}")
            if abs(number) >= 2**63:
                raise UserError(f"--{name} {str(number)[:20]}…: must be less than 2^63")
