"""Work that processes of torchrun share: the results are those of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gen_t2m
from tests.tiny import VARIED, write_checkpoints
from utils.runtime import Distributed

ROOT = Path(__file__).parents[1]


class Recorded(Distributed):
    """One of `world` processes; `others` contains the other processes' values at each turn, by rank."""

    def gather(self, value):
        turn = len(self.given)
        self.given.append(value)
        return [value if rank == self.rank else self.others[rank][turn] for rank in range(self.world)]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_turns_give_everything_in_order_on_every_process(world):
    items = "abcdefg"
    given = [[[item * 2, item] for item in items[rank::world]] for rank in range(world)]
    rounds = -(-len(items) // world)
    given = [[*results, *[[]] * (rounds - len(results))] for results in given]
    for rank in range(world):
        process = Recorded(rank, world)
        object.__setattr__(process, "given", [])
        object.__setattr__(process, "others", given)
        made = []
        results = list(process.in_turns(items, lambda item, made=made: made.append(item) or [item * 2, item]))
        assert results == [text for item in items for text in (item * 2, item)]
        assert made == list(items[rank::world])


def test_the_first_process_of_a_machine_goes_before_the_others(monkeypatch):
    order = []
    monkeypatch.setattr(Distributed, "wait", lambda self: order.append(f"{self.local_rank} waits"))
    for local_rank in (0, 1):
        with Distributed(local_rank, 2, local_rank).first_on_node():
            order.append(f"{local_rank} works")
    assert order == ["0 works", "0 waits", "1 waits", "1 works"]
    with pytest.raises(ValueError), Distributed(0, 2, 0).first_on_node():
        raise ValueError
    assert order[-1] == "0 waits"


def test_two_processes_write_the_files_of_one(tmp_path):
    checkpoints = write_checkpoints(tmp_path / "runs")
    (tmp_path / "prompts.txt").write_text("a person walks#40\na person bows#36\na person jumps#44\n")
    flags = ["--checkpoints_dir", str(checkpoints), "--name", "base", "--res_name", "res", "--gpu_id", "-1", *VARIED]
    flags += ["--text_path", str(tmp_path / "prompts.txt"), "--batch_size", "2", "--time_steps", "3", "--formats", "npy"]
    flags += ["--output_dir", str(tmp_path), "--precision", "fp32"]
    gen_t2m.main([*flags, "--ext", "one"])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(ROOT / "gen_t2m.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run([*torchrun, *flags, "--ext", "two"], env=environment, check=True, timeout=300, capture_output=True)
    folders = tmp_path / "one", tmp_path / "two"
    single, double = (sorted(path.relative_to(folder) for path in folder.rglob("*.npy")) for folder in folders)
    assert single == double and len(single) == 6  # three motions, and the same with locked feet
    for name in single:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
