"""Every training script, killed at every moment of every write: `python -m tests.killed FOLDER STAGE …` prints how they continue.

A killed process leaves the files as they are at that moment. So each script runs once, and its folder is copied half-way through
each write, when the temporary file is whole, and when it has its final name. From each copy the script goes on, as a user would
start it: with --is_continue, or the same command again where the run had no opt.txt yet. Its weights and its resume file must
equal those of the run that was not interrupted, bit for bit. Forks do this in a second or two a stage.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path

import torch

import pipelines.caption_index
import train_evaluator
import train_lamp
import train_m2t
import train_t2m_transformer
import train_vq
import training.trainer
from data.store import Normaliser
from models.vqvae import MotionTokeniser, VQConfig
from models.words import Words
from motion.spec import get_spec
from prepare.synthetic import write_synthetic
from tests.small_bert import write_bert
from tests.small_lamp import write_lamp
from tests.test_trainer import same
from utils.checkpoint import CheckpointFolder, load_resume, load_weights, own_state, save_weights

SMALL = "--latent_dim 16 --ff_size 32 --n_layers 1 --n_heads 2"
T2M = "--batch_size 4 --vq_name vq --text_encoder lamp"
STAGES: dict[str, tuple[Callable, str]] = {
    "vq": (train_vq.main, "--batch_size 8 --width 8 --code_dim 8 --nb_code 16 --depth 1 --num_quantizers 2"),
    "lamp": (train_lamp.main, "--batch_size 8 --vq_name vq --bert bert --num_queries 4 --embed_dim 8 --cross_width 12"),
    "masked": (train_t2m_transformer.main, f"--stage masked {T2M} {SMALL}"),
    "residual": (train_t2m_transformer.main, f"--stage residual {T2M} {SMALL}"),
    "length": (train_t2m_transformer.main, f"--stage length {T2M}"),
    "m2t": (train_m2t.main, "--batch_size 4 --num_layers 1 --embed_dim_gpt 16 --n_head_gpt 2 --ff_rate 2 --block_size 24"),
    "evaluator": (
        train_evaluator.main,
        "--batch_size 6 --movement_hidden 8 --movement_dim 8 --motion_hidden 8 --text_hidden 8 --embed_dim 8",
    ),
}
COMMON = "--name run --dataset_name synthetic --data_root data --checkpoints_dir checkpoints --gpu_id -1"
COMMON += " --max_iters 2 --save_latest 1 --eval_iter 1 --warm_up_iter 1"


class Lengths:
    """A text encoder that needs no weights."""

    dim, word_dim, fingerprint = 2, 0, "lengths"

    def __call__(self, captions):
        return torch.tensor([[float(len(caption)), 1.0] for caption in captions])


def light_parts() -> None:
    """Replace what is slow and does not matter here: MiniLM, git, waiting for the disk."""

    def drawn(vocabulary):
        words = ["unk", "sos", "eos", *sorted(set(vocabulary))]
        return Words(words, torch.randn(len(words), 12, generator=torch.Generator().manual_seed(0)))

    Words.from_word_pieces = drawn
    pipelines.caption_index.SentenceEncoder = Lengths
    training.trainer.git_revision = str
    os.fsync = lambda handle: None


def prepare(root: Path) -> None:
    """A dataset, a random LaMP with its tokeniser, and a BERT folder."""
    write_synthetic(root / "data", clips=16)
    torch.manual_seed(0)
    tokeniser = MotionTokeniser(VQConfig(num_quantizers=3, nb_code=16, code_dim=8, width=8, depth=1))
    for book in tokeniser.quantizer.layers:
        book.codebook.normal_()
    folder = CheckpointFolder(root / "checkpoints", "synthetic", "vq")
    Normaliser.from_dataset(get_spec("synthetic", root / "data")).save(folder.meta)
    save_weights(folder.weights("latest"), own_state(tokeniser), {"kind": "tokeniser", "config": asdict(tokeniser.config)})
    write_lamp(root / "checkpoints", "synthetic")
    captions = " ".join(path.read_text() for path in (root / "data" / "texts").glob("*.txt")).lower()
    write_bert(root / "bert", sorted(set(re.findall("[a-z]+", captions))))


def run(stage: str, root: Path, *flags: str) -> int:
    """Run a stage's script in `root`: its exit code. Its output goes to `root`/log."""
    main, stage_flags = STAGES[stage]
    with chdir(root), open("log", "a") as log, redirect_stdout(log), redirect_stderr(log):
        try:
            main([*COMMON.split(), *stage_flags.split(), *flags])
        except SystemExit as end:
            return end.code or 0
    return 0


def run_apart(stage: str, root: Path, *flags: str) -> int:
    """`run` in its own process, as all runs are; a fork, which does not import torch again."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        code = run(stage, root, *flags)
    finally:
        os._exit(code)


@contextmanager
def copied_at_each_write(root: Path, copies: Path) -> Iterator[None]:
    """Copy `root` at the three moments of every write, to `copies`/<number> <file> <moment>."""
    rename, count = os.replace, 0

    def copy(name: str, moment: str) -> None:
        shutil.copytree(root, copies / f"{count:02} {name} {moment}")

    def watched(source, target):
        nonlocal count
        name = Path(target).name
        if not Path(source).name.startswith("."):  # a whole file makes room for the next one
            rename(source, target)
            return copy(name, "after the rename")
        content = Path(source).read_bytes()
        Path(source).write_bytes(content[: len(content) // 2])
        copy(name, "in the write")
        Path(source).write_bytes(content)
        copy(name, "before the rename")
        rename(source, target)
        copy(name, "after the rename")
        count += 1

    os.replace = watched
    try:
        yield
    finally:
        os.replace = rename


def results(root: Path) -> dict:
    """All files of a run that later scripts or a continued run read."""
    folder = CheckpointFolder(root / "checkpoints", "synthetic", "run")
    weights = {path.name: load_weights(path)[0] for path in sorted(folder.model.glob("*.safetensors"))}
    metas = {path.name: path.read_bytes() for path in sorted((root / "checkpoints" / "synthetic" / "run" / "meta").iterdir())}
    return {"resume": load_resume(folder.resume), "weights": weights, "meta": metas}


def check(stage: str, prepared: Path, root: Path) -> dict:
    """Run a stage and continue it from every moment. Returns the number of moments, their files, and the failures."""
    whole, copies = root / "whole", root / "copies"
    shutil.copytree(prepared, whole)
    copies.mkdir()
    with copied_at_each_write(whole, copies):
        code = run(stage, whole)
    if code:
        return {"moments": 0, "files": [], "failures": [(whole / "log").read_text()]}
    expected, failures = results(whole), []
    moments = sorted(copies.iterdir())
    for copy in moments:
        has_options = (copy / "checkpoints" / "synthetic" / "run" / "opt.txt").is_file()
        code = run_apart(stage, copy, *["--is_continue"] * has_options)
        if code or not same(results(copy), expected):
            failures.append(f"{copy.name}: exit {code}: {(copy / 'log').read_text()[-400:]}")
        elif half := [path for path in (copy / "checkpoints" / "synthetic" / "run").rglob(".*") if path.name != ".lock"]:
            failures.append(f"{copy.name}: left {half}")
    files = sorted({moment.name.split()[1] for moment in moments})
    shutil.rmtree(root)
    return {"moments": len(moments), "files": files, "failures": failures}


def main(folder: Path, stages: list[str]) -> None:
    torch.set_num_threads(1)
    light_parts()
    with redirect_stdout(io.StringIO()):
        prepare(folder / "prepared")
    print(json.dumps({stage: check(stage, folder / "prepared", folder / stage) for stage in stages}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
