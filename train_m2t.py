"""Train a captioner (motion to text): a GPT, or a Hugging Face causal LM with LoRA, on the query outputs of a frozen LaMP.

    python train_m2t.py --exp-name m2t --dataname open --lamp_name lamp

The script writes `<out_dir>/<dataset_name>/<name>/`. The latents of all clips and the token ids of all captions are computed once,
before the first step. With `--texts`, the GPT is trained on captions without motions; a training on motions can then start from the
weights of this GPT (`--resume-trans`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from options.cli import parse
from options.train import TrainM2T
from utils.errors import UserError, script

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from data.pairs import CaptionedLatents
    from data.sentences import Sentences
    from models.caption import CaptionGPT
    from models.caption_lm import CaptionLM
    from pipelines.language_motion import LanguageMotion

    Captioner = CaptionGPT | CaptionLM
    Validation = Callable[[Captioner], dict[str, float | str]]

HELD_OUT = 50  # with --texts, every fiftieth caption is used for validation
SAMPLES = 3  # captions that each validation logs
VALIDATION_BATCH, VALIDATION_ROUNDS = 32, 2  # clips per batch, passes over the validation split
LM_FLAGS = ("lm", "lora_r", "lora_alpha", "lora_dropout", "bits", "prompt", "block_size")
FREE = ("dropout", "pkeep", "lora_dropout", "bits", "prompt")  # config fields whose values may differ from --resume-trans's


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(TrainM2T, argv)
    if not config.name:
        raise UserError("--exp-name is missing: give the run a name")
    if config.texts and config.decoder != "gpt":
        raise UserError("--texts: works only with --decoder gpt; leave --texts out")
    if not 2 <= config.block_size <= 512:
        raise UserError(f"--block_size {config.block_size}: choose from 2 to 512 tokens")
    from training.begin import in_group

    in_group(train, config)


def train(config: TrainM2T) -> None:
    """Load LaMP, build the captioner and its batches, and train it."""
    from dataclasses import asdict

    from data.store import Normaliser
    from models.bert import write_vocabulary
    from pipelines.language_motion import LanguageMotion
    from pipelines.motion2text import check_tokeniser
    from pipelines.runs import LAMP, resolve
    from training.trainer import Trainer
    from utils.checkpoint import CheckpointFolder
    from utils.runtime import Distributed, resolve_device, seed_everything

    lamp_name = resolve(LAMP, config.checkpoints_dir, config.dataset_name, config.lamp_name).known_as
    reader = LanguageMotion.load(config.checkpoints_dir, config.dataset_name, lamp_name, resolve_device(config.gpu_id))
    check_tokeniser(reader, config)
    folder = CheckpointFolder(config.out_dir or config.checkpoints_dir, config.dataset_name, config.name)
    seed_everything(config.seed)
    model = build_model(config, reader)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) / 1e6
    print(f"captioner: {trained:.1f} M parameters to train; LaMP '{lamp_name}'")
    if config.resume_trans and not config.is_continue:
        start_from_init_(model, config)
    with Distributed.from_environment().first_on_node():
        batches, validate = sentences(config, model) if config.texts else pairs(config, reader, model)
    model.read_with_(reader.lamp)
    kind = "words" if config.texts else f"caption_{config.decoder}"
    origin = {"dataset_name": config.dataset_name, "lamp_name": lamp_name, "lamp": reader.fingerprint}
    metadata = {"kind": kind, "config": asdict(model.config), **origin}
    trainer = Trainer(model, batches, config, folder, validate=validate, best=("loss", "min"), model_metadata=metadata)
    Normaliser(reader.mean, reader.std).save(folder.meta)
    if config.decoder == "gpt":
        write_vocabulary(reader.tokenizer, folder.root)
    trainer.fit()


def build_model(config: TrainM2T, reader: LanguageMotion) -> Captioner:
    """A new captioner for the outputs of the queries of a LaMP, `reader`."""
    lamp = reader.lamp.config
    if config.decoder == "lm":
        from models.caption_lm import CaptionLM, CaptionLMConfig

        return CaptionLM(CaptionLMConfig(prefix_dim=lamp.hidden_size, **{name: getattr(config, name) for name in LM_FLAGS}))
    from models.caption import CaptionGPT, GPTConfig

    return CaptionGPT(
        GPTConfig(
            vocab_size=reader.tokenizer.get_vocab_size(), prefix_dim=lamp.hidden_size, num_queries=lamp.num_queries,
            nb_code=lamp.nb_code if config.use_codes else 0, embed_dim=config.embed_dim_gpt, num_layers=config.num_layers,
            num_heads=config.n_head_gpt, ff_rate=config.ff_rate, block_size=config.block_size, dropout=config.drop_out_rate,
            pkeep=config.pkeep,
        )
    ).use_tokenizer_(reader.tokenizer)  # fmt: skip


def start_from_init_(model: Captioner, config: TrainM2T) -> None:
    """Load the weights given by --resume-trans into the model.

    Raises `UserError` unless the weights are of a captioner of the same sizes and vocabulary.
    """
    from dataclasses import asdict

    from models.bert import vocabulary
    from models.loading import Loader
    from pipelines.motion2text import load_captioner
    from pipelines.runs import CAPTIONER, resolve
    from training.begin import check_same, start_from_

    roots, flag = (config.out_dir or config.checkpoints_dir, config.checkpoints_dir), f"--resume-trans {config.resume_trans}"
    path = resolve(CAPTIONER, roots, config.dataset_name, config.resume_trans).weights()
    source, _ = load_captioner(path, Loader(), kinds=("caption_gpt", "caption_lm", "words"))
    check_same(flag, *({"decoder": type(one).__name__, **asdict(one.config)} for one in (source, model)), FREE)
    if config.decoder == "gpt" and vocabulary(source.tokenizer) != vocabulary(model.tokenizer):
        raise UserError(f"{flag}: its vocabulary differs from LaMP's; use a run with the same --lamp_name")
    start_from_(model, source.state_dict(), path)


def sentences(config: TrainM2T, model: Captioner) -> tuple[Sentences, Validation]:
    """Return batches of captions without motions (`--texts`), and the validation function."""
    from pathlib import Path

    from data.sentences import Sentences
    from prepare.backbone import read_texts
    from training.begin import batch_settings

    captions = sorted({caption.lower() for texts in config.texts for caption in read_texts(Path(texts))})
    ids = model.token_ids(captions)
    val = ids[::HELD_OUT]
    train = [row for index, row in enumerate(ids) if index % HELD_OUT]
    print(f"{len(train)} captions for training, {len(val)} for validation")
    val_batches = Sentences(val, batch_size=min(config.batch_size, len(val)))
    return Sentences(train, **batch_settings(config)), validation(val_batches, captions=False)


def pairs(config: TrainM2T, reader: LanguageMotion, model: Captioner) -> tuple[CaptionedLatents, Validation]:
    """Return batches of motions with captions, and the validation function."""
    from data.balance import sampling_weights
    from data.pairs import captioned_latents
    from data.store import MotionStore, Normaliser
    from data.text import CaptionedClips
    from motion.spec import get_spec
    from training.begin import batch_settings

    spec = get_spec(config.dataset_name, config.data_root, config.cache_dir)
    store, normaliser = MotionStore(spec), Normaliser(reader.mean, reader.std)

    def batches(clips: CaptionedClips, **settings: Any):
        ids = model.token_ids([caption.text for caption in clips.captions])
        return captioned_latents(clips, reader.tokeniser, normaliser, ids, **settings)

    train_clips, val_clips = (CaptionedClips(spec, split, store) for split in ("train", "val"))
    val = batches(val_clips, batch_size=min(VALIDATION_BATCH, len(val_clips)))
    weights = sampling_weights(train_clips.clips.names, spec.root, config.balance, config.compositions)
    return batches(train_clips, weights=weights, **batch_settings(config)), validation(val, captions=True)


def validation(batches: Sentences | CaptionedLatents, captions: bool) -> Validation:
    """Return the validation function, which computes the mean loss and accuracy and, if `captions` is set, a few captions.

    Crops and captions are the same in every validation.
    """
    from itertools import chain

    from training.begin import mean_losses

    def validate(model) -> dict[str, float | str]:
        steps = VALIDATION_ROUNDS * batches.steps_per_epoch
        last = batches.batch(steps - 1)
        means = mean_losses(model, chain(map(batches.batch, range(steps - 1)), (last,)), steps)
        return {**means, **({"captions": samples(model, last)} if captions else {})}

    return validate


def samples(model: Captioner, batch: dict) -> str:
    """Generate captions of the first motions of a batch, and join them to one string."""
    from models.decoding import Search

    few = {name: value[:SAMPLES].to(next(model.parameters()).device) for name, value in batch.items()}
    queries = model.queries(few["latents"], few["lengths"])
    captions = model.write(queries, Search(beams=1), codes=few["codes"] if model.reads_codes else None)
    return " | ".join(texts[0] for texts in captions)


if __name__ == "__main__":
    main()
