"""Flags of the evaluation scripts: one frozen dataclass per script."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import DATASETS, PRECISIONS, Common, option
from options.generate import Captioning


@dataclass(frozen=True)
class EvalVQ(Common):
    """Flags of eval_t2m_vq.py: how well a tokeniser gives motions back."""

    split: str = option("test", "split to evaluate: the file <split>.txt of the dataset folder")
    which_epoch: str = option("", "weights of the run, such as latest; default: the best, else the latest")
    evaluator: str = option("guo", "who judges reconstructions, for FID and its like", choices=("guo", "lamp", "none"))
    evaluator_name: str = option("", "run of the judge; default: the released evaluator where it is, else the only run there")
    repeat_times: int = option(20, "passes of the judge with other draws")
    num_batch: int = option(0, "batches of 32 clips a pass, for a quick look; 0: all")
    ext: str = option("reconstruction", "name of the result files: eval/<ext>.log and eval/<ext>.json")


@dataclass(frozen=True)
class EvalT2M(Common):
    """Flags of eval_t2m_trans_res.py: text to motion by the published protocol."""

    res_name: str = option("", "residual transformer that goes with --name")
    which_epoch: str = option("", "weights of --name, such as latest; default: every weights file of the run")
    split: str = option("test", "split to evaluate: the file <split>.txt of the dataset folder")
    protocol: str = option(
        "standard", "standard, or the variant of LaMP's release: first captions, in order", choices=("standard", "lamp")
    )
    evaluator: str = option("guo", "who judges: the field's matching evaluator, or LaMP (paper's table 2)", choices=("guo", "lamp"))
    evaluator_name: str = option("", "run of the judge; default: the released evaluator where it is, else the only run there")
    repeat_times: int = option(20, "passes with other draws")
    num_batch: int = option(0, "batches of 32 clips a pass, for a quick look; 0: all")
    mm_batches: int = option(3, "batches whose texts MultiModality takes, 30 motions each; 0: leave it out")
    batch_size: int = option(256, "motions generated at a time")
    time_steps: int = option(10, "steps of decoding")
    cond_scale: float = option(4.0, "guidance of the base tokens by the text; 1: none")
    res_cond_scale: float = option(5.0, "guidance of the residual tokens; 1: none")
    temperature: float = option(1.0, "above 1: more varied, below: more certain")
    topkr: float = option(0.9, "share of the unlikeliest codes that are never drawn")
    precision: str = option("fp32", "of the transformers: auto is bf16 where the GPU has it", choices=PRECISIONS)
    gumbel_sample: bool = option(False, "accepted and without effect: our draws follow the same distribution")
    lamp_bertscore: bool = option(False, "also LaMP-BertScore: motions are captioned, and captions held against the texts")
    captioner: str = option("", "captioner's run (train_m2t.py --exp-name); default: the only one there")
    bert_score: str = option("", "BERTScore's model, a name or a folder; default: roberta-large if it is here, else MiniLM")
    bert_score_layer: int = option(0, "layer of --bert_score; 0: bert-score's own choice, of a folder the last one")
    ext: str = option("text2motion", "name of the result files: eval/<ext>.log and eval/<ext>.json")


@dataclass(frozen=True)
class EvalRetrieval(Common):
    """Flags of eval_retrieval.py: how well LaMP finds motions by texts and texts by motions; with --query, a search."""

    name: str = option(
        "", "LaMP run (train_lamp.py --name); default: the only one there, else the embedded one", flags=("--lamp_name",)
    )
    dataset_name: str | None = option(
        None, "dataset; default: t2m, with --query the one whose folder holds a LaMP run", choices=DATASETS
    )
    split: str = option("test", "split to evaluate: the file <split>.txt of the dataset folder")
    protocol: list[str] = option(
        ["all", "threshold", "dissimilar", "batches"], "which galleries to look in, and what counts as found",
        choices=("all", "threshold", "dissimilar", "batches"), nargs="+",
    )  # fmt: skip
    pool: str = option("max", "over the queries, a motion's similarity to a text is their", choices=("max", "mean"))
    rerank: int = option(0, "so many best are put in order by the matching head; 0: none")
    caption: int = option(1, "which caption stands for its clip, from 1, the last if there are fewer; 0: a random one, by --seed")
    which_epoch: str = option("", "weights of the run, such as latest; default: the best, else the latest")
    ext: str = option("retrieval", "name of the result files: eval/<ext>.log and eval/<ext>.json, of a search <output_dir>/<ext>/")
    query: str = option("", "find motions by this text, instead of evaluating")
    motions: str = option("", "folder of .npy and .bvh files to search; default: the motions of the dataset")
    top: int = option(5, "motions to find")
    formats: list[str] = option([], "files to write of the motions found", choices=("html", "npy", "bvh", "glb", "mp4"), nargs="+")
    output_dir: str = option("./generation", "where folders of found motions lie")


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
