"""Files of a run: weights, resume files and caches. All files are written atomically.

The checkpoint folder `<checkpoints_dir>/<dataset_name>/<name>/` contains:

    opt.txt                   flags of the run
    meta/{mean,std}.npy       mean and standard deviation of the features
    model/<tag>.safetensors   weights, with config, training step and git revision as metadata
    model/resume.pt           complete training state, from which a run resumes exactly
    model/resume.previous.pt  the previous resume file
    eval/                     results of evaluations
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import subprocess
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

from utils.errors import UserError, note

Result = TypeVar("Result")
KEPT = 8  # number of caches of the same kind, for different tokenisers and splits, that are kept in a folder
RELEASED = (".tar", ".pth", ".pt")
SUFFIXES = (".safetensors", *RELEASED)
RESUME_HEADER = b"LaMP resume 1\n"  # followed by the SHA-256 of the content, then by the content
BEST_METRICS = ("fid", "top1", "r1", "accuracy", "acc", "mpjpe", "loss")  # net_best_<metric>, in order of preference
SCALE = "@scale"  # suffix of the tensor that contains the row scales of an int8 tensor


@contextmanager
def atomic_path(path: str | Path, *, durable: bool = False, keep: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path next to `path`, at which the body of the context writes a file.

    At the end of the context, this file is renamed to `path`; after an exception, the file is deleted. Creates the parent folder.
    Raises `UserError` if the file cannot be written.

    Args:
        durable: wait until file and folder entry are on the disk (fsync), so that the file survives a power failure.
        keep: path to which an existing file at `path` is moved; None: the existing file is replaced.
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
    """Wait until a file, or the entries of a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot sync folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_weights(path: str | Path, state: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors and JSON-serialisable metadata as one safetensors file. Raises `UserError` if the file cannot be written."""
    state = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    seen: set[int] = set()
    for key, value in state.items():  # copies tensors that share memory, such as tied weights: safetensors rejects such tensors
        if (storage := value.untyped_storage()).data_ptr() in seen or storage.nbytes() != value.nbytes:
            state[key] = value.clone()
        seen.add(storage.data_ptr())
    encoded = {key: json.dumps(value) for key, value in {**metadata, "checksum": _checksum(state)}.items()}
    with atomic_path(path, durable=True) as temporary:
        temporary.write_bytes(safetensors.torch.save(state, encoded))


def load_weights(path: str | Path, raw: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file written by `save_weights`; returns (tensors on the CPU, metadata). 8-bit tensors are converted to float32.

    If `raw` is set, 8-bit tensors are returned as the file stores them: int8 tensors and their scales.

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
        raise UserError(f"{path}: '{wrong[0]}{SCALE}' does not match a tensor; copy or train it again")
    return {key: value * scales[key] if key in scales else value for key, value in state.items()}, metadata


def _scales_rows(scale: Tensor, value: Tensor) -> bool:
    """Whether `scale` has shape (rows, 1, …, 1), with the number of rows and dimensions of `value`."""
    return value.ndim > 0 and scale.shape == (len(value), *[1] * (value.ndim - 1))


def _checksum(state: dict[str, Tensor]) -> int:
    """CRC-32 of all names and values."""
    crc = 0
    for key in sorted(state):
        crc = zlib.crc32(state[key].contiguous().reshape(-1).view(torch.uint8).numpy(), zlib.crc32(key.encode(), crc))
    return crc


def eight_bits(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert floating-point tensors with two or more dimensions to int8.

    For each of these tensors, a tensor `<name>@scale` with one float32 scale per row is added.
    """
    quantised = {}
    for key, value in state.items():
        if value.ndim < 2 or not value.is_floating_point():
            quantised[key] = value
            continue
        scale = value.float().abs().amax(tuple(range(1, value.ndim)), keepdim=True).clamp(min=1e-12) / 127
        quantised |= {key: (value / scale).round().to(torch.int8), key + SCALE: scale}
    return quantised


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read the metadata of a file written by `save_weights`. Raises `UserError` for a missing or damaged file."""
    path = _existing(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {key: _decode(value) for key, value in (file.metadata() or {}).items()}
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}); copy or train it again") from error


def save_resume(path: str | Path, state: dict[str, Any]) -> None:
    """Write a training state (dicts, lists, numbers, tensors) with a checksum. An existing file is renamed to `<stem>.previous.pt`.

    Raises `UserError` if the file cannot be written.
    """
    buffer = io.BytesIO()  # torch.save to a file would not raise OSError if the disk is full
    torch.save(state, buffer)
    content = buffer.getbuffer()
    with atomic_path(path, durable=True, keep=previous(path)) as temporary, open(temporary, "wb") as file:
        file.write(RESUME_HEADER + hashlib.sha256(content).digest())
        file.write(content)


def previous(path: str | Path) -> Path:
    """The path to which `save_resume` renames an existing resume file `path`."""
    return Path(path).with_suffix(f".previous{Path(path).suffix}")


def load_resume(path: str | Path) -> dict[str, Any]:
    """Read a file written by `save_resume`, with tensors on the CPU. No code from the file is executed.

    If the file is missing or damaged, the previous file is read and a note is printed. Raises `UserError` if the previous file
    cannot be read either.
    """
    try:
        return _read_resume(Path(path))
    except UserError as error:
        if not previous(path).is_file():
            raise
        state = _read_resume(previous(path))
        with suppress(OSError):  # without this, the next save would replace the intact previous file with the damaged file
            os.replace(path, Path(path).with_suffix(f".damaged{Path(path).suffix}"))
        note(f"{str(error).partition(';')[0]}; the previous file, {previous(path).name}, is used")
        return state


def _read_resume(path: Path) -> dict[str, Any]:
    """Read one resume file. Files of older versions are `torch.save` archives without header and checksum."""
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
    except Exception as error:  # damaged pickle and zip files raise many kinds of exceptions
        reason = str(error) if type(error) is ValueError else type(error).__name__
        raise UserError(f"{path}: not a readable resume file ({reason}); start a new run") from error


def freeze(module: nn.Module) -> nn.Module:
    """Freeze a network: it gets no gradients, stays in eval mode (see `train_`) and is left out of checkpoints."""
    module.requires_grad_(False).eval()
    module.frozen = True
    return module


def train_(model: nn.Module, mode: bool = True) -> nn.Module:
    """Like `model.train(mode)`, but frozen networks in the model stay in eval mode."""
    nn.Module.train(model, mode)
    for module in model.modules():
        if getattr(module, "frozen", False):
            nn.Module.train(module, False)
    return model


def own_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of the model without its frozen networks."""
    frozen = tuple(f"{name}." for name, module in model.named_modules() if getattr(module, "frozen", False))
    return {key: value for key, value in model.state_dict().items() if not key.startswith(frozen)}


def load_own_state(model: nn.Module, state: dict[str, Tensor], source: str | Path) -> None:
    """Load a state dict returned by `own_state`. A model on the `meta` device takes the tensors without copying them.

    Raises `UserError`, naming `source`, if a name or a shape differs, or if weights are not finite.
    """
    expected = own_state(model)
    on_meta = any(value.is_meta for value in expected.values())
    wrong = sorted(expected.keys() ^ state.keys()) or [key for key in expected if expected[key].shape != state[key].shape]
    if wrong:
        problem = f"{len(wrong)} tensors do not fit this model, first '{wrong[0]}'"
        raise UserError(f"{source}: {problem}; use the flags and the dataset of the run")
    if bad := [key for key, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]:
        raise UserError(f"{source}: '{bad[0]}' contains NaN or infinity; use another checkpoint of the run")
    model.load_state_dict(state, strict=False, assign=on_meta)  # not strict, because frozen networks are not in `state`


def fingerprint(model: nn.Module, *arrays: np.ndarray) -> str:
    """Hash of the model's weights and of `arrays`. Frozen networks are left out."""
    digest = hashlib.sha256()
    for array in (*arrays, *(value.cpu().contiguous().numpy() for value in own_state(model).values())):
        digest.update(array.tobytes())
    return digest.hexdigest()


def cached(path: Path, read: Callable[[Path], Result | None], make: Callable[[Path], None]) -> Result:
    """Read a cache file with `read`. If the file is missing, damaged or outdated (`read` returns None), `make` writes it first.

    A note is printed if an existing file is rebuilt. After writing, the least recently used caches of the same kind are deleted.
    """
    if path.exists():
        try:
            result, reason = read(path), "unexpected content"
        except (UserError, OSError, ValueError, KeyError, EOFError) as error:
            result, reason = None, " ".join(str(error).split())
        if result is not None:
            with suppress(OSError):  # a folder that cannot be written to
                os.utime(path)  # marks the file as recently used
            return result
        note(f"{path}: damaged ({reason}); it is rebuilt")
    make(path)
    drop_old_caches(path)
    return read(path)


def drop_old_caches(path: Path) -> None:
    """Delete all but the `KEPT` newest caches that have the kind and the folder of `path`, named `<kind>_<hash>.<suffix>`."""
    with suppress(OSError):  # a folder that cannot be written to, or another process that deletes at the same time
        files = path.parent.glob(f"{path.name.partition('_')[0]}_*{path.suffix}")
        for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True)[KEPT:]:
            file.unlink(missing_ok=True)


class CheckpointFolder:
    """Paths of the files of a run (one training). No folder is created.

    Raises `UserError` for a name that leads outside `<checkpoints_dir>/<dataset_name>`.
    """

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
        """Whether the folder contains weights or a resume file, which a new run would overwrite."""
        return self.has_resume() or any(not file.name.startswith(".") for file in self.model.glob("*.safetensors"))

    def only_begun(self) -> bool:
        """Whether the run has saved no weights and its resume file is from step 0, so that a new run may replace it."""
        weights = [file for file in self.model.glob("*.safetensors") if not file.name.startswith(".")]
        return not weights and load_resume(self.resume)["step"] == 0

    def has_resume(self) -> bool:
        """Whether the folder contains a current or a previous resume file."""
        return self.resume.is_file() or previous(self.resume).is_file()


def find_weights(path: str | Path, tag: str | None = None) -> Path:
    """The weights file at `path`, or in the checkpoint folder `path`. Raises `UserError` if there is no such file.

    In a checkpoint folder, the file is `model/<tag>.<suffix>`. If `tag` is None, the best weights are chosen or, if there are none,
    the latest. If several metrics have best weights, `BEST_METRICS` gives the order of preference.
    """
    path = Path(path)
    if path.is_file() and path.suffix in SUFFIXES:
        return path
    if path.is_file():
        raise UserError(f"{path}: not a weights file; expected one of {', '.join(SUFFIXES)}")
    if not path.is_dir():
        raise UserError(f"{path}: no such checkpoint; check the run's name and folder")
    files = sorted(file for file in (path / "model").glob("*") if file.suffix in SUFFIXES and not file.name.startswith("."))
    files = [file for file in files if not file.name.startswith("resume.")]
    for pattern in [tag] if tag else ["net_best*", "latest", "finest"]:
        if matches := [file for file in files if file.match(f"{pattern}.*") or file.name == pattern]:
            return min(matches, key=_preference)
    stems = ", ".join(file.stem for file in files) or "none"
    raise UserError(f"{path / 'model'}: no weights '{tag or 'net_best* or latest'}'; available: {stems}")


def _preference(file: Path) -> tuple[int, str]:
    """Sort key that orders the best weights of a run by their metric."""
    metric = file.stem.removeprefix("net_best").strip("_")
    return BEST_METRICS.index(metric) if metric in BEST_METRICS else len(BEST_METRICS), file.name


def git_revision() -> str:
    """The git commit of this code, with `-dirty` if files differ from the commit; "" outside a git repository."""
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
    except (ValueError, RecursionError):  # other projects store plain strings
        return value
