"""Train LaMP (language-motion pretraining) on the latents of a frozen tokeniser, starting from a BERT.

    python train_lamp.py --name lamp --vq_name vq --dataset_name open

The script writes `checkpoints/<dataset_name>/<name>/`, including the backbone's `vocab.txt`. The latents of all clips and the token
ids of all captions are computed once, before the first step.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from options.cli import parse
from options.train import TrainLaMP
from utils.errors import UserError, script

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from tokenizers import Tokenizer

    from data.pairs import CaptionedLatents
    from data.text import CaptionedClips
    from models.lamp import LaMP
    from models.vqvae import MotionTokeniser

INHERITED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings")
SIZES = ("num_queries", "embed_dim", "cross_width", "max_text", "match_rows", "dropout")
FREE = ("losses", "match_rows", "dropout", "max_text", "label_smoothing")  # config fields whose values may differ from --init's
SAMPLES = 3  # captions that each validation logs


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(TrainLaMP, argv)
    for flag in ("name", "vq_name"):
        if not getattr(config, flag):
            raise UserError(f"--{flag} is missing: give the run a --name, and name its tokeniser with --vq_name")
    from training.begin import in_group

    in_group(train, config)


def train(config: TrainLaMP) -> None:
    """Compute the latents of motions and the token ids of captions, build the model and train it."""
    from dataclasses import asdict

    from data.balance import sampling_weights
    from data.pairs import captioned_latents
    from data.store import MotionStore, Normaliser
    from data.text import CaptionedClips
    from models.bert import load_tokenizer, token_ids, write_vocabulary
    from models.loading import load_model
    from motion.spec import get_spec
    from pipelines.caption_index import write_index
    from training.begin import batch_settings
    from training.trainer import Trainer
    from utils.checkpoint import CheckpointFolder, freeze
    from utils.runtime import Distributed, resolve_device, seed_everything

    spec = get_spec(config.dataset_name, config.data_root, config.cache_dir)
    folder = CheckpointFolder(config.checkpoints_dir, config.dataset_name, config.name)
    vq_folder = CheckpointFolder(config.checkpoints_dir, config.dataset_name, config.vq_name)
    tokeniser = freeze(load_model(vq_folder.root)[0]).to(resolve_device(config.gpu_id))
    normaliser = Normaliser.load(vq_folder.meta)
    bert = backbone(config)
    tokenizer = load_tokenizer(bert)
    seed_everything(config.seed)
    model = build_model(config, tokeniser, bert)
    print(f"lamp: {sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M parameters, backbone {bert}")
    processes = Distributed.from_environment()

    def pairs(clips: CaptionedClips, **settings: Any):
        ids = token_ids(tokenizer, [caption.text.lower() for caption in clips.captions], config.max_text)
        return captioned_latents(clips, tokeniser, normaliser, ids, **settings)

    with processes.first_on_node():
        store = MotionStore(spec)
        train_clips, val_clips = (CaptionedClips(spec, split, store) for split in ("train", "val"))
        weights = sampling_weights(train_clips.clips.names, spec.root, config.balance, config.compositions)
        train_pairs, val_pairs = pairs(train_clips, weights=weights, **batch_settings(config)), pairs(val_clips, batch_size=1)
    if not config.init:
        model.init_latents_(train_pairs.latent_sample())
    origin = {"dataset_name": config.dataset_name, "vq_name": config.vq_name, "bert": str(bert)}
    metadata = {"kind": "lamp", "config": asdict(model.config), **origin}
    validate = validation(val_clips, val_pairs, tokenizer)
    trainer = Trainer(model, train_pairs, config, folder, validate=validate, best=("r1", "max"), model_metadata=metadata)
    normaliser.save(folder.meta)
    if processes.rank == 0:
        write_index(spec, folder.root)
    write_vocabulary(tokenizer, folder.root)
    trainer.fit()


def backbone(config: TrainLaMP) -> Path:
    """The BERT folder: `--bert`, or else the first default folder that exists, or else the folder of MiniLM."""
    from models.bert import minilm_folder

    if config.bert:
        return Path(config.bert)
    defaults = [Path("bert-base-uncased"), Path(config.checkpoints_dir) / "bert-base-uncased"]
    return next((folder for folder in defaults if folder.is_dir()), None) or minilm_folder()


def build_model(config: TrainLaMP, tokeniser: MotionTokeniser, bert: Path) -> LaMP:
    """A LaMP with the sizes of the BERT in folder `bert` and of the tokeniser, with the weights of this BERT or of --init."""
    from models.bert import load_bert
    from models.lamp import LaMP, LaMPConfig

    encoder = load_bert(bert)
    if config.max_text > encoder.config.max_position_embeddings:
        raise UserError(f"--max_text {config.max_text}: {bert} reads at most {encoder.config.max_position_embeddings} tokens")
    sizes = {name: getattr(encoder.config, name) for name in INHERITED} | {name: getattr(config, name) for name in SIZES}
    sizes |= {"latent_dim": tokeniser.config.code_dim, "nb_code": tokeniser.nb_code, "stride": tokeniser.stride}
    model = LaMP(LaMPConfig(vocab_size=encoder.config.vocab_size + 1, losses=tuple(config.losses), **sizes))
    if config.init and not config.is_continue:
        start_from_init_(model, config, bert)
    else:
        model.qformer.init_backbone_(encoder)
    return model


def start_from_init_(model: LaMP, config: TrainLaMP, bert: Path) -> None:
    """Load the weights given by --init. Raises `UserError` unless the weights are of a LaMP of the same sizes and vocabulary."""
    from dataclasses import asdict

    from models.bert import load_tokenizer, vocabulary
    from models.loading import load_model, require_kind
    from models.upstream.released import run_folder
    from training.begin import check_same, init_weights, start_from_

    path, flag = init_weights(config), f"--init {config.init}"
    source, metadata = load_model(path)
    require_kind(metadata, flag, "lamp", remedy="train one with train_lamp.py")
    check_same(flag, asdict(source.config), asdict(model.config), FREE)
    vocab = run_folder(path) / "vocab.txt"
    if vocab.is_file() and vocab.read_text(encoding="utf-8") != vocabulary(load_tokenizer(bert)):
        raise UserError(f"{flag}: the run's {vocab} is not the vocabulary of {bert}; give both runs the same --bert")
    start_from_(model, source.state_dict(), path)


def validation(
    clips: CaptionedClips, val_pairs: CaptionedLatents, tokenizer: Tokenizer
) -> Callable[[LaMP], dict[str, float | str]]:
    """Return the validation function, which computes the losses and R@1, 2, 3 in batches of 32, and generates a few captions.

    Crops and captions are the same in every validation.
    """
    from itertools import chain

    import numpy as np

    from evaluation.metrics.retrieval import ceiling, small_batches
    from training.begin import mean_losses
    from utils.runtime import seed_everything

    generator = np.random.default_rng(0)
    crops = []
    for batch in small_batches(clips.clips.names):
        captions = val_pairs.draw_captions(batch.numpy(), generator)
        crops.append(val_pairs.draw_crops(batch.numpy(), captions, generator))
    best = np.mean([ceiling(val_pairs.numbers[crop.captions].tolist())["R@1"] for crop in crops])
    print(f"validation: {len(crops)} batches of {len(crops[0].captions)}; identical captions limit R@1 to {best:.3f}")

    def validate(model) -> dict[str, float | str]:
        seed_everything(0)  # for the sampling of hard negatives
        first = val_pairs.tensors(crops[0])
        means = mean_losses(model, chain((first,), map(val_pairs.tensors, crops[1:])), len(crops), further=recalls)
        r1 = (means["motion_to_text_r1"] + means["text_to_motion_r1"]) / 2
        texts = {"captions": samples(model, first, tokenizer)} if "captioning" in means else {}
        return {"r1": r1, **means, **texts}

    return validate


def recalls(model: LaMP, batch: dict) -> dict[str, float]:
    """Recall R@1, 2, 3 of retrieval within a batch, from motion to text and from text to motion."""
    from evaluation.metrics.retrieval import hits, rank

    motion = model.motion_features(batch["latents"], batch["lengths"])
    text = model.text_features(batch["ids"], batch["text_lengths"])
    first = (batch["caption"][:, None] == batch["caption"]).int().argmax(1)  # the first clip with the same caption
    scores = model.similarity(motion, text[first])  # (B, B), motions × texts; equal captions have bitwise equal scores
    recall = {}
    for direction, ranks in (("motion_to_text", rank(scores)), ("text_to_motion", rank(scores.T))):
        recall |= {f"{direction}_r{k}": float(hits(ranks, k).mean()) for k in (1, 2, 3)}
    return recall


def samples(model: LaMP, batch: dict, tokenizer: Tokenizer) -> str:
    """References and generated captions of the first motions of a batch, such as `a person bows → someone bows | …`."""
    device = model.logit_scale.device
    latents, lengths = batch["latents"][:SAMPLES].to(device), batch["lengths"][:SAMPLES].to(device)
    start = tokenizer.get_vocab_size()  # the id of [DEC], which LaMP adds to the vocabulary
    ids = model.caption(latents, lengths, end=tokenizer.token_to_id("[SEP]")).tolist()
    captions = tokenizer.decode_batch([[word for word in row if word < start] for row in ids])
    references = tokenizer.decode_batch(batch["ids"][:SAMPLES].tolist())
    return " | ".join(f"{reference} → {caption}" for reference, caption in zip(references, captions))


if __name__ == "__main__":
    main()
