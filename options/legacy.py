"""Flags of the released scripts that are not fields of our configs.

Some legacy flags are checked against the weights; all others are ignored. `LEGACY` maps the name of a config class to its legacy
flags. `options.cli.parse` stores the given values in the config's `legacy` dict, and prints a note that lists the ignored flags.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LegacyFlag:
    """A flag of a released script.

    Attributes:
        kind: type of the flag's value.
        checked: the property of the weights that must equal the flag's value; "": the flag is ignored.
        flags: aliases.
        why: the reason why the flag is ignored.
    """

    name: str
    kind: type = str
    checked: str = ""
    nargs: str | None = None
    choices: tuple | None = None
    flags: tuple[str, ...] = ()
    why: str = ""

    @property
    def help(self) -> str:
        """The flag's help text."""
        return f"optional; checked against the weights: {self.checked}" if self.checked else f"accepted but ignored: {self.why}"


TRAINING = "only for training"
EDITING = "see edit_t2m.py"
GUMBEL = LegacyFlag("gumbel_sample", bool, why="sampling here has the same distribution with and without Gumbel noise")
RESIDUAL = LegacyFlag("use_res_model", bool, why="--res_name selects the residual model")
QUANTIZER = LegacyFlag("quantizer", choices=("ema_reset",), why="codebooks are always learned by moving averages with resets")

TOKENISER = (
    LegacyFlag("nb_code", int, "codes per codebook of the tokeniser"),
    LegacyFlag("down_t", int, "number of times the tokeniser halves the frame rate"),
    LegacyFlag("depth", int, "residual blocks per stage of the tokeniser"),
    LegacyFlag("dilation_growth_rate", int, "dilation growth of the tokeniser (released files do not store it)"),
    LegacyFlag("vq_act", str, "activation of the tokeniser (released files do not store it)", choices=("relu", "silu", "gelu")),
)
TOKENISER_NAMES = (
    LegacyFlag("resume_pth", str, "the tokeniser that LaMP was trained on (run or weights file)"),
    LegacyFlag("vq_name", str, "the tokeniser that LaMP was trained on (run), if --resume_pth is not given"),
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
