"""Runs cases and judges how they end: exit 0, or exit 2 with one line of at most 500 characters; within the time and the memory."""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from tests.fuzz.kinds import KINDS
from utils.errors import CONTROLS

SECONDS, GIGABYTES = 20, 4
COLUMNS = {"ok": 7, "refused": 9, "traceback": 11, "hang": 6, "unclear": 9}  # how cases end, and widths


class Hang(BaseException):
    """A case took too long."""


def run_case(kind: str, seed: int, number: int, folder: Path) -> tuple[str, str]:
    """How a case ends (ok, refused, traceback, hang, unclear), and what is wrong."""
    generator = random.Random(f"{kind} {seed} {number}")
    case = KINDS[kind](folder, generator)
    out, err = io.StringIO(), io.StringIO()

    def alarm(*_: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, alarm)
    signal.alarm(SECONDS)
    try:
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            case()
        ending = "ok", ""
    except SystemExit as error:
        ending = judged(error.code, err.getvalue())
    except Hang:
        ending = "hang", f"more than {SECONDS} s"
    except BaseException:
        ending = "traceback", traceback.format_exc()
    finally:
        signal.alarm(0)
    if ending[0] in ("ok", "refused") and CONTROLS.search((out.getvalue() + err.getvalue()).replace("\x1b[A", "")):
        return "unclear", "control characters reach the terminal"
    return ending


def judged(code: object, stderr: str) -> tuple[str, str]:
    """How an exit with a code and what was written on stderr is judged."""
    errors = [line for line in stderr.splitlines() if line.startswith("error:")]
    if code in (0, None):
        return "ok", ""
    if code != 2 or len(errors) != 1 or len(errors[0]) > 500:
        return "unclear", f"exit {code}: {stderr[-1000:]}"
    return "refused", ""


def fuzz(kind: str, cases: int, seed: int, keep: Path) -> Counter:
    """Run cases of a kind; failing input stays in `keep`/<kind>-<seed>-<number>."""
    counts: Counter = Counter()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        KINDS[kind](Path(folder), random.Random(0))  # imports and examples, which are no case's time
    for number in range(cases):
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        with chdir(folder):
            ending, reason = run_case(kind, seed, number, folder)
        counts[ending] += 1
        if ending not in ("ok", "refused"):
            kept = keep / f"{kind}-{seed}-{number}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept)
            (kept / "reason").write_text(reason, encoding="utf-8", errors="replace")
            print(f"{kind} {number} (seed {seed}): {ending}, kept in {kept}\n{reason}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
    return counts


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Feed damaged and hostile input to the project.")
    parser.add_argument("--cases", type=int, default=50, help="cases of each kind; default: 50")
    parser.add_argument("--seed", type=int, default=0, help="where the cases come from; default: 0")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of input; default: all")
    parser.add_argument("--keep", type=Path, default=Path(".fuzz"), help="folder for failing input; default: .fuzz")
    args = parser.parse_args(argv)
    os.environ["PYTHONWARNINGS"] = "ignore"
    keep, failed = args.keep.absolute(), 0
    titles = "".join(f"{title:>{width}}" for title, width in COLUMNS.items())
    print(f"{'kind':<12}{'cases':>7}{titles}{'seconds':>9}   seed {args.seed}")
    for kind in args.kind:
        began = time.perf_counter()
        counts = fuzz(kind, args.cases, args.seed, keep)
        seconds = time.perf_counter() - began
        columns = "".join(f"{counts[title]:>{width}}" for title, width in COLUMNS.items())
        print(f"{kind:<12}{args.cases:>7}{columns}{seconds:>9.1f}", flush=True)
        failed += sum(counts.values()) - counts["ok"] - counts["refused"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"memory: at most {peak:.1f} GB")
    return int(failed > 0 or peak > GIGABYTES)
