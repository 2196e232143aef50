"""Train the motion tokeniser: a residual VQ-VAE, or a plain VQ-VAE with `--num_quantizers 1`.

    python train_vq.py --name rvq --dataset_name open --batch_size 256 --max_epoch 50

The script writes `checkpoints/<dataset_name>/<name>/`. `net_best_mpjpe` contains the weights with the lowest joint error on the
validation split. With `--eval_fid N`, `net_best_fid` contains the weights with the lowest FID of reconstructions. `--pictures N`
logs pictures of the reconstructions of N validation clips in TensorBoard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from options.cli import parse
from options.train import TrainVQ
from utils.errors import UserError, script

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from torch import nn

    from data.store import Clips, MotionStore, Normaliser
    from evaluation.judges import Judge
    from models.vqvae import MotionTokeniser, VQConfig
    from motion.spec import DatasetSpec
    from training.parts import Evaluation


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(TrainVQ, argv)
    if not config.name:
        raise UserError("--name is missing: give the run a name")
    if config.window_size < 2**config.down_t:
        raise UserError(f"--window_size {config.window_size}: shorter than a token of {2**config.down_t} frames; increase it")
    from training.begin import in_group

    in_group(train, config)


def train(config: TrainVQ) -> None:
    """Load windows of the training clips, build a tokeniser and train it."""
    from dataclasses import asdict

    from data.balance import sampling_weights
    from data.store import MotionStore, MotionWindows
    from evaluation.in_training import judge_of
    from motion.spec import get_spec
    from training.begin import batch_settings
    from training.trainer import Trainer
    from utils.checkpoint import CheckpointFolder
    from utils.runtime import Distributed, resolve_device, seed_everything

    spec = get_spec(config.dataset_name, config.data_root, config.cache_dir)
    folder = CheckpointFolder(config.checkpoints_dir, config.dataset_name, config.name)
    judge = judge_of(config, resolve_device(config.gpu_id))
    seed_everything(config.seed)
    with Distributed.from_environment().first_on_node():
        normaliser = statistics(config, spec)
        store = MotionStore(spec)
        clips = store.clips(store.split("train"))
    weights = sampling_weights(clips.names, spec.root, config.balance, config.compositions, clips.lengths)
    windows = MotionWindows(clips, normaliser, window=config.window_size, weights=weights, **batch_settings(config))
    model = new_tokeniser(config, spec, clips, normaliser)
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"tokeniser: {parameters:.1f} M parameters; {windows.num_windows} windows, {windows.steps_per_epoch} steps per epoch")
    trainer = Trainer(
        model,
        windows,
        config,
        folder,
        validate=validation(store.clips(store.split("val")), normaliser, spec, pictures(config, spec, store, normaliser)),
        best=("mpjpe", "min"),
        evaluation=evaluation(config, spec, store, normaliser, judge),
        model_metadata={"kind": "tokeniser", "config": asdict(model.config), "dataset_name": spec.name},
    )
    normaliser.save(folder.meta)
    trainer.fit()


def statistics(config: TrainVQ, spec: DatasetSpec) -> Normaliser:
    """The mean and standard deviation of the features, from the dataset or, with `--init`, from the run that --init names."""
    from data.store import Normaliser
    from models.upstream.released import run_folder
    from training.begin import init_weights

    if not config.init:
        return Normaliser.from_dataset(spec)
    return Normaliser.load(run_folder(init_weights(config)) / "meta")


def new_tokeniser(config: TrainVQ, spec: DatasetSpec, clips: Clips, normaliser: Normaliser) -> MotionTokeniser:
    """Return the tokeniser to train, with body constraints and body losses (`models.body`) if flags select them.

    With `--init`, the tokeniser starts from the weights given by this flag.
    """
    from models.body import BodyLoss, measured_bones
    from models.loading import load_model, require_kind
    from models.vqvae import MotionTokeniser, widen_from_
    from training.begin import init_weights

    model = MotionTokeniser(tokeniser_config(config, spec.dim))
    if config.init:
        start, metadata = load_model(init_weights(config))
        require_kind(metadata, f"--init {config.init}", "tokeniser", remedy="name one trained by train_vq.py")
        widen_from_(model, start)
    if model.decoder.body is not None:
        model.decoder.body.fit_(normaliser.mean, normaliser.std, measured_bones(clips, spec))
    if any(getattr(config, f"loss_{name}") for name in BodyLoss.TERMS):
        model.body = BodyLoss(normaliser.mean, normaliser.std, spec)
    return model


def tokeniser_config(config: TrainVQ, dim: int) -> VQConfig:
    """The config of the tokeniser, from the flags that are fields of `VQConfig`."""
    from dataclasses import fields

    from models.vqvae import VQConfig

    return VQConfig(dim=dim, **{field.name: getattr(config, field.name) for field in fields(VQConfig) if field.name != "dim"})


def evaluation(
    config: TrainVQ, spec: DatasetSpec, store: MotionStore, normaliser: Normaliser, judge: Judge | None
) -> Evaluation | None:
    """The evaluation of reconstructed motions for --eval_fid; None without --eval_fid."""
    from data.text import CaptionedClips
    from evaluation.in_training import of_reconstructions, validation_pass
    from training.parts import Evaluation

    if judge is None:
        return None
    score = of_reconstructions(validation_pass(config, CaptionedClips(spec, "val", store), judge), normaliser)
    return Evaluation(score, ("fid", "min"), config.eval_fid)


def pictures(
    config: TrainVQ, spec: DatasetSpec, store: MotionStore, normaliser: Normaliser
) -> Callable[[nn.Module], dict[str, Any]]:
    """Return a function that takes the model and returns the pictures for --pictures, {name: picture}."""
    if not config.pictures:
        return lambda model: {}
    from data.text import CaptionedClips
    from evaluation.pictures import of_reconstructions

    return of_reconstructions(CaptionedClips(spec, "val", store), normaliser, config.pictures)


def validation(
    clips: Clips, normaliser: Normaliser, spec: DatasetSpec, draw: Callable[[nn.Module], dict[str, Any]]
) -> Callable[[MotionTokeniser], dict[str, Any]]:
    """Return the validation function, which computes the reconstruction loss and the pelvis-aligned joint error in mm over all
    poses of the validation clips, and adds the pictures that `draw(model)` returns."""
    import torch

    from evaluation.tokeniser import pose_errors, reconstructions, row_errors, to_joints

    def validate(model) -> dict[str, Any]:
        poses, rows = [], []
        for motion, _, decoded, lengths, _ in reconstructions(model, clips, normaliser):
            joints, truth = (to_joints(values, normaliser, spec) for values in (decoded, motion))
            poses.append(pose_errors(joints, truth, lengths))
            rows.append(row_errors(decoded, motion, lengths).mean(-1))
        errors = {"mpjpe": torch.cat(poses).mean().item(), "reconstruction": torch.cat(rows).mean().item()}
        return {**errors, **draw(model)}

    return validate


if __name__ == "__main__":
    main()
