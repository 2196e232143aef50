"""The kinds of input: each draws a case, writes it into a folder, and returns what to do with it."""

from __future__ import annotations

import io
import json
import random
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from tests.fuzz import mutate

ODD_TYPES = [tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE]
FLAG_VALUES = [*mutate.WORDS, *map(str, [0, 1, 1, 4, 100, -1, 0.5, 0.9, 2**63, 10**20])] + ["1", "0.5", "a"] * 20
Case = Callable[[], object]
CAPTIONS = "a person walks#a/DET person/NOUN walk/VERB#0.0#0.0\na man waves#a/DET man/NOUN wave/VERB#1.0#4.0\n"


@cache
def motions() -> dict[str, bytes]:
    """One file of each format."""
    from motion.files.bvh import write_bvh
    from motion.ik import fit_pose
    from motion.skeleton import HUMANML3D
    from tests.tiny import walk, walking

    joints = walk(20)
    arrays = {"joints.npy": joints, "features.npy": walking(20).numpy(), "half.npy": joints.astype(np.float16)}
    files = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        files[name] = buffer.getvalue()
    buffer = io.BytesIO()
    np.savez(buffer, joints)
    files["one.npz"] = buffer.getvalue()
    pose = fit_pose(torch.from_numpy(joints.astype(np.float64)), HUMANML3D)
    path = Path("fuzz.bvh")
    parts = (np.asarray(part) * scale for part, scale in ((pose.offsets, 100), (pose.root, 100), (pose.rotations, 1)))
    write_bvh(path, HUMANML3D.bones, HUMANML3D.parents, *parts, fps=20)
    files["walk.bvh"] = path.read_bytes()
    return files


def motion(folder: Path, generator: random.Random) -> Case:
    """A motion file, converted to joints; what comes out is finite and as large as a person."""
    from motion.files import convert

    name, content = generator.choice(list(motions().items()))
    damaged = mutate.of_text(content.decode(), generator) if name.endswith("bvh") else mutate.of_bytes(content, generator)
    (folder / name).write_bytes(damaged)

    def run() -> None:
        convert.main([str(folder / name), str(folder / "out.npy"), *(["--features"] if generator.random() < 0.2 else [])])
        assert np.isfinite(np.load(folder / "out.npy")).all(), "not finite"

    return run


@cache
def weights() -> dict[str, tuple[dict, dict]]:
    """State dict and metadata of a small model of each kind."""
    from tests.tiny import models

    return {kind: (model.state_dict(), {"kind": kind, "config": asdict(model.config)}) for kind, model in models().items()}


def checkpoint(folder: Path, generator: random.Random) -> Case:
    """A weights file: its config, its tensors or its bytes are changed."""
    from models.loading import load_model
    from utils.errors import script

    state, metadata = generator.choice(list(weights().values()))
    way = generator.randrange(4)
    if way == 0:
        metadata = {key: mutate.of_value(value, generator) if key == "config" else value for key, value in metadata.items()}
    if way == 1:
        state = dict(state)
        key = generator.choice(list(state))
        shape = generator.choice([(0,), (1,), (3, 5), tuple(state[key].shape[::-1])])
        state[key] = generator.choice([torch.zeros(shape), torch.full(state[key].shape, float("nan")), torch.ones(shape).long()])
    if way == 3:  # a released file
        wrapped = generator.choice([{"vq_model": state}, {"net": state}, {"t2m_transformer": state}, {"estimator": state}, state])
        prefix = generator.choice(["", "module.", "_orig_mod.", "module._orig_mod."])
        wrapped = {key: {prefix + name: part for name, part in value.items()} if isinstance(value, dict) else value
                   for key, value in wrapped.items()}  # fmt: skip
        torch.save(wrapped, folder / "a.tar")
        path = folder / "a.tar"
    else:
        path = folder / "a.safetensors"
        path.write_bytes(safetensors.torch.save({key: value.contiguous() for key, value in state.items()},
                                                {key: dumped(value) for key, value in metadata.items()}))  # fmt: skip
    if way == 2 or (way == 3 and generator.random() < 0.5):
        path.write_bytes(mutate.of_bytes(path.read_bytes(), generator))
    return lambda: script(lambda argv: load_model(path))([])


def dumped(value: object) -> str:
    try:
        return json.dumps(value)
    except ValueError:  # a number of thousands of digits
        return '{"nb_code": ' + "9" * 5000 + "}"


def text(folder: Path, generator: random.Random) -> Case:
    """A caption file, a file of prompts, an opt.txt or a split file."""
    from data.prompts import read_prompts
    from data.text import read_captions
    from options.cli import from_opt
    from options.train import TrainVQ
    from utils.errors import script

    prompts = "a person walks#60\na man waves with the left hand#NA\nsomeone jumps\n"
    opt = "------------ Options -------------\nbatch_size: 256\nmilestones: [150000, 250000]\nname: a\nlr: 0.0002\ncompile: False\n"
    content, read = generator.choice([
        (CAPTIONS, lambda path: read_captions(path)),
        (prompts, lambda path: read_prompts("", str(path), 0, 196)),
        (opt, lambda path: from_opt(TrainVQ, path)),
    ])  # fmt: skip
    path = folder / "a.txt"
    path.write_bytes(mutate.of_text(content, generator))
    return lambda: script(lambda argv: read(path))([])


def archive(folder: Path, generator: random.Random) -> Case:
    """An archive of caption files."""
    from prepare.humanml3d import read_captions
    from utils.errors import script

    names = ["texts/a.txt", "texts/b.txt", "x/texts/c.txt", "../texts/d.txt", "/texts/e.txt", "texts/a.txt", "texts/" + "f" * 300]
    names = generator.sample(names, generator.randint(1, 4))
    path = folder / generator.choice(["a.zip", "a.tar", "a.tar.gz"])
    size = generator.choice([10, 1000, 5_000_000])
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", generator.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as target:
            for name in dict.fromkeys(names):
                target.writestr(name, CAPTIONS.encode() * (size // 100 + 1))
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as target:
            for name in names:
                info = tarfile.TarInfo(name)
                info.type = generator.choice([tarfile.REGTYPE] * 5 + ODD_TYPES)
                info.linkname = "/etc/passwd"
                info.size = len(CAPTIONS) if info.isfile() else 0
                target.addfile(info, io.BytesIO(CAPTIONS.encode()))
    if generator.random() < 0.6:
        path.write_bytes(mutate.of_bytes(path.read_bytes(), generator))
    return lambda: script(lambda argv: read_captions(path))([])


def flags(folder: Path, generator: random.Random) -> Case:
    """Flags of a script, of which some have odd values."""
    from options import evaluate, generate, train
    from options.cli import parse
    from utils.errors import script

    classes = [value for module in (evaluate, generate, train) for value in vars(module).values()
               if is_dataclass(value) and value.__module__ == module.__name__]  # fmt: skip
    config_class = generator.choice(classes)
    names = [field.name for field in fields(config_class) if "help" in field.metadata and field.name != "is_continue"]
    argv = []
    for name in generator.sample(names, min(generator.randint(1, 3), len(names))):
        argv += [f"--{name}", *generator.choices(FLAG_VALUES, k=generator.choice((0, 1, 1, 1, 2)))]
    return lambda: script(lambda _: parse(config_class, argv))([])


KINDS = {"motion": motion, "checkpoint": checkpoint, "text": text, "archive": archive, "flags": flags}
