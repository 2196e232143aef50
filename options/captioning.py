"""Flags of the motion-to-text scripts; the same rules as in options/config.py.

Names are those of LaMP's release (`--exp-name`, `--num-layers`, …). As everywhere, hyphens and underscores are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from options.config import DATASETS, Common, Training, option


@dataclass(frozen=True)
class TrainM2T(Training):
    """Flags of train_m2t.py: motion to text, on a frozen LaMP. Sizes of tokeniser and LaMP come from their files."""

    name: str = option("", "name of this run; its folder is <out_dir>/<dataset_name>/<name>", flags=("--exp_name",))
    dataset_name: str = option("t2m", "dataset", choices=DATASETS, flags=("--dataname",))
    out_dir: str = option("", "where this run's folder lies; default: checkpoints_dir")
    batch_size: int = option(80, "clips a step, on each process")
    max_iters: int = option(150_000, "steps to train; 0: no limit but --max_epoch", flags=("--total_iter",))
    max_epoch: int = option(100_000, "epochs to train; the steps of --total_iter usually end a run first")
    lr: float = option(5e-5, "peak learning rate")
    weight_decay: float = option(0.01, "AdamW's weight decay")
    milestones: list[int] = option([75_000], "steps at which the rate is multiplied by gamma", nargs="+", flags=("--lr_scheduler",))
    eval_iter: int = option(10_000, "steps between validations; 0: by epochs, see --eval_every_e")
    lamp_name: str = option("", "LaMP that reads the motion (train_lamp.py --name); default: the only one there")
    resume_pth: str = option("", "tokeniser that LaMP was trained on, a run or a weights file; default: the one LaMP names")
    vq_name: str = option("", "tokeniser's run, where --resume_pth is not given")
    resume_trans: str = option("", "captioner to begin with, a run or a weights file; of the same sizes", flags=("--init",))
    decoder: str = option("gpt", "gpt: trained from scratch; lm: a Hugging Face causal LM with LoRA", choices=("gpt", "lm"))
    texts: list[str] = option(
        [], "plain language instead of motions, to learn the words first: folders, .zip or .tar.gz of caption files", nargs="+"
    )
    num_layers: int = option(12, "GPT: layers")
    embed_dim_gpt: int = option(1024, "GPT: width")
    n_head_gpt: int = option(16, "GPT: attention heads")
    ff_rate: int = option(4, "GPT: width of the feed-forward over its width")
    block_size: int = option(51, "most tokens of a caption, its end included")
    drop_out_rate: float = option(0.1, "GPT: dropout")
    pkeep: float = option(1.0, "GPT: share of a caption's words that training shows as they are; the others are random words")
    use_codes: bool = option(False, "GPT: the prefix holds the motion's base codes as well as LaMP's queries")
    lm: str = option("", "LM: local folder, .gguf file or hub name, such as facebook/opt-2.7b; default: SmolLM2 from its wheel")
    lora_r: int = option(16, "LM: rank of LoRA's matrices")
    lora_alpha: int = option(32, "LM: LoRA's scale")
    lora_dropout: float = option(0.05, "LM: LoRA's dropout")
    bits: int = option(0, "LM: load its matrices in so many bits (bitsandbytes, on a GPU); 0: as they are", choices=(0, 4, 8))
    prompt: str = option("", "LM: words before each caption, which are not learned, such as 'a man is'")
    nb_code: int | None = option(None, "codes of the tokeniser; checked")
    down_t: int | None = option(None, "halvings of the tokeniser; checked")
    depth: int | None = option(None, "residual blocks a stage of the tokeniser; checked")
    quantizer: str = option("ema_reset", "how the tokeniser's codebook is learned", choices=("ema_reset",))
    dilation_growth_rate: int | None = option(None, "of the tokeniser, where a released file cannot tell; else checked")
    vq_act: str | None = option(
        None, "of the tokeniser, where a released file cannot tell; else checked", choices=("relu", "silu", "gelu")
    )


@dataclass(frozen=True)
class Captioning(Common):
    """Flags of the scripts that write captions."""

    resume_trans: str = option("", "captioner, a run or a weights file; default: --name, else the only captioner there")
    which_epoch: str = option("", "weights of the run, such as latest; default: the best, else the latest")
    batch_size: int = option(32, "motions captioned at a time")
    beams: int = option(5, "width of the beam search; 1: the likeliest word each time")
    candidates: int = option(1, "captions that the search finds of each motion; LaMP's matching head takes the best")
    sample: bool = option(False, "draw words by chance (nucleus sampling) instead of searching")
    top_p: float = option(0.9, "with --sample: words that together have this chance are drawn from")
    temperature: float = option(1.0, "with --sample: above 1 more varied, below more certain")
    no_repeat: int = option(3, "no such many words in a row come twice in a caption; 0: they may")
    repetition_penalty: float = option(1.0, "above 1: words that were said are less likely again")
    length_penalty: float = option(1.0, "beam search divides log-probabilities by length to this power; above 1: longer captions")
    max_tokens: int = option(40, "longest caption, in word pieces")


@dataclass(frozen=True)
class GenM2T(Captioning):
    """Flags of gen_m2t.py: motion files to text. With no --name or --resume_trans, the only captioner there."""

    dataset_name: str | None = option(None, "dataset of the captioner; default: the one whose folder holds it", choices=DATASETS)
    motions: list[str] = option(
        [], "motions to describe: .npy (joints or features), .bvh, .amc beside its .asf, or folders of them", nargs="+"
    )
    asf: str = option("", "skeleton of .amc files, where it is not beside them")
    candidates: int = option(9, "captions that the search finds of each motion; LaMP's matching head takes the best")
    num_captions: int = option(1, "captions of each motion, best first: LaMP's matching head puts them in order")
    window: int = option(
        196, "most frames described at a time, from 24, at the dataset's rate; a longer motion is told in even windows, with times"
    )
    ext: str = option("motion2text", "name of the folder of results, <output_dir>/<ext>")
    output_dir: str = option("./generation", "where folders of results lie")
    formats: list[str] = option(
        ["txt", "json", "srt"], "files to write: captions.txt, captions.json, subtitles of each motion",
        choices=("txt", "json", "srt"), nargs="+",
    )  # fmt: skip


@dataclass(frozen=True)
class EvalM2T(Captioning):
    """Flags of M2T_eval.py: captions of a split's motions, scored against people's. Sizes given must be the captioner's."""

    name: str = option("", "name of the results; of the captioner too if --resume_trans names none", flags=("--exp_name",))
    dataset_name: str = option("t2m", "dataset", choices=DATASETS, flags=("--dataname",))
    out_dir: str = option("", "results go to <out_dir>/<dataset_name>/<name>/eval; default: checkpoints_dir")
    split: str = option("test", "split to evaluate: the file <split>.txt of the dataset folder")
    references: list[str] = option(
        ["raw", "tokens"], "what captions are held against: people's words as written, or their processed tokens",
        choices=("raw", "tokens"), nargs="+",
    )  # fmt: skip
    repeat_times: int = option(1, "passes with other crops; more than one gives confidence intervals")
    num_batch: int = option(0, "batches of 32 clips a pass, for a quick look; 0: all")
    bert_score: str = option("", "BERTScore's model, a name or a folder; default: roberta-large if it is here, else MiniLM")
    bert_score_layer: int = option(0, "layer of --bert_score; 0: bert-score's own choice, of a folder the last one")
    evaluator: str = option("guo", "who judges R-precision and MM-Dist", choices=("guo", "lamp", "none"))
    evaluator_name: str = option("", "run of the judge; default: the released evaluator where it is, else the only run there")
    samples: int = option(12, "captions to print, and to write with their motions' page")
    ext: str = option("captioning", "name of the result files: eval/<ext>.log, .json and .html")
    # Of the training script: checked where given.
    num_layers: int | None = option(None, "GPT: layers; checked")
    embed_dim_gpt: int | None = option(None, "GPT: width; checked")
    n_head_gpt: int | None = option(None, "GPT: attention heads; checked")
    ff_rate: int | None = option(None, "GPT: feed-forward; checked")
    block_size: int | None = option(None, "most tokens of a caption; checked")
    nb_code: int | None = option(None, "codes of the tokeniser; checked")
    down_t: int | None = option(None, "halvings of the tokeniser; checked")
    depth: int | None = option(None, "residual blocks a stage of the tokeniser; checked")
    dilation_growth_rate: int | None = option(None, "of the tokeniser, where a released file cannot tell; else checked")
    vq_act: str | None = option(
        None, "of the tokeniser, where a released file cannot tell; else checked", choices=("relu", "silu", "gelu")
    )
    resume_pth: str = option("", "tokeniser, a run or a weights file; default: the one LaMP names")
    vq_name: str = option("", "tokeniser's run, where --resume_pth is not given")
    quantizer: str = option("ema_reset", "accepted: the one way that codebooks are learned here", choices=("ema_reset",))
    drop_out_rate: float = option(0.1, "accepted and without effect: for training")
    total_iter: int = option(0, "accepted and without effect: for training")
    lr_scheduler: list[int] = option([], "accepted and without effect: for training", nargs="+")
    lr: float = option(0.0, "accepted and without effect: for training")
    eval_iter: int = option(0, "accepted and without effect: for training")
    pkeep: float = option(1.0, "accepted and without effect: for training")
