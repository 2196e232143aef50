"""Train a text-to-motion model on a frozen tokeniser: the masked transformer, the residual transformer or the length predictor.

    python train_t2m_transformer.py --stage masked --name mtrans --vq_name vq --dataset_name open --batch_size 64

`--text_encoder` selects the text encoder: LaMP (the run named by `--lamp_name`, of the same dataset), CLIP or a sentence encoder.
All clips are tokenised and all captions encoded once, before the first step. The script writes
`checkpoints/<dataset_name>/<name>/`. With `--eval_fid N`, `net_best_fid` contains the weights with the lowest FID on the validation
split. `--pictures N` logs pictures of generated motions for N validation clips in TensorBoard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from data.prompts import STRIDE
from options.cli import parse
from options.train import TrainT2M
from utils.errors import UserError, script

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from torch import Tensor, nn

    from data.conditions import Conditions
    from data.encoded import CaptionedTokens
    from data.store import Normaliser
    from data.text import CaptionedClips
    from evaluation.in_training import Generator
    from evaluation.judges import Judge
    from models.length import LengthPredictor
    from models.masked import MaskedTransformer
    from models.residual import ResidualTransformer
    from models.vqvae import MotionTokeniser
    from pipelines.conditioner import Conditioner
    from training.parts import Evaluation

SIZES = ("latent_dim", "ff_size", "n_layers", "n_heads", "dropout", "cond_drop_prob", "attention", "infill")
# Flags whose defaults are the values of the weights given by --init.
INHERITED = ("latent_dim", "ff_size", "n_layers", "n_heads", "attention", "text_encoder")
# Flags that are saved as metadata, because generation needs them.
ORIGIN = ("dataset_name", "vq_name", "text_encoder", "lamp_name", "no_query", "bert")
# Config fields whose values may differ from those of the weights given by --init.
FREE = ("cond_dim", "word_dim", "dropout", "cond_drop_prob", "attention", "infill")
CONDITION_LAYERS = ("cond_emb.", "word_emb.", "linears.0.")  # prefixes of the layers that read the condition, in any stage
VALIDATION_ROUNDS = 4  # passes over the validation split, each with different masks, because the loss of a single pass is noisy


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(TrainT2M, argv)
    for flag in ("name", "vq_name"):
        if not getattr(config, flag):
            raise UserError(f"--{flag} is missing: give the run a --name, and name its tokeniser with --vq_name")
    from training.begin import in_group

    in_group(train, with_lamp_named(with_sizes_of_init(config)))


def with_sizes_of_init(config: TrainT2M) -> TrainT2M:
    """Return the config with the sizes and the text encoder of the weights given by --init, unless flags set them."""
    from dataclasses import replace

    from models.loading import load_model
    from training.begin import init_weights

    source = {}
    if config.init and not config.is_continue:
        metadata = load_model(init_weights(config))[1]
        source = {**metadata["config"], "text_encoder": metadata.get("text_encoder")}
    given = {name: getattr(config, name) for name in INHERITED}
    filled = {name: source.get(name) if value is None else value for name, value in given.items()}
    if filled["text_encoder"] in (None, "own"):  # "own": released weights that contain the text encoder
        filled["text_encoder"] = "lamp"
    return replace(config, **filled)


def with_lamp_named(config: TrainT2M) -> TrainT2M:
    """Return the config with the name of the LaMP run that encodes the texts, so that the name is saved as metadata.

    Raises `UserError` if there is no such run, and for flags that do not apply to the stage or the text encoder.
    """
    from dataclasses import replace

    from pipelines.runs import LAMP, resolve

    if config.infill is not None and (config.stage != "masked" or not 0 <= config.infill <= 1):
        raise UserError(f"--infill {config.infill}: give a number from 0 to 1, or leave --infill out; only for the masked stage")
    for flag in ("eval_fid", "pictures"):
        if getattr(config, flag) and config.stage == "length":
            raise UserError(f"--{flag} {getattr(config, flag)}: the length stage generates no motion; leave the flag out")
    if "lamp" in config.text_encoder.split("+"):
        return replace(config, lamp_name=resolve(LAMP, config.checkpoints_dir, config.dataset_name, config.lamp_name).known_as)
    if config.lamp_name or config.no_query:
        raise UserError(f"--text_encoder {config.text_encoder}: --lamp_name and --no_query are only for LaMP; leave them out")
    return config


def train(config: TrainT2M) -> None:
    """Compute motion tokens, encode the captions, build the model and train it."""
    from dataclasses import asdict

    from data.balance import sampling_weights
    from data.store import MotionStore, Normaliser
    from data.text import CaptionedClips
    from evaluation.in_training import judge_of
    from models.loading import load_model
    from motion.spec import get_spec
    from pipelines.caption_index import write_index
    from pipelines.conditioner import load_conditioner
    from training.trainer import Trainer
    from utils.checkpoint import CheckpointFolder, freeze
    from utils.runtime import Distributed, resolve_device, seed_everything

    spec = get_spec(config.dataset_name, config.data_root, config.cache_dir)
    device = resolve_device(config.gpu_id)
    folder = CheckpointFolder(config.checkpoints_dir, config.dataset_name, config.name)
    vq_folder = CheckpointFolder(config.checkpoints_dir, config.dataset_name, config.vq_name)
    tokeniser = freeze(load_model(vq_folder.root)[0]).to(device)
    check_tokeniser(config, tokeniser)
    judge = judge_of(config, device)
    normaliser = Normaliser.load(vq_folder.meta)
    encoder = load_conditioner(
        config.text_encoder, config.checkpoints_dir, config.dataset_name,
        lamp_name=config.lamp_name, query=not config.no_query, bert=config.bert, device=device,
    )  # fmt: skip
    processes = Distributed.from_environment()
    settings = {"rank": processes.rank, "world": processes.world}
    with processes.first_on_node():
        store = MotionStore(spec)
        train_clips = CaptionedClips(spec, "train", store)
        settings["weights"] = sampling_weights(train_clips.clips.names, spec.root, config.balance, config.compositions)
        train_tokens = tokens(train_clips, tokeniser, normaliser, encoder, config, settings)
        val_clips = CaptionedClips(spec, "val", store)
        val_tokens = tokens(val_clips, tokeniser, normaliser, encoder, config, {})
    seed_everything(config.seed)
    model = build_model(config, tokeniser, train_tokens.conditions, spec.max_motion)
    widths = [part.dim for part in getattr(encoder, "parts", [encoder])]
    model.augment.set_(train_tokens.conditions, widths, config.text_noise, config.drop_encoder)
    print(f"{config.stage}: {sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M parameters")
    if config.init and not config.is_continue:
        start_from_init_(model, config, encoder.fingerprint)
    origin = {name: getattr(config, name) for name in ORIGIN}
    metadata = {"kind": config.stage, "config": asdict(model.config), "condition": encoder.fingerprint, **origin}
    generator = new_generator(config, tokeniser, normaliser, encoder)
    validate = validation(val_tokens, pictures(config, val_clips, generator))
    best = ("loss", "min") if config.stage == "length" else ("accuracy", "max")
    evaluated = evaluation(config, val_clips, generator, judge)
    trainer = Trainer(
        model, train_tokens, config, folder, validate=validate, best=best, evaluation=evaluated, model_metadata=metadata
    )
    normaliser.save(folder.meta)
    if config.stage == "masked" and processes.rank == 0:
        write_index(spec, folder.root)
    trainer.fit()


def check_tokeniser(config: TrainT2M, tokeniser: MotionTokeniser) -> None:
    """Raise `UserError` if the model of --stage cannot be trained on this tokeniser."""
    if tokeniser.stride != STRIDE:
        size = f"its tokens have {tokeniser.stride} frames, not {STRIDE}"
        raise UserError(f"--vq_name {config.vq_name}: {size}; train a tokeniser with --down_t 2")
    if config.stage == "residual" and tokeniser.num_quantizers == 1:
        raise UserError(f"--vq_name {config.vq_name}: has one codebook, so there are no residual tokens; skip the residual stage")


def tokens(
    clips: CaptionedClips, tokeniser: MotionTokeniser, normaliser: Normaliser, encoder: Conditioner, config: TrainT2M,
    settings: dict,
) -> CaptionedTokens:  # fmt: skip
    """Return batches of the motion tokens and encoded captions of a split; tokens and captions are cached on disk.

    `settings` are further arguments of `CaptionedTokens`.
    """
    from pathlib import Path

    from data.conditions import Conditions
    from data.encoded import CaptionedTokens, cached_tokens
    from pipelines.conditioner import cached_conditions
    from utils.checkpoint import fingerprint

    device = next(tokeniser.parameters()).device
    digest = fingerprint(tokeniser, normaliser.mean, normaliser.std)

    def encode(motion, lengths):
        return tokeniser.encode(motion.to(device), lengths.to(device))

    store = cached_tokens(clips.clips, encode, normaliser, tokeniser.stride, digest)
    cache = Path(clips.clips.rows.filename).parent
    conditions = cached_conditions(encoder, [caption.text for caption in clips.captions], cache)
    if config.stage == "length":
        conditions = Conditions(conditions.vectors)  # the length predictor does not read the outputs for word pieces
    print(f"{len(clips)} clips, {len(clips.captions)} captions")
    return CaptionedTokens(clips, store, conditions, batch_size=config.batch_size, seed=config.seed, **settings)


def build_model(
    config: TrainT2M, tokeniser: MotionTokeniser, conditions: Conditions, max_motion: int
) -> MaskedTransformer | ResidualTransformer | LengthPredictor:
    """A new model for --stage.

    The layers whose input is the encoded text are initialised so that they whiten `conditions`, the encoded training captions. In a
    masked or residual transformer, the token embeddings are initialised from the tokeniser's codebooks. `max_motion` is the length
    of the longest clips in frames.
    """
    from models.length import LengthConfig, LengthPredictor
    from models.masked import MaskedConfig, MaskedTransformer
    from models.residual import ResidualConfig, ResidualTransformer

    sizes = {name: getattr(config, name) for name in SIZES if getattr(config, name) is not None}
    sizes |= {"stride": tokeniser.stride, "cond_dim": conditions.dim}
    if config.stage == "length":
        settings = {name: sizes[name] for name in ("stride", "cond_dim", "dropout") if name in sizes}
        model = LengthPredictor(LengthConfig(classes=max_motion // tokeniser.stride + 1, **settings))
    else:
        books = codebooks(tokeniser)  # (Q, K, C)
        sizes |= {"nb_code": tokeniser.nb_code, "code_dim": books.shape[2], "word_dim": conditions.word_dim}
        if config.stage == "masked":
            model = MaskedTransformer(MaskedConfig(**sizes))
        else:
            model = ResidualTransformer(ResidualConfig(num_quantizers=len(books), share_weight=config.share_weight, **sizes))
        model.init_tokens_(books)
    model.init_condition_(conditions.vectors, conditions.words)
    return model


def start_from_init_(model: nn.Module, config: TrainT2M, condition: str) -> None:
    """Load the weights given by --init into the model.

    If the text encoders differ, the layers whose input is the encoded text are not loaded.

    `condition` is the fingerprint (hash) of the text encoder of `model`. Raises `UserError` if the stage or a size differs.
    """
    from dataclasses import asdict

    from models.loading import load_model
    from training.begin import check_same, init_weights, start_from_
    from utils.checkpoint import own_state

    path = init_weights(config)
    source, metadata = load_model(path)
    source_fields = {"stage": metadata["kind"], **asdict(source.config)}
    check_same(f"--init {config.init}", source_fields, {"stage": config.stage, **asdict(model.config)}, FREE)
    state = own_state(source)
    if metadata.get("condition") != condition:
        state |= {name: value for name, value in model.state_dict().items() if name.startswith(CONDITION_LAYERS)}
    start_from_(model, state, path)


def codebooks(tokeniser: MotionTokeniser) -> Tensor:
    """The tokeniser's codebooks (Q, K, C) on the CPU."""
    import torch

    layers, size = tokeniser.num_quantizers, tokeniser.nb_code
    codes = torch.full((layers, size, layers), -1, device=next(tokeniser.parameters()).device)
    for layer in range(layers):
        codes[layer, :, layer] = torch.arange(size)  # all other layers have code −1 and add nothing
    with torch.no_grad():
        return tokeniser.code_vectors(codes).cpu()


def new_generator(config: TrainT2M, tokeniser: MotionTokeniser, normaliser: Normaliser, encoder: Conditioner) -> Generator:
    """The pipeline that generates motions, during training, for the evaluation and for pictures."""
    from evaluation.in_training import Generator
    from pipelines.sampling import SamplingSettings

    return Generator(tokeniser, normaliser, encoder, SamplingSettings().changed(config), config.precision)


def evaluation(config: TrainT2M, clips: CaptionedClips, generator: Generator, judge: Judge | None) -> Evaluation | None:
    """The evaluation of generated motions for --eval_fid; None without --eval_fid."""
    from evaluation.in_training import of_generated, validation_pass
    from training.parts import Evaluation

    if judge is None:
        return None
    score = of_generated(validation_pass(config, clips, judge), generator, config.stage)
    return Evaluation(score, ("fid", "min"), config.eval_fid)


def pictures(config: TrainT2M, clips: CaptionedClips, generator: Generator) -> Callable[[nn.Module], dict[str, Any]]:
    """Return a function that takes the model and returns the pictures for --pictures, {name: picture}."""
    if not config.pictures:
        return lambda model: {}
    from evaluation.pictures import of_generated

    return of_generated(clips, generator, config.stage, config.pictures)


def validation(tokens: CaptionedTokens, draw: Callable[[nn.Module], dict[str, Any]]) -> Callable[[nn.Module], dict[str, Any]]:
    """Return the validation function, which computes the mean loss and accuracy and adds the pictures that `draw(model)` returns.

    Crops, captions and masks are the same in every validation.
    """
    import torch

    from training.begin import mean_losses

    def validate(model) -> dict[str, Any]:
        generator = torch.Generator(next(model.parameters()).device).manual_seed(0)
        steps = VALIDATION_ROUNDS * tokens.steps_per_epoch
        return {**mean_losses(model, map(tokens.batch, range(steps)), steps, generator), **draw(model)}

    return validate


if __name__ == "__main__":
    main()
