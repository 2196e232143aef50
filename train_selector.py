"""Train the selector, which scores how well generated motions match their text, so that the best of several motions can be kept.

    python train_selector.py --name selector --dataset_name open --balance

The script writes `checkpoints/<dataset_name>/<name>/`. Before the first step, the profiles of all motions (facts about the joints,
`motion/facts/profile.py`) are computed once, and a sentence encoder encodes all captions once. If the dataset folder contains
`actions.csv`, the selector also learns to recognise the actions of texts and motions. `gen_t2m.py --selector_name NAME`
uses the selector of the run NAME.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from options.cli import parse
from options.train import TrainSelector
from utils.errors import UserError, script

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from data.profiles import ProfileBatches
    from data.store import MotionStore
    from motion.spec import DatasetSpec

SIZES = ("hidden_dim", "embed_dim", "dropout")
VALIDATION_ROUNDS = 4  # passes over the validation split, each with different captions
ENCODER = "sentence"


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(TrainSelector, argv)
    if not config.name:
        raise UserError("--name is missing: give the run a --name")
    from training.begin import in_group

    in_group(train, config)


def train(config: TrainSelector) -> None:
    """Compute motion profiles (vectors of bits that state what the joints do) and encode captions, build the model and train it."""
    from dataclasses import asdict

    from data.store import MotionStore
    from models.selector import Selector, SelectorConfig
    from motion.spec import get_spec
    from training.begin import mean_losses
    from training.trainer import Trainer
    from utils.checkpoint import CheckpointFolder
    from utils.runtime import Distributed, seed_everything

    spec = get_spec(config.dataset_name, config.data_root, config.cache_dir)
    with Distributed.from_environment().first_on_node():
        store = MotionStore(spec)
        actions = training_actions(store)
        batches, validated, fingerprint = both_splits(config, spec, store, actions)
    seed_everything(config.seed)
    vectors, sizes = batches.conditions, {name: getattr(config, name) for name in SIZES}
    model = Selector(SelectorConfig(cond_dim=vectors.dim, actions=len(actions), **sizes))
    model.init_condition_(vectors.vectors)
    model.augment.set_(vectors, [vectors.dim], config.text_noise, 0.0)

    def validate(model: Selector) -> dict[str, float]:
        steps = VALIDATION_ROUNDS * validated.steps_per_epoch
        return mean_losses(model, map(validated.batch, range(steps)), steps)

    metadata = {
        "kind": "selector", "config": asdict(model.config), "condition": fingerprint, "dataset_name": config.dataset_name,
        "text_encoder": ENCODER, "bert": config.bert,
    }  # fmt: skip
    folder = CheckpointFolder(config.checkpoints_dir, config.dataset_name, config.name)
    Trainer(model, batches, config, folder, validate=validate, best=("loss", "min"), model_metadata=metadata).fit()


def training_actions(store: MotionStore) -> dict[str, int]:
    """Number the actions that the dataset's `actions.csv` lists for training clips; {}: there are fewer than two actions."""
    from data.balance import actions_of

    actions = sorted({*actions_of(store.split("train"), store.root)} - {""})
    return {action: number for number, action in enumerate(actions)} if len(actions) > 1 else {}


def both_splits(
    config: TrainSelector, spec: DatasetSpec, store: MotionStore, numbers: dict[str, int]
) -> tuple[ProfileBatches, ProfileBatches, str]:  # fmt: skip
    """Batches of profiles and encoded captions for the training and the validation split, and a hash of the sentence encoder.

    `numbers` maps actions to numbers. The action of a composition, which shows several actions, counts as unknown.
    """
    import os
    from pathlib import Path

    import numpy as np

    from data.balance import actions_of, compositions_in, sampling_weights
    from data.profiles import ProfileBatches, cached_profiles
    from data.text import CaptionedClips
    from pipelines.conditioner import SentenceEncoder, cached_conditions
    from training.begin import batch_settings
    from utils.runtime import resolve_device

    encoder = SentenceEncoder(config.bert or None, resolve_device(config.gpu_id))

    def batches(split: str) -> ProfileBatches:
        clips = CaptionedClips(spec, split, store)
        if len(clips) < 2:
            raise UserError(f"{spec.root}: the split {split} has {len(clips)} clip; the selector compares clips, so add clips")
        profiles = cached_profiles(clips.clips, spec.num_joints, config.workers or os.cpu_count() or 1)
        cache = Path(clips.clips.rows.filename).parent
        conditions = cached_conditions(encoder, [caption.text for caption in clips.captions], cache)
        print(f"{split}: {len(clips)} clips, {len(clips.captions)} captions")
        names = clips.clips.names
        actions = np.array([numbers.get(action, -1) for action in actions_of(names, spec.root)])
        actions[compositions_in(names, spec.root)] = -1
        if split == "val":
            return ProfileBatches(clips, profiles, conditions, actions, batch_size=min(config.batch_size, len(clips)))
        weights = sampling_weights(names, spec.root, config.balance, config.compositions)
        return ProfileBatches(clips, profiles, conditions, actions, weights=weights, **batch_settings(config))

    return batches("train"), batches("val"), encoder.fingerprint


if __name__ == "__main__":
    main()
