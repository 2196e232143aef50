"""Train the embedded weights (the pretrained weights in `assets/demo`), stage by stage. `make weights` calls this module.

    python -m prepare.weights --data_root dataset/Open --setting cpu
    python -m prepare.release --dataset_name open --runs vq lamp masked residual length selector evaluator m2t \\
        --int8 vq lamp masked residual selector evaluator m2t
    python -m evaluation.stored --checkpoints_dir assets/demo --splits test test_unseen test_cmu test_everyday

A stage trains one model and stores it in a folder in `<checkpoints_dir>/open/`. A stage that has taken all its steps is skipped;
the remaining stages are started or resumed. A stage ends at its maximum number of steps or at its maximum number of minutes,
whichever comes first; the learning rate decays accordingly. If the flag `--init` names a checkpoints folder, some stages start from
the weights of the model of the same name in that folder. The trained model and the model in that folder must have the same sizes.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    raise SystemExit("error: started by its path; run: python -m prepare.weights")

from options.cli import parse
from options.prepare import TrainWeights
from utils.errors import UserError, script

DATASET = "open"


@dataclass(frozen=True)
class Stage:
    """The training of one model: script, flags, and (steps, minutes, batch size, learning rate) for the settings cpu and gpu."""

    script: str
    flags: str
    cpu: tuple[int, float, int, float]
    gpu: tuple[int, float, int, float]
    init: bool = False  # whether the stage starts from the model of the same name in the folder --init

    def settings(self, setting: str) -> str:
        """Return the command-line flags for training length, batch size and learning rate. `setting` is "cpu" or "gpu"."""
        steps, minutes, batch, rate = getattr(self, setting)
        return f"--max_iters {steps} --max_minutes {minutes} --batch_size {batch} --lr {rate:g}"


USUAL = "--schedule cosine --precision bf16 --balance"
TRANSFORMER = f"{USUAL} --vq_name vq --ema_decay 0.998 --dropout 0.1 --warm_up_iter 100 --eval_iter 1000"
VQ = (
    f"{USUAL} --width 256 --depth 3 --code_dim 256 --nb_code 512 --warm_up_iter 100 --ema_decay 0.99 --eval_iter 600 --rigid_bones "
    "--planted_feet --loss_positions 3 --loss_path 0.3 --loss_velocity 0.1 --loss_acceleration 0.005 --loss_feet 0.5"
)
LAMP = f"{USUAL} --vq_name vq --bert {{bert}} --num_queries 16 --cross_width 384 --embed_dim 256 --match_rows 16 --warm_up_iter 20"
GPT = f"{USUAL} --lamp_name lamp --num-layers 6 --embed-dim-gpt 256 --n-head-gpt 4 --block-size 40 --warm_up_iter 50"
EVALUATOR = "--movement_hidden 192 --movement_dim 192 --motion_hidden 192 --text_hidden 192 --embed_dim 192 --info_nce 3"
STAGES = {
    "vq": Stage("train_vq.py", VQ, (3600, 34, 128, 4e-4), (5000, 1.6, 512, 6e-4), init=True),
    "lamp": Stage("train_lamp.py", f"{LAMP} --eval_iter 200", (400, 16, 64, 2e-4), (3000, 1.2, 256, 3e-4), init=True),
    "masked": Stage(
        "train_t2m_transformer.py",
        f"--stage masked --text_encoder lamp+words --attention full --infill 0.3 {TRANSFORMER} --latent_dim 320 --ff_size 960 "
        "--n_layers 6 --n_heads 5 --text_noise 0.5 --drop_encoder 0.3",
        (9000, 50, 64, 4e-4), (20_000, 1.9, 512, 8e-4),
    ),
    "residual": Stage(
        "train_t2m_transformer.py",
        f"--stage residual --text_encoder sentence --text_noise 0.3 {TRANSFORMER} --latent_dim 256 --ff_size 768 --n_layers 4 "
        "--n_heads 4",
        (3000, 20, 64, 6e-4), (8000, 0.7, 512, 1e-3), init=True,
    ),
    "length": Stage(
        "train_t2m_transformer.py", f"--stage length --text_encoder sentence {TRANSFORMER} --text_noise 0.5",
        (5000, 2, 64, 3e-4), (4000, 0.1, 256, 6e-4),
    ),
    "selector": Stage("train_selector.py", f"{USUAL} --seed 1", (1500, 10, 512, 1e-3), (1500, 1, 512, 1e-3)),
    "evaluator": Stage(
        "train_evaluator.py", f"{EVALUATOR} --eval_iter 600", (3600, 10, 64, 6e-4), (6000, 0.4, 128, 8e-4)
    ),
    "m2t": Stage("train_m2t.py", f"{GPT} --eval_iter 200", (500, 8, 64, 4e-4), (3000, 0.4, 256, 6e-4), init=True),
}  # fmt: skip


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(TrainWeights, argv)
    if unknown := set(config.stages) - set(STAGES):
        raise UserError(f"--stages {min(unknown)}: no such stage; choose from {', '.join(STAGES)}")
    for name in config.stages:
        if finished(config, name):
            print(f"{name}: finished")
            continue
        words = command(config, name)
        print(f"{name}: {shlex.join(words)}", flush=True)
        if code := subprocess.run([sys.executable, *words], check=False).returncode:
            raise UserError(f"{name}: the stage ended with exit code {code}; see the message above; repeat the command to resume")


def command(config: TrainWeights, name: str) -> list[str]:
    """Return the command that trains the model of the stage `name`, as a list of words without the Python interpreter."""
    from utils.checkpoint import CheckpointFolder

    stage = STAGES[name]
    words = [stage.script, "--name", name, "--dataset_name", DATASET, "--checkpoints_dir", config.checkpoints_dir]
    words += ["--data_root", config.data_root] if config.data_root else []
    words += shlex.split(stage.flags.format(bert=shlex.quote(config.bert))) + stage.settings(config.setting).split()
    start = Path(config.init) / DATASET / name
    if CheckpointFolder(config.checkpoints_dir, DATASET, name).has_resume():
        words.append("--is_continue")
    elif config.init and stage.init and start.is_dir():
        words += ["--init", str(start)]
    return words


def finished(config: TrainWeights, name: str) -> bool:
    """Whether the training of the stage `name` has taken all its steps."""
    from utils.checkpoint import CheckpointFolder, read_metadata

    latest = CheckpointFolder(config.checkpoints_dir, DATASET, name).weights("latest")
    return latest.is_file() and read_metadata(latest).get("step", 0) >= getattr(STAGES[name], config.setting)[0]


if __name__ == "__main__":
    main()
