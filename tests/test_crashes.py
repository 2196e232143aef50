"""Runs that are killed, and folders that crashes leave behind: a continued run equals one that was never cut off, bit for bit."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import training.trainer
from data.encoded import cached_tokens
from data.pairs import cached_latents
from data.store import MotionStore, Normaliser
from data.text import CaptionedClips
from motion.spec import get_spec
from pipelines.conditioner import cached_conditions
from prepare.synthetic import write_synthetic
from tests.test_trainer import CONFIG, Model, same, score, trainer
from utils.checkpoint import CheckpointFolder, find_weights, load_resume, load_weights, previous, save_resume, save_weights
from utils.errors import UserError, script
from utils.locks import FolderLock, remove_half_files
from utils.runtime import user_cache

ROOT = Path(__file__).parents[1]
FILES = {"opt.txt": (1,), "net_best_size.safetensors": (1,), "latest.safetensors": (1, 2), "resume.pt": (1, 2)}  # which writes
MOMENTS = ("in the write", "before the rename", "after the rename")
FAULTS = [(name, count, moment) for name, counts in FILES.items() for count in counts for moment in MOMENTS]

KILLED = """
import os, pathlib, sys, torch
from tests.test_crashes import run_until

torch.set_num_threads(1)
root, faults = pathlib.Path(sys.argv[1]), eval(sys.argv[2])
run_until(root / "warm-up", "", 0, "")  # what torch imports late, it imports once
for number, fault in enumerate(faults):  # forks are faster than processes that import torch anew
    child = os.fork()
    if not child:
        run_until(root / str(number), *fault)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, fault
"""


class Lengths:
    """A text encoder."""

    dim, word_dim, fingerprint = 2, 0, "lengths"

    def __call__(self, captions):
        return torch.tensor([[float(len(caption)), 1.0] for caption in captions])


def flip(path: Path, position: int) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def crash_config(**changes):
    return replace(CONFIG, save_latest=6, eval_iter=4, max_epoch=3, seed=5, **changes)


def run_until(path: Path, name: str, count: int, moment: str) -> None:
    """Train, and exit with code 9 at a moment of the `count`-th write of the file called `name`."""
    writes, replace_file = 0, os.replace

    def fatal_replace(source, target):
        nonlocal writes
        is_target = Path(target).name == name
        writes += is_target
        if is_target and writes == count and moment == "in the write":
            Path(source).write_bytes(Path(source).read_bytes()[: Path(source).stat().st_size // 2])
            os._exit(9)
        if is_target and writes == count and moment == "before the rename":
            os._exit(9)
        replace_file(source, target)
        if is_target and writes == count:
            os._exit(9)

    os.replace = fatal_replace
    os.fsync = lambda handle: None
    training.trainer.git_revision = str
    sys.stdout = io.StringIO()
    trainer(path, crash_config(), validate=score, best=("size", "max")).fit()


@pytest.fixture
def one_thread():
    """Use one thread, as the killed runs do: on some CPUs, the number of threads changes the last bits of a sum."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_run_killed_at_any_of_18_points_continues_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(training.trainer, "git_revision", str)
    assert len(FAULTS) == 18
    whole = trainer(tmp_path / "whole", crash_config(), validate=score, best=("size", "max"))
    whole.fit()
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), repr(FAULTS)], cwd=ROOT, check=True, timeout=120)
    for number, fault in enumerate(FAULTS):
        root = tmp_path / str(number)
        continued = (root / "synthetic" / "run" / "opt.txt").is_file()
        resumed = trainer(root, crash_config(is_continue=continued), validate=score, best=("size", "max"))
        assert not list(resumed.folder.model.glob(".*")), fault
        resumed.fit()
        assert same(load_resume(whole.folder.resume), load_resume(resumed.folder.resume)), fault
        for tag in ("latest", "net_best_size"):
            assert same(load_weights(whole.folder.weights(tag)), load_weights(resumed.folder.weights(tag))), (fault, tag)


def test_any_flipped_bit_of_a_resume_file_is_noticed(tmp_path, capsys):
    path = tmp_path / "resume.pt"
    save_resume(path, {"step": 1, "weights": torch.arange(1000.0)})
    content = path.read_bytes()
    for position in range(0, len(content), len(content) // 25):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="not a readable resume file"):
            load_resume(path)


def test_a_damaged_resume_file_gives_way_to_the_one_before_it(tmp_path, capsys):
    path = tmp_path / "resume.pt"
    save_resume(path, {"step": 1})
    save_resume(path, {"step": 2})
    assert load_resume(previous(path)) == {"step": 1}
    path.write_bytes(path.read_bytes()[:-1])
    assert load_resume(path) == {"step": 1}
    assert "note:" in (stderr := capsys.readouterr().err) and "its checksum differs" in stderr and "resume.previous.pt" in stderr
    save_resume(path, {"step": 3})
    assert load_resume(previous(path)) == {"step": 1}  # not the damaged one
    path.unlink()
    assert load_resume(path) == {"step": 1}


def test_a_resume_file_from_before_checksums_is_read(tmp_path):
    torch.save({"step": 7}, tmp_path / "resume.pt")
    assert load_resume(tmp_path / "resume.pt") == {"step": 7}


def test_two_trainers_of_one_run(tmp_path):
    first = trainer(tmp_path)
    with pytest.raises(UserError, match="another process is training this run"):
        trainer(tmp_path)
    first.close()
    trainer(tmp_path).fit()


def test_a_lock_ends_with_its_process(tmp_path):
    hold = f"from utils.locks import FolderLock; import os; lock = FolderLock({str(tmp_path)!r}, 'busy'); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", hold], cwd=ROOT).returncode == 9
    FolderLock(tmp_path, "busy").release()


def test_a_filesystem_without_locks_gets_a_note(tmp_path, monkeypatch, capsys):
    import fcntl

    def unsupported(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    first = FolderLock(tmp_path, "busy")
    assert capsys.readouterr().err.startswith("note:")
    FolderLock(tmp_path, "busy").release()  # nothing is locked, so no process is turned away
    first.release()


def test_half_files_go_and_nothing_else_does(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    kept = [model / name for name in ("latest.safetensors", ".hidden", ".lock", ".a.b.safetensors")]
    half = [model / ".latest.123.safetensors", model / ".resume.9.pt", tmp_path / ".opt.77.txt"]
    for path in kept + half:
        path.touch()
    (model / ".folder.1").mkdir()
    assert sorted(remove_half_files(tmp_path, (".", "model", "absent"))) == sorted(half)
    assert all(path.exists() for path in [*kept, model / ".folder.1"])


def test_half_files_and_resume_files_are_no_weights(tmp_path):
    folder = CheckpointFolder(tmp_path, "open", "run")
    folder.model.mkdir(parents=True)
    for name in (".latest.123.safetensors", "resume.previous.pt", "resume.damaged.pt"):
        (folder.model / name).touch()
    with pytest.raises(UserError, match="available: none"):
        find_weights(folder.root)
    (folder.model / "resume.previous.pt").unlink()
    assert not folder.has_weights()


def test_a_full_disk_under_tensorboard_does_not_end_a_run(tmp_path, monkeypatch, capsys):
    run = trainer(tmp_path)
    (run.folder.root / "tensorboard").symlink_to("/dev/full")
    run.fit()
    assert load_resume(run.folder.resume)["step"] == 20

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("training.board.RecordWriter.flush", full)
    trainer(tmp_path / "b").fit()
    stderr = capsys.readouterr().err
    assert stderr.count("TensorBoard logging stops") == 2 and "Traceback" not in stderr


def test_interrupting_a_script_is_no_traceback(capsys):
    @script
    def main(argv=None):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_run_without_any_save_begins_anew(tmp_path, capsys):
    whole = trainer(tmp_path / "whole")
    whole.fit()
    folder = CheckpointFolder(tmp_path / "begun", "synthetic", "run")
    folder.model.mkdir(parents=True)
    folder.opt.touch()
    folder.weights("net_best_size").write_bytes(b"")  # versions before wrote this first
    run = trainer(tmp_path / "begun", replace(CONFIG, is_continue=True))
    run.fit()
    assert "starts from the beginning" in capsys.readouterr().err
    assert same(load_resume(whole.folder.resume), load_resume(run.folder.resume))


def test_a_run_that_failed_at_once_can_be_started_again(tmp_path):
    model = Model()
    model.at_loss = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer(tmp_path, model=model).fit()
    trainer(tmp_path, replace(CONFIG, lr=1e-3)).fit()


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"?" * len(content)])
def test_damaged_caches_are_made_again_with_a_note(tmp_path, capsys, damage):
    write_synthetic(tmp_path, 8)
    spec = get_spec("synthetic", str(tmp_path))
    normaliser = Normaliser.from_dataset(spec)

    def caches():
        """What the caches hold: packed rows, codes, latents, features of captions."""
        clips = CaptionedClips(spec, "train", MotionStore(spec)).clips
        codes = cached_tokens(clips, lambda motion, lengths: motion[:, 3::4, :2].long(), normaliser, 4, "hash").codes
        latents = cached_latents(clips, lambda motion, lengths: motion[:, 3::4, :3], normaliser, 4, "hash")
        conditions = cached_conditions(Lengths(), ["a", "abc"], tmp_path).vectors
        return np.array(clips.rows), np.array(codes), np.array(latents), conditions.numpy()

    before = caches()
    capsys.readouterr()
    files = [file for kind in ("tokens_*", "latents_*", "condition_*") for file in tmp_path.glob(kind)]
    assert len(files) == 3
    for file in [*files, tmp_path / "motions.pack"]:
        file.write_bytes(damage(file.read_bytes()))
        for part, (old, new) in enumerate(zip(before, caches())):
            np.testing.assert_array_equal(old, new, err_msg=f"{file.name}, part {part}")
        stderr = capsys.readouterr().err
        assert stderr.count("note:") == 1 and file.name in stderr


def test_a_flipped_bit_in_a_pack_or_in_weights_is_noticed(tmp_path, capsys):
    write_synthetic(tmp_path / "data", 8)
    spec = get_spec("synthetic", str(tmp_path / "data"))
    before = np.array(MotionStore(spec).rows)
    flip(tmp_path / "data" / "motions.pack", 1000)
    capsys.readouterr()
    assert np.array_equal(MotionStore(spec).rows, before)
    assert "its checksum differs" in capsys.readouterr().err
    save_weights(tmp_path / "a.safetensors", {"w": torch.arange(100.0), "h": torch.ones((), dtype=torch.bfloat16)}, {"kind": "k"})
    assert load_weights(tmp_path / "a.safetensors")[1] == {"kind": "k"}
    flip(tmp_path / "a.safetensors", -50)
    with pytest.raises(UserError, match="damaged"):
        load_weights(tmp_path / "a.safetensors")


def test_links_to_nothing_pipes_and_absurd_numbers_among_motions_are_named(tmp_path, capsys):
    write_synthetic(tmp_path, 8)
    folder = tmp_path / "new_joint_vecs"
    first = sorted(folder.glob("*.npy"))[0]
    (folder / "link.npy").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.npy")
    huge = np.load(first)
    huge[3, 7] = 1e30
    np.save(folder / "huge.npy", huge)
    store = MotionStore(get_spec("synthetic", str(tmp_path)))
    assert set(store.skipped) == {"link.npy", "pipe.npy", "huge.npy"}
    assert "1e+30" in store.skipped["huge.npy"]


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert user_cache().parent == Path(tempfile.gettempdir())
