"""Files of a run: weights as safetensors, one resume file, the checkpoint folder. Everything is written atomically.

`<checkpoints_dir>/<dataset_name>/<name>/` holds `opt.txt`, `meta/{mean,std}.npy`, `model/<tag>.safetensors` (weights to use, with
their config, step and git revision as metadata), `model/resume.pt` (all that an exact resume needs), `model/resume.previous.pt`
(the one saved before it) and `eval/`.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from utils.errors import UserError

Result = TypeVar("Result")
KEPT = 8  # caches of a kind in a folder, so that several tokenisers and splits keep theirs
RELEASED = (".tar", ".pth", ".pt")
SUFFIXES = (".safetensors", *RELEASED)
RESUME_HEADER = b"LaMP resume 1\n"  # then the SHA-256 of what follows
BEST_METRICS = ("fid", "top1", "r1", "accuracy", "acc", "mpjpe", "loss")  # whose best weights are used first
SCALE = "@scale"  # ends the name of a tensor that multiplies the rows of another


@contextmanager
def atomic_path(path: str | Path, *, durable: bool = False, keep: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path` with the same suffix. It is renamed to `path` on success and deleted on failure.

    Makes the parent folder. Raises `UserError` where the file cannot be written.

    Args:
        durable: wait until the disk has the file and its name, so that it survives a power cut too.
        keep: new path of an existing file at `path`; without it, that file is replaced.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    if path.exists() and not path.is_file():
        raise UserError(f"cannot write {path}: it is not a regular file; choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            _sync(temporary)
        if keep and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
        if durable:
            _sync(path.parent)
    except OSError as error:
        remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose a folder you may write to"
        raise UserError(f"cannot write {path}: {error.strerror or error}; {remedy}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _sync(path: Path) -> None:
    """Wait until the disk has a file, or a folder's list of names."""
    if path.is_dir() and os.name == "nt":
        return  # Windows syncs no folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_weights(path: str | Path, state: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors and JSON-able metadata as one safetensors file. Raises `UserError` where that fails."""
    # Clones: safetensors refuses tensors that share memory (tied weights).
    state = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    encoded = {key: json.dumps(value) for key, value in {**metadata, "checksum": _checksum(state)}.items()}
    with atomic_path(path, durable=True) as temporary:
        temporary.write_bytes(safetensors.torch.save(state, encoded))


def load_weights(path: str | Path, raw: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_weights` wrote: (tensors on the CPU, metadata). Tensors stored by `eight_bits` are returned as float32.

    With `raw`, tensors are as stored: int8 with their scales.

    Raises `UserError` for a missing or damaged file.
    """
    metadata = read_metadata(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its tensors cannot be read ({error}); copy or train it again") from error
    if metadata.pop("checksum", None) not in (None, _checksum(state)):
        raise UserError(f"{path}: damaged (its checksum differs); copy or train it again")
    if raw:
        return state, metadata
    scales = {key.removesuffix(SCALE): state.pop(key) for key in list(state) if key.endswith(SCALE)}
    if wrong := [key for key, scale in scales.items() if key not in state or not _scales_rows(scale, state[key])]:
        raise UserError(f"{path}: '{wrong[0]}{SCALE}' scales nothing; copy or train it again")
    return {key: value * scales[key] if key in scales else value for key, value in state.items()}, metadata


def _scales_rows(scale: Tensor, value: Tensor) -> bool:
    """Whether `scale` has one number for each row of `value`, in as many dimensions."""
    return value.ndim > 0 and scale.shape == (len(value), *[1] * (value.ndim - 1))


def _checksum(state: dict[str, Tensor]) -> int:
    """CRC-32 of all names and values."""
    crc = 0
    for key in sorted(state):
        crc = zlib.crc32(state[key].contiguous().reshape(-1).view(torch.uint8).numpy(), zlib.crc32(key.encode(), crc))
    return crc


def eight_bits(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels as int8, for storage: a quarter of the bytes. Each row's float32 scale is under `<name>@scale`."""
    small = {}
    for key, value in state.items():
        if value.ndim < 2 or not value.is_floating_point():
            small[key] = value
            continue
        scale = value.float().abs().amax(tuple(range(1, value.ndim)), keepdim=True).clamp(min=1e-12) / 127
        small |= {key: (value / scale).round().to(torch.int8), key + SCALE: scale}
    return small


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata of a file that `save_weights` wrote. Raises `UserError` for a missing or damaged file."""
    path = _existing(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {key: _decode(value) for key, value in (file.metadata() or {}).items()}
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}); copy or train it again") from error


def save_resume(path: str | Path, state: dict[str, Any]) -> None:
    """Write nested dicts, lists, numbers and tensors with their checksum; the file that was there becomes `<stem>.previous`.

    Raises `UserError` where that fails.
    """
    buffer = io.BytesIO()  # torch.save to a file would turn a full disk's OSError into something else
    torch.save(state, buffer)
    content = buffer.getbuffer()
    with atomic_path(path, durable=True, keep=previous(path)) as temporary, open(temporary, "wb") as file:
        file.write(RESUME_HEADER + hashlib.sha256(content).digest())
        file.write(content)


def previous(path: str | Path) -> Path:
    """The path of the previous resume file."""
    return Path(path).with_suffix(f".previous{Path(path).suffix}")


def load_resume(path: str | Path) -> dict[str, Any]:
    """Read what `save_resume` wrote, tensors on the CPU; runs no code from the file.

    If the file is missing or damaged, the previous one is read and a note is printed. Raises `UserError` if that fails too.
    """
    try:
        return _read_resume(Path(path))
    except UserError as error:
        if not previous(path).is_file():
            raise
        state = _read_resume(previous(path))
        with suppress(OSError):  # out of the way: the next save must not put it in the place of the good one
            os.replace(path, Path(path).with_suffix(f".damaged{Path(path).suffix}"))
        print(f"note: {str(error).partition(';')[0]}; the one before it, {previous(path).name}, is used", file=sys.stderr)
        return state


def _read_resume(path: Path) -> dict[str, Any]:
    """Read one resume file. Files from before checksums were added start with the zip archive."""
    try:
        content = _existing(path).read_bytes()
        if content.startswith(RESUME_HEADER):
            start = len(RESUME_HEADER) + 32
            digest, content = content[start - 32 : start], memoryview(content)[start:]
            if hashlib.sha256(content).digest() != digest:
                raise ValueError("its checksum differs")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # a damaged pickle or zip can raise nearly anything
        reason = str(error) if type(error) is ValueError else type(error).__name__
        raise UserError(f"{path}: not a readable resume file ({reason}); start a new run") from error


def freeze(module: nn.Module) -> nn.Module:
    """Freeze a network that a model only uses: no gradient, eval mode (see `train_`), left out of checkpoints."""
    module.requires_grad_(False).eval()
    module.frozen = True
    return module


def train_(model: nn.Module, mode: bool = True) -> nn.Module:
    """`model.train(mode)` for all but its frozen networks, which stay in eval mode."""
    nn.Module.train(model, mode)
    for module in model.modules():
        if getattr(module, "frozen", False):
            nn.Module.train(module, False)
    return model


def own_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's state dict without its frozen networks."""
    frozen = tuple(f"{name}." for name, module in model.named_modules() if getattr(module, "frozen", False))
    return {key: value for key, value in model.state_dict().items() if not key.startswith(frozen)}


def load_own_state(model: nn.Module, state: dict[str, Tensor], source: str | Path) -> None:
    """Load a state dict of `own_state` strictly. Raises `UserError`, naming `source`, if a name or a shape differs."""
    own = own_state(model)
    wrong = sorted(own.keys() ^ state.keys()) or [key for key in own if own[key].shape != state[key].shape]
    if wrong:
        raise UserError(f"{source}: {len(wrong)} tensors do not fit this model, first '{wrong[0]}'; use the run's own flags")
    if bad := [key for key, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]:
        raise UserError(f"{source}: '{bad[0]}' holds NaN or infinite weights; take another checkpoint of the run")
    model.load_state_dict(state, strict=False)  # names and shapes fit; frozen networks keep what they have


def fingerprint(model: nn.Module, *arrays: np.ndarray) -> str:
    """Hash of the model's own weights and of further arrays."""
    digest = hashlib.sha256()
    for array in (*arrays, *(value.cpu().contiguous().numpy() for value in own_state(model).values())):
        digest.update(array.tobytes())
    return digest.hexdigest()


def cached(path: Path, read: Callable[[Path], Result | None], make: Callable[[Path], None]) -> Result:
    """Read a cache file; `make` writes it if it is missing, damaged, or outdated (`read` returns None).

    A note names a file that is made again. Caches of the same kind that have not been used for long are deleted.
    """
    if path.exists():
        try:
            result, reason = read(path), "not what it should contain"
        except (UserError, OSError, ValueError, KeyError, EOFError) as error:
            result, reason = None, " ".join(str(error).split())
        if result is not None:
            with suppress(OSError):  # a folder that cannot be written to
                os.utime(path)  # used now
            return result
        print(f"note: {path}: damaged ({reason}); it is rebuilt", file=sys.stderr)
    make(path)
    drop_old_caches(path)
    return read(path)


def drop_old_caches(path: Path) -> None:
    """Delete the caches `<kind>_<hash>.<suffix>` of the kind of `path` in its folder, except the `KEPT` newest."""
    with suppress(OSError):  # a folder that cannot be written to, or another process that deletes at the same time
        files = path.parent.glob(f"{path.name.partition('_')[0]}_*{path.suffix}")
        for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True)[KEPT:]:
            file.unlink(missing_ok=True)


class CheckpointFolder:
    """Paths of one run. Nothing is created until something is written. Raises `UserError` for a name outside the folder."""

    def __init__(self, checkpoints_dir: str | Path, dataset_name: str, name: str) -> None:
        parts = PurePath(name).parts
        if not parts or ".." in parts or PurePath(name).is_absolute():
            raise UserError(f"--name '{name}': must name a folder inside {Path(checkpoints_dir) / dataset_name}")
        self.root = Path(checkpoints_dir) / dataset_name / name
        self.opt = self.root / "opt.txt"
        self.meta = self.root / "meta"
        self.model = self.root / "model"
        self.eval = self.root / "eval"
        self.resume = self.model / "resume.pt"

    def weights(self, tag: str) -> Path:
        """The weights file of a tag, such as "latest"."""
        return self.model / f"{tag}.safetensors"

    def has_weights(self) -> bool:
        """Whether there are weights or a resume file that a new run would overwrite."""
        return self.has_resume() or any(not file.name.startswith(".") for file in self.model.glob("*.safetensors"))

    def only_begun(self) -> bool:
        """Whether no update has been saved yet, so that a new run may replace this one."""
        weights = [file for file in self.model.glob("*.safetensors") if not file.name.startswith(".")]
        return not weights and load_resume(self.resume)["step"] == 0

    def has_resume(self) -> bool:
        """Whether an interrupted run can be resumed from here."""
        return self.resume.is_file() or previous(self.resume).is_file()


def find_weights(path: str | Path, tag: str | None = None) -> Path:
    """The weights file of `path`: the file itself, or `model/<tag>` of a checkpoint folder. Raises `UserError` if there is none."""
    path = Path(path)
    if path.is_file() and path.suffix in SUFFIXES:
        return path
    if path.is_file():
        raise UserError(f"{path}: not a weights file; expected one of {', '.join(SUFFIXES)}")
    if not path.is_dir():
        raise UserError(f"{path}: no such checkpoint; check the run's name and folder")
    there = sorted(file for file in (path / "model").glob("*") if file.suffix in SUFFIXES and not file.name.startswith("."))
    there = [file for file in there if not file.name.startswith("resume.")]
    for wanted in [tag] if tag else ["net_best*", "latest", "finest"]:
        if found := [file for file in there if file.match(f"{wanted}.*") or file.name == wanted]:
            return min(found, key=_preference)
    stems = ", ".join(file.stem for file in there) or "none"
    raise UserError(f"{path / 'model'}: no weights '{tag or 'net_best* or latest'}'; there are: {stems}")


def _preference(file: Path) -> tuple[int, str]:
    """Sort key that orders the best weights of a run by their metric."""
    metric = file.stem.removeprefix("net_best").strip("_")
    return BEST_METRICS.index(metric) if metric in BEST_METRICS else len(BEST_METRICS), file.name


def git_revision() -> str:
    """The commit this code is at, with `-dirty` if files were changed since; "" outside git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _existing(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; check the run's name and folder")
    return Path(path)


def _decode(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):  # files of other projects hold plain strings
        return value
