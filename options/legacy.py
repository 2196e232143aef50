"""Legacy flags: flags of LaMP's released scripts that are not fields of this project's configs.

Some legacy flags are only checked: the script stops with an error if the value of such a flag differs from the corresponding
property of the weights. All other legacy flags are ignored.

`LEGACY` maps the name of a config class to the legacy flags of its script. If legacy flags are given, `options.cli.parse` stores
their values in the config's dict `legacy`, and prints a note that lists those legacy flags that are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LegacyFlag:
    """A flag of one of LaMP's released scripts, accepted only for compatibility.

    Attributes:
        kind: type of the flag's value.
        checked: the help text of a flag whose value is compared with the weights. If `checked` is "", the flag is ignored.
        flags: other names of the flag.
        why: why the flag is ignored.
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
        return self.checked or f"accepted but ignored: {self.why}"


SIZE = "optional check: the script stops with an error if the loaded model has another value"
NOT_STORED = (
    f"{SIZE}; also used to load the tokeniser given by --resume_pth or --vq_name if this tokeniser is a released file, because "
    "released files do not store this value"
)
TRAINED_ON = "optional check: the script stops with an error if LaMP was trained on another tokeniser"
RELEASED = "ignored for the released captioner"
TRAINING = "only training uses this flag"
EDITING = "motions are edited with edit_t2m.py"
GUMBEL = LegacyFlag("gumbel_sample", bool, why="the flag would not change the distribution of the samples")
RESIDUAL = LegacyFlag("use_res_model", bool, why="--res_name selects the residual model")
QUANTIZER = LegacyFlag("quantizer", choices=("ema_reset",), why="ema_reset is the only method of learning codebooks")

TOKENISER = (
    LegacyFlag("nb_code", int, f"number of codes in each codebook of the tokeniser; {SIZE}"),
    LegacyFlag("down_t", int, f"number of times the tokeniser halves the frame rate; {SIZE}"),
    LegacyFlag("depth", int, f"number of residual blocks per stage of the tokeniser; {SIZE}"),
    LegacyFlag("dilation_growth_rate", int, f"dilation growth rate of the tokeniser; {NOT_STORED}"),
    LegacyFlag("vq_act", str, f"activation of the tokeniser; {NOT_STORED}", choices=("relu", "silu", "gelu")),
)
TOKENISER_NAMES = (
    LegacyFlag("resume_pth", str, f"tokeniser on which LaMP was trained (a run or a weights file); {TRAINED_ON}; {RELEASED}"),
    LegacyFlag(
        "vq_name", str,
        f"run of the tokeniser on which LaMP was trained; {TRAINED_ON}; ignored if --resume_pth is given; {RELEASED}",
    ),
)
GPT = (
    LegacyFlag("num_layers", int, f"number of layers of the GPT; {SIZE}"),
    LegacyFlag("embed_dim_gpt", int, f"width of the GPT; {SIZE}"),
    LegacyFlag("n_head_gpt", int, f"number of attention heads of the GPT; {SIZE}"),
    LegacyFlag("ff_rate", int, f"ratio of the GPT's feed-forward width to the GPT's width; {SIZE}"),
    LegacyFlag("block_size", int, f"maximum number of tokens per caption; {SIZE}"),
)

LEGACY: dict[str, tuple[LegacyFlag, ...]] = {
    "GenT2M": (
        GUMBEL,
        RESIDUAL,
        LegacyFlag("num_batch", int, why="only the evaluation uses this flag"),
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
