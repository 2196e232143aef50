"""A pretend accelerator for machines without a GPU: what would fail on CUDA fails here, and what would wait for CUDA is counted.

`Acc` tensors claim to be on device `meta` and hold their data on the CPU; mixing them with CPU tensors raises CUDA's error. While
`watched` functions run, `EVENTS` counts synchronisations ("sync": `.item()`, copies to the CPU, boolean indexing, …) and copies to
the device ("copy") by the project's function that causes them. Autocast, fused kernels and NCCL are not covered.
"""

from __future__ import annotations

import collections
import contextlib
import operator
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("meta")
ROOT = f"{Path(__file__).parents[1]}/"
COPIES = {"copy_", "_to_copy"}
HOST = {"_pack_padded_sequence", "_pad_packed_sequence", "set_", "lift_fresh"}  # take tensors of both sides
WAITS = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2", "unique_dim", "bincount", "repeat_interleave"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
INNER = operator.attrgetter("inner")
EVENTS: collections.Counter[tuple[str, str]] = collections.Counter()
watched: set[str] = set()  # "file:function"
REAL = {"tensor": torch.tensor, "as_tensor": torch.as_tensor, "generator": torch.Generator, "adamw": torch.optim.AdamW}
METHODS = {name: getattr(torch.Tensor, name) for name in ("tolist", "__getitem__", "__setitem__")}


class Acc(torch.Tensor):
    """A tensor on the pretend device; `inner` holds the data."""

    def __new__(cls, inner: torch.Tensor) -> Acc:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, device=DEVICE, **layout)

    def __init__(self, inner: torch.Tensor):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _happens(kind: str) -> None:
    """Count an event if a watched function is running."""
    frame, functions = sys._getframe(1), []
    while frame is not None:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if file.startswith(ROOT) and ".venv" not in file and file != __file__ and not function.startswith("<"):
            functions.append(f"{file.removeprefix(ROOT)}:{function}")
        frame = frame.f_back
    if not watched.isdisjoint(functions):
        EVENTS[kind, functions[0]] += 1


def _check(name: str, args: tuple, kwargs: dict, to_cpu: bool, to_device: bool) -> bool:
    """Count what waits, raise for what mixes; whether a tensor of the device takes part."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    on_device = [tensor for tensor in tensors if isinstance(tensor, Acc)]
    host = [tensor for tensor in tensors if not isinstance(tensor, Acc)]
    to_host_copy = name == "copy_" and on_device and not isinstance(args[0], Acc)
    if on_device and (name in WAITS or (name == "_to_copy" and to_cpu) or to_host_copy):
        _happens("sync")
    if (name == "_to_copy" and not on_device and to_device) or (name == "copy_" and host and isinstance(args[0], Acc)):
        _happens("copy")
    if not on_device or name in HOST | COPIES:
        return bool(on_device)
    if name in INDEXING:
        if not isinstance(args[0], Acc):
            raise RuntimeError(f"{name}: indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        chosen = [index for index in args[1] if isinstance(index, torch.Tensor)]
        if any(index.dtype in (torch.bool, torch.uint8) for index in chosen):
            _happens("sync")
        if any(not isinstance(index, Acc) for index in chosen):
            _happens("copy")
    elif any(tensor.dim() for tensor in host):
        raise RuntimeError(f"{name}: Expected all tensors to be on the same device")
    return True


def _run(func, args: tuple, kwargs: dict) -> Any:
    """An operation on the data of its arguments; its results are on the device if they would be."""
    name, device = func._schema.name.removeprefix("aten::"), kwargs.get("device")
    to_device, to_cpu = (device is not None and torch.device(device).type == kind for kind in ("meta", "cpu"))
    mixes = _check(name, args, kwargs, to_cpu, to_device)
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result = func(*tree_map_only(Acc, INNER, args), **tree_map_only(Acc, INNER, kwargs))
    if name in ("_local_scalar_dense", "equal") or (to_cpu and name == "_to_copy"):
        return result
    if name == "_pack_padded_sequence":
        return Acc(result[0]), result[1]
    if name == "copy_":
        return args[0]
    if not (to_device or mixes):
        return result
    wrapped = tree_map_only(torch.Tensor, Acc, result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if mixes else wrapped


def _make(name: str, data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
    tensor = REAL[name](data, **options)
    return tensor.to(DEVICE) if device is not None and torch.device(device).type == "meta" else tensor


def _index(name: str, self: torch.Tensor, index: Any, *value: Any) -> Any:
    """Lists of indices are copied to the device, as CUDA's are."""
    each = index if isinstance(index, tuple) else (index,)
    if isinstance(self, Acc) and any(isinstance(one, list) for one in each):
        index = tuple(REAL["tensor"](one).to(DEVICE) if isinstance(one, list) else one for one in each)
    return METHODS[name](self, index, *value)


@contextlib.contextmanager
def pretend(monkeypatch) -> Iterator[None]:
    """Inside, `resolve_device` gives the pretend device; what imported it or `autocast` by name must be imported before."""
    replaced = {"resolve_device": lambda gpu_id=None: DEVICE, "autocast": lambda device, precision="auto": contextlib.nullcontext()}
    for module in list(sys.modules.values()):
        for name, value in replaced.items():
            if getattr(vars(module).get(name), "__module__", None) == "utils.runtime":
                monkeypatch.setattr(module, name, value)
    generator = type("Generator", (), {"__new__": lambda cls, device="cpu": REAL["generator"]()})
    makers = {name: partial(_make, name) for name in ("tensor", "as_tensor")}
    for name, value in {**makers, "Generator": generator}.items():
        monkeypatch.setattr(torch, name, value)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, fused, **options: REAL["adamw"](groups, foreach=False, **options))
    methods = {name: (lambda *given, name=name: _index(name, *given)) for name in ("__getitem__", "__setitem__")}
    tolist = lambda self: METHODS["tolist"](self.cpu() if isinstance(self, Acc) else self)  # noqa: E731
    methods |= {"new_tensor": lambda self, data: _make("tensor", data, device=self.device, dtype=self.dtype)}
    for name, value in {**methods, "tolist": tolist, "pin_memory": lambda self: self}.items():
        monkeypatch.setattr(torch.Tensor, name, value)
    with _Mode():
        yield
