"""Flags of the released scripts that have no field in our configs: some are checked against the weights, the others have no effect.

`LEGACY` maps a config class to its flags. Values that were given are in the config's `legacy`, by name; `options.cli.parse` lists
those without effect in a note.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LegacyFlag:
    """A flag: the type of its value, and what it is checked against ("": it has no effect)."""

    name: str
    kind: type = str
    checked: str = ""
    nargs: str | None = None
    choices: tuple | None = None
    flags: tuple[str, ...] = ()
    why: str = ""  # it has no effect

    @property
    def help(self) -> str:
        """The flag's help text."""
        return f"optional; must match: {self.checked}" if self.checked else f"accepted, no effect: {self.why}"


TRAINING = "only for training"
EDITING = "see edit_t2m.py"
GUMBEL = LegacyFlag("gumbel_sample", bool, why="sampling follows the same distribution here")
RESIDUAL = LegacyFlag("use_res_model", bool, why="--res_name selects the residual model")
QUANTIZER = LegacyFlag("quantizer", choices=("ema_reset",), why="codebooks are always learned by moving averages with resets")

TOKENISER = (
    LegacyFlag("nb_code", int, "codes per codebook of the tokeniser"),
    LegacyFlag("down_t", int, "number of times the tokeniser halves the frame rate"),
    LegacyFlag("depth", int, "residual blocks per stage of the tokeniser"),
    LegacyFlag("dilation_growth_rate", int, "the tokeniser's dilation growth; released files do not store it"),
    LegacyFlag("vq_act", str, "the tokeniser's activation; released files do not store it", choices=("relu", "silu", "gelu")),
)
TOKENISER_NAMES = (
    LegacyFlag("resume_pth", str, "the tokeniser that LaMP was trained on (run or weights file)"),
    LegacyFlag("vq_name", str, "the same tokeniser by its run name, if --resume_pth is not given"),
)
GPT = (
    LegacyFlag("num_layers", int, "layers of the GPT"),
    LegacyFlag("embed_dim_gpt", int, "width of the GPT"),
    LegacyFlag("n_head_gpt", int, "attention heads of the GPT"),
    LegacyFlag("ff_rate", int, "feed-forward width of the GPT, as a multiple of its width"),
    LegacyFlag("block_size", int, "maximum tokens per caption"),
)

LEGACY: dict[str, tuple[LegacyFlag, ...]] = {
    "GenT2M": (
        GUMBEL,
        RESIDUAL,
        LegacyFlag("num_batch", int, why="only for evaluation"),
        LegacyFlag("source_motion", why=EDITING),
        LegacyFlag("mask_edit_section", nargs="*", flags=("-msec",), why=EDITING),
    ),
    "EditT2M": (GUMBEL, RESIDUAL),
    "EvalT2M": (GUMBEL,),
    "TrainM2T": (*TOKENISER, *TOKENISER_NAMES, QUANTIZER),
    "EvalM2T": (
        *GPT,
        *TOKENISER,
        *TOKENISER_NAMES,
        QUANTIZER,
        LegacyFlag("drop_out_rate", float, why=TRAINING),
        LegacyFlag("total_iter", int, why=TRAINING),
        LegacyFlag("lr_scheduler", int, nargs="+", why=TRAINING),
        LegacyFlag("lr", float, why=TRAINING),
        LegacyFlag("eval_iter", int, why=TRAINING),
        LegacyFlag("pkeep", float, why=TRAINING),
    ),
}
