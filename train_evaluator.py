"""Train the text-motion matching evaluator for a dataset without a released evaluator.

    python train_evaluator.py --name evaluator --dataset_name open

The script writes `checkpoints/<dataset_name>/<name>/`, including the word vectors of the captions. Validation computes the
R-precision of real text-motion pairs in batches of 32. At the end, the script prints the R-precision on every test split and its
upper bound ("ceiling"). The upper bound is below 1 if a batch contains identical captions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from options.cli import parse
from options.train import TrainEvaluator
from utils.errors import UserError, script

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from pathlib import Path

    from data.batches import MatchingBatches
    from models.evaluator import Evaluator
    from models.words import Words
    from utils.checkpoint import CheckpointFolder

ROUNDS = 4  # passes over a split, each with different captions, crops and batches
POOL = 32  # clips per batch, among which each caption is matched


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(TrainEvaluator, argv)
    if not config.name:
        raise UserError("--name is missing: give the run a name")
    from training.begin import in_group

    in_group(train, config)


def train(config: TrainEvaluator) -> None:
    """Load captions, motions and word vectors, build an evaluator and train it."""
    from dataclasses import asdict

    from data.balance import sampling_weights
    from data.batches import MatchingBatches
    from data.store import MotionStore, Normaliser
    from data.text import CaptionedClips
    from models.evaluator import Evaluator, EvaluatorConfig
    from models.loading import load_model
    from models.upstream.released import run_folder
    from models.words import FILE
    from motion.spec import get_spec
    from training.begin import batch_settings, init_weights
    from training.trainer import Trainer
    from utils.checkpoint import CheckpointFolder
    from utils.runtime import Distributed, seed_everything

    spec = get_spec(config.dataset_name, config.data_root, config.cache_dir)
    folder = CheckpointFolder(config.checkpoints_dir, config.dataset_name, config.name)
    tests = sorted(path.stem for path in spec.root.glob("test*.txt"))
    processes = Distributed.from_environment()
    with processes.first_on_node():
        init = init_weights(config) if config.init else None
        source = run_folder(init) if init else None  # folder of the run to start from
        normaliser = Normaliser.load(source / "meta") if source else Normaliser.from_dataset(spec)
        store = MotionStore(spec)
        clips = {split: CaptionedClips(spec, split, store) for split in ("train", "val", *tests)}
        words = load_words(config, folder, source, [caption.tokens for split in clips.values() for caption in split.captions])
    weights = sampling_weights(clips["train"].clips.names, spec.root, config.balance, config.compositions)
    batches = MatchingBatches(clips["train"], normaliser, words, weights=weights, **batch_settings(config))
    sizes_of = {split: min(POOL, len(clips[split])) for split in ("val", *tests)}
    pairs = {split: MatchingBatches(clips[split], normaliser, words, batch_size=size) for split, size in sizes_of.items()}
    seed_everything(config.seed)
    model = Evaluator(EvaluatorConfig(dim=spec.dim, word_dim=words.dim, max_frames=spec.max_motion, **sizes(config)))
    if init and not config.is_continue:
        start_from_init_(model, config, init)
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"evaluator: {parameters:.1f} M parameters; {len(words.words)} words; {batches.steps_per_epoch} steps per epoch")
    trainer = Trainer(
        model,
        batches,
        config,
        folder,
        validate=lambda model: scores(model, pairs["val"]),
        best=("top1", "max"),
        model_metadata={"kind": "evaluator", "config": asdict(model.config), "dataset_name": spec.name},
    )
    normaliser.save(folder.meta)
    words.save(folder.root / FILE)
    trainer.fit()
    if processes.main:
        best = load_model(folder.root)[0].to(trainer.device)
        for split in tests:
            print(f"{split}: " + "  ".join(f"{name} {value:.3f}" for name, value in scores(best, pairs[split]).items()))


def sizes(config: TrainEvaluator) -> dict[str, int]:
    """The values of those flags that are fields of `EvaluatorConfig`, keyed by name."""
    names = ("movement_hidden", "movement_dim", "motion_hidden", "text_hidden", "embed_dim", "info_nce")
    return {name: getattr(config, name) for name in names}


def start_from_init_(model: Evaluator, config: TrainEvaluator, path: Path) -> None:
    """Load the weights file `path`, given by --init, into the model. Raises `UserError` if the sizes of the models differ."""
    from dataclasses import asdict

    from models.loading import load_model
    from training.begin import check_same, start_from_
    from utils.checkpoint import own_state

    source, _ = load_model(path)
    check_same(f"--init {config.init}", asdict(source.config), asdict(model.config))
    start_from_(model, own_state(source), path)


def load_words(config: TrainEvaluator, folder: CheckpointFolder, source: Path | None, token_lines: list[str]) -> Words:
    """Load the word vectors of the resumed run, of the run given by --init (folder `source`) or of GloVe, whichever exists first.

    If none exists, build word vectors from MiniLM for the words in `token_lines`, which has one line of tokens per caption.
    """
    from models.words import FILE, Words
    from motion.spec import GLOVE

    if config.is_continue:
        return Words.load(folder.root / FILE)
    if source:
        return Words.load(source / FILE)
    if config.glove or GLOVE.is_dir():
        return Words.from_glove(config.glove or GLOVE)
    return Words.from_word_pieces({token.partition("/")[0] for line in token_lines for token in line.split()})


def scores(model: Evaluator, pairs: MatchingBatches) -> dict[str, float]:
    """R-precision (top 1, 2, 3) of real text-motion pairs, in batches of 32, and its upper bound ("ceiling").

    The upper bound is below 1 if a batch contains identical captions.
    """
    import torch

    from evaluation.metrics.motion import r_precision

    device = next(model.parameters()).device
    texts, motions, captions = [], [], []
    with torch.no_grad():
        for step in range(ROUNDS * pairs.steps_per_epoch):
            batch = {name: value.to(device) for name, value in pairs.batch(step).items()}
            texts.append(model.embed_text(batch["words"], batch["pos"], batch["text_lengths"]))
            motions.append(model.embed_motion(batch["motion"], batch["lengths"]))
            captions.append(batch["caption"][:, None].double())  # one-dimensional embeddings: equal captions have distance 0
    captions = torch.cat(captions)
    precision = r_precision(torch.cat(texts), torch.cat(motions), pairs.size)
    best = r_precision(captions, captions, pairs.size)
    return {f"{name}{k}": values[k - 1].item() for name, values in (("top", precision), ("ceiling", best)) for k in (1, 2, 3)}


if __name__ == "__main__":
    main()
