"""Train text → tokens on a frozen tokeniser: the masked transformer, the residual transformer, or the length predictor.

    python train_t2m_transformer.py --stage masked --name mtrans --vq_name vq --dataset_name open --batch_size 64

Writes `checkpoints/<dataset_name>/<name>/`. Every clip is tokenised once and every caption encoded once, before the first step.
"""

from __future__ import annotations

from options.cli import parse
from options.config import T2MTransformer
from utils.errors import UserError, script

SIZES = ("latent_dim", "ff_size", "n_layers", "n_heads", "dropout", "cond_drop_prob", "attention")
STRIDE = 4  # frames a token
VALIDATION_ROUNDS = 4  # passes over the validation split: each hides other tokens, and one alone is a noisy measure


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(T2MTransformer, argv)
    for flag in ("name", "vq_name"):
        if not getattr(config, flag):
            raise UserError(f"--{flag} is missing: name this run with --name and its tokeniser with --vq_name")
    train(config)


def train(config: T2MTransformer) -> None:
    """Tokens and features first, then the model, then the trainer."""
    from dataclasses import asdict

    from data.motion import MotionStore, Normaliser
    from data.spec import get_spec
    from data.text import CaptionedClips
    from models.conditioner import SentenceEncoder
    from models.loading import load_model
    from utils.checkpoint import CheckpointFolder
    from utils.runtime import Distributed, resolve_device, seed_everything
    from utils.trainer import Trainer

    spec = get_spec(config.dataset_name, config.data_root)
    device = resolve_device(config.gpu_id)
    folder = CheckpointFolder(config.checkpoints_dir, config.dataset_name, config.name)
    vq_folder = CheckpointFolder(config.checkpoints_dir, config.dataset_name, config.vq_name)
    tokeniser = load_model(vq_folder.root)[0].to(device)
    check_tokeniser(config, tokeniser)
    normaliser = Normaliser.load(vq_folder.meta)
    encoder = SentenceEncoder(config.bert or None, device)
    store = MotionStore(spec)
    processes = Distributed.from_environment()
    share = {"rank": processes.rank, "world": processes.world}
    train_tokens = tokens(CaptionedClips(spec, "train", store), tokeniser, normaliser, encoder, config, share)
    val_tokens = tokens(CaptionedClips(spec, "val", store), tokeniser, normaliser, encoder, config, {})
    seed_everything(config.seed)
    model = build_model(config, tokeniser, train_tokens.features, spec.max_motion)
    print(f"{config.stage}: {sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M parameters")
    origin = {name: getattr(config, name) for name in ("dataset_name", "vq_name", "text_encoder", "bert")}
    metadata = {"kind": config.stage, "config": asdict(model.config), **origin}
    validate = validation(val_tokens)
    best = ("loss", "min") if config.stage == "length" else ("accuracy", "max")
    trainer = Trainer(model, train_tokens, config, folder, validate=validate, best=best, model_metadata=metadata)
    normaliser.save(folder.meta)
    trainer.fit()


def check_tokeniser(config: T2MTransformer, tokeniser) -> None:
    if tokeniser.stride != STRIDE:
        raise UserError(f"--vq_name {config.vq_name}: a token takes {tokeniser.stride} frames, not {STRIDE}; use --down_t 2")
    if config.stage == "residual" and tokeniser.num_quantizers == 1:
        raise UserError(f"--vq_name {config.vq_name}: with one codebook there is no residual stage; leave it out")


def tokens(clips, tokeniser, normaliser, encoder, config: T2MTransformer, share: dict):
    """A split's batches of codes and conditions; its tokens and features come from their caches if they are there."""
    import hashlib
    from pathlib import Path

    from data.tokens import CaptionedTokens, cached_tokens
    from models.conditioner import cached_features
    from utils.checkpoint import own_state

    device = next(tokeniser.parameters()).device
    digest = hashlib.sha256(normaliser.mean.tobytes() + normaliser.std.tobytes())
    for value in own_state(tokeniser).values():
        digest.update(value.cpu().contiguous().numpy().tobytes())

    def encode(motion, lengths):
        return tokeniser.encode(motion.to(device), lengths.to(device))

    store = cached_tokens(clips.clips, encode, normaliser, tokeniser.stride, digest.hexdigest())
    cache = Path(clips.clips.rows.filename).parent
    features = cached_features(encoder, [caption.text for caption in clips.captions], cache)
    print(f"{len(clips)} clips, {len(clips.captions)} captions")
    return CaptionedTokens(clips, store, features, batch_size=config.batch_size, seed=config.seed, **share)


def build_model(config: T2MTransformer, tokeniser, features, max_motion: int):
    """A new model of the stage, its first layers set from the training captions' features (N, C) and the tokeniser's codebooks."""
    from models.length import LengthConfig, LengthPredictor
    from models.masked import MaskedConfig, MaskedTransformer
    from models.residual import ResidualConfig, ResidualTransformer

    sizes = {name: getattr(config, name) for name in SIZES if getattr(config, name) is not None}
    sizes |= {"stride": tokeniser.stride, "cond_dim": features.shape[1]}
    if config.stage == "length":
        own = {name: sizes[name] for name in ("stride", "cond_dim", "dropout") if name in sizes}
        model = LengthPredictor(LengthConfig(classes=max_motion // tokeniser.stride + 1, **own))
    else:
        books = codebooks(tokeniser)  # (Q, K, C)
        sizes |= {"nb_code": tokeniser.nb_code, "code_dim": books.shape[2]}
        if config.stage == "masked":
            model = MaskedTransformer(MaskedConfig(**sizes))
        else:
            model = ResidualTransformer(ResidualConfig(num_quantizers=len(books), share_weight=config.share_weight, **sizes))
        model.init_tokens_(books)
    model.init_condition_(features)
    return model


def codebooks(tokeniser):
    """The tokeniser's codebooks (Q, K, C) on the CPU."""
    import torch

    layers, size = tokeniser.num_quantizers, tokeniser.nb_code
    codes = torch.full((layers, size, layers), -1, device=next(tokeniser.parameters()).device)
    for layer in range(layers):
        codes[layer, :, layer] = torch.arange(size)  # only this layer speaks
    with torch.no_grad():
        return tokeniser.code_vectors(codes).cpu()


def validation(tokens):
    """Mean loss and accuracy on the validation split, with the same crops, captions and hidden tokens every time."""
    import torch

    def validate(model) -> dict[str, float]:
        device = next(model.parameters()).device
        generator = torch.Generator(device).manual_seed(0)
        steps = VALIDATION_ROUNDS * tokens.steps_per_epoch
        totals: dict[str, float] = {}
        for step in range(steps):
            loss, logs = model.loss({name: value.to(device) for name, value in tokens.batch(step).items()}, generator)
            for name, value in {"loss": loss, **logs}.items():
                totals[name] = totals.get(name, 0.0) + float(value) / steps
        return totals

    return validate


if __name__ == "__main__":
    main()
