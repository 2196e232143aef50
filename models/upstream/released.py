"""Load released checkpoints of LaMP, MoMask and the matching evaluator (`.tar`, `.pth`) as our models.

    python -m models.upstream checkpoints/t2m/length_estimator/model/finest.tar     # shows what the file contains
    python -m models.upstream h3d-qformer.tar --convert checkpoints/t2m/lamp        # converts it to our format

The tensor names of a file identify its kind, and sizes come from tensor shapes. Settings that shapes do not determine, such as the
number of attention heads, come from the caller, else from the `opt.txt` in the file's folder, else from the defaults of the
release. There is one `Reader` per kind of file. A reader uses all tensors of a file, except the tensors that the reader lists as
leftovers. All tensors of our model must receive values from the file.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.configs import BUILD_ERRORS
from models.upstream.captioner import LEFTOVERS, captioner_from, is_captioner
from models.upstream.evaluator import PARTS, evaluator_from
from models.upstream.lamp import lamp_from, lamp_masked_from
from models.upstream.tokeniser import is_tokeniser, tokeniser_from
from models.upstream.transformers import length_from, masked_from, residual_from
from motion.spec import SPECS
from options.cli import opt_values, parse
from options.prepare import Upstream
from utils.errors import UserError, script

State = dict[str, Tensor]

# Settings that shapes do not determine: our name → name in opt.txt, type.
SETTINGS = {
    "n_heads": ("n_heads", int),
    "bert_heads": ("bert_heads", int),
    "stride": ("unit_length", int),  # frames per token of the transformer's tokeniser
    "opt_heads": ("opt_heads", int),
    "lora_alpha": ("lora_alpha", int),
    "dilation_growth_rate": ("dilation_growth_rate", int),
    "vq_act": ("vq_act", str),
}
TOKENISER = ("dilation_growth_rate", "vq_act")
MAX_VALUES = 1_000_000  # maximum number of values in a checkpoint, including nested values
PREFIXES = ("module.", "_orig_mod.")  # added to tensor names by DataParallel and torch.compile
POSITIONS = r"position_enc\.pe"  # pattern of the position table, which our models compute
TRANSFORMER_SIZES = ("n_layers", "latent_dim", "ff_size", "n_heads", "cond_dim", "nb_code")


class DamagedFile(UserError):
    """A file that cannot be read; for a readable file of another project, `UserError` itself is raised."""


@dataclass(frozen=True)
class Reader:
    """How to recognise one kind of released checkpoint, and how to build our model from it."""

    kind: str
    title: str
    keys: tuple[str, ...]  # possible keys of the state dict in the file
    knows: Callable[[State], bool]  # whether a state dict is of this kind
    build: Callable[..., nn.Module]  # (state, **settings) → our model with its weights
    sizes: tuple[str, ...]  # config fields to show
    settings: tuple[str, ...] = ()  # names in SETTINGS that `build` takes
    leftovers: str = r"(?!)"  # pattern of unread tensors: duplicates, unused tensors, tensors that our models compute
    text_encoder: str = ""  # name of the text encoder that computes the model's conditions
    dataset: str = ""  # the dataset of all files of this kind; "": several datasets
    joined: bool = False  # whether the state dicts under all `keys` are merged, with names `<key>.<name>`

    def find(self, checkpoint: dict[str, Any]) -> State | None:
        """Find the state dict of the reader's kind of model in a checkpoint; returns None if there is none."""
        states = {key: without_prefix(checkpoint[key]) for key in self.keys if _is_state(checkpoint.get(key))}
        if _is_state(checkpoint) and not self.joined:  # the file is a state dict itself
            states[""] = without_prefix(checkpoint)
        if self.joined and len(states) == len(self.keys):
            states = {"": {f"{key}.{name}": value for key, state in states.items() for name, value in state.items()}}
        return next((state for state in states.values() if self.knows(state)), None)


def without_prefix(state: State) -> State:
    """Remove the prefixes of DataParallel and torch.compile from the names of a state dict."""
    while prefix := next((prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


READERS = (
    Reader(
        kind="tokeniser",
        title="a tokeniser",
        keys=("vq_model", "net"),
        knows=is_tokeniser,
        build=tokeniser_from,
        sizes=("dim", "num_quantizers", "shared_codebook", "nb_code", "code_dim", "width", "depth", "down_t"),
        settings=TOKENISER,
    ),
    Reader(
        kind="masked",
        title="MoMask's masked transformer",
        keys=("t2m_transformer",),
        knows=lambda state: "token_emb.weight" in state and "query_tokens" not in state,
        build=masked_from,
        sizes=TRANSFORMER_SIZES,
        settings=("n_heads", "stride"),
        leftovers=POSITIONS,
        text_encoder="clip",
    ),
    Reader(
        kind="masked",
        title="LaMP's masked transformer with its Q-Former",
        keys=("t2m_transformer", "trans"),
        knows=lambda state: "token_emb.weight" in state and "query_tokens" in state,
        build=lamp_masked_from,
        sizes=TRANSFORMER_SIZES,
        settings=("n_heads", "bert_heads", "stride"),
        leftovers=rf"{POSITIONS}|clip2qformer\..*|Qformer\.cls\..*|Qformer\.bert\.embeddings\.position_ids",
        text_encoder="own",
    ),
    Reader(
        kind="caption_opt",
        title="LaMP's captioner with OPT",
        keys=("trans",),
        knows=is_captioner,
        build=captioner_from,
        sizes=("num_hidden_layers", "hidden_size", "num_queries", "opt_layers", "opt_hidden", "opt_heads", "lora_r"),
        settings=("bert_heads", "opt_heads", "lora_alpha", *TOKENISER),
        leftovers=LEFTOVERS,
        dataset="t2m",
    ),
    Reader(
        kind="lamp",
        title="LaMP's Q-Former with its tokeniser",
        keys=("motion_qformer",),
        knows=lambda state: "motion_projection" in state,
        build=lamp_from,
        sizes=("num_hidden_layers", "hidden_size", "num_attention_heads", "num_queries", "embed_dim", "vocab_size", "stride"),
        settings=("bert_heads", *TOKENISER),
        leftovers=r"Qformer\.(bert\.embeddings\.position_ids|cls\.predictions\.decoder\.(weight|bias))",  # tied weights
    ),
    Reader(
        kind="residual",
        title="MoMask's residual transformer",
        keys=("res_transformer",),
        knows=lambda state: "quant_emb.weight" in state,
        build=residual_from,
        sizes=(*TRANSFORMER_SIZES, "num_quantizers", "share_weight"),
        settings=("n_heads", "stride"),
        leftovers=POSITIONS,
        text_encoder="clip",
    ),
    Reader(
        kind="length",
        title="MoMask's length estimator",
        keys=("estimator",),
        knows=lambda state: "output.0.weight" in state,
        build=length_from,
        sizes=("cond_dim", "classes", "hidden_dim"),
        settings=("stride",),
        text_encoder="clip",
    ),
    Reader(
        kind="evaluator",
        title="a matching evaluator",
        keys=PARTS,
        knows=lambda state: "text_encoder.pos_emb.weight" in state,
        build=evaluator_from,
        sizes=("dim", "movement_hidden", "movement_dim", "motion_hidden", "text_hidden", "embed_dim"),
        joined=True,
    ),
)


def load_released(path: str | Path, *, dataset_name: str | None = None, **settings: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Load a released model in eval mode on the CPU, without running code from the file; also returns its metadata.

    `settings` (names in `SETTINGS`) are values that tensor shapes do not determine; settings that the model's kind lacks are
    ignored. The metadata have the keys kind, config, source, released, title, dataset_name, epoch, step, parameters, leftovers,
    settings (value and origin of each), and, if known, vq_name and text_encoder. A summary is printed on stderr. Raises `UserError`
    for a file that is missing, damaged, of an unknown kind, or inconsistent.
    """
    if unknown := settings.keys() - SETTINGS.keys():
        raise UserError(f"{path}: unknown setting '{min(unknown)}'; choose from: {', '.join(SETTINGS)}")
    path = Path(path)
    checkpoint = read_released(path)
    reader, state = recognise(path, checkpoint)
    opt = read_opt(path)
    settings = {name: value for name, value in settings.items() if value is not None}
    known = {name: value for name, value in {**_settings(path, opt), **settings}.items() if name in reader.settings}
    leftovers = [name for name in state if re.fullmatch(reader.leftovers, name)]
    state = {name: value for name, value in state.items() if name not in leftovers}
    try:
        model = reader.build(state, **known).eval()
    except UserError:
        raise
    except BUILD_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: looks like {reader.title}, but does not fit ({reason}); download it again") from error
    metadata = {
        "kind": reader.kind,
        "config": asdict(model.config),
        "source": str(path),
        "released": True,
        "title": reader.title,
        "dataset_name": dataset_name or opt.get("dataset_name") or _dataset(model),
        "epoch": next((checkpoint[key] for key in ("ep", "epoch") if key in checkpoint), None),
        "step": next((checkpoint[key] for key in ("total_it", "niter") if key in checkpoint), None),
        "parameters": sum(value.numel() for value in state.values()),
        "leftovers": leftovers,
        "settings": {name: _origin(name, known, settings) for name in reader.settings},
    }
    optional = {"vq_name": opt.get("vq_name"), "text_encoder": reader.text_encoder}
    metadata |= {name: value for name, value in optional.items() if value}
    print(f"{path}: {_summary(reader, metadata)}", file=sys.stderr)
    return model, metadata


def _summary(reader: Reader, metadata: dict[str, Any]) -> str:
    """Describe a released file in one line."""
    sizes = ", ".join(f"{name} {metadata['config'][name]}" for name in reader.sizes)
    settings = "".join(f"; {name} {origin}" for name, origin in metadata["settings"].items())
    leftovers = f"; leftovers {len(metadata['leftovers'])}" if metadata["leftovers"] else ""
    dataset = f" for {metadata['dataset_name']}" if metadata["dataset_name"] else ""
    return f"{metadata['title']}{dataset}: {sizes}; {metadata['parameters'] / 1e6:.1f} M parameters{leftovers}{settings}"


def read_released(path: str | Path) -> dict[str, Any]:
    """Read the dict in a released checkpoint, with memory-mapped tensors if possible. Raises `UserError` for any other file."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; download it, or check the path")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged pickle or zip can raise nearly anything
        if match := re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error)):
            reason = f"loading would run code ({match[1]}), which is refused"
            raise UserError(f"{path}: {reason}; use a file that contains only weights") from None
        raise DamagedFile(f"{path}: not a readable checkpoint ({type(error).__name__}); download it again") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path}: holds a {type(checkpoint).__name__}, not a dict of weights; download a released checkpoint")
    check_sizes(path, checkpoint)
    return checkpoint


def check_sizes(path: str | Path, checkpoint: Any) -> None:
    """Raise `UserError` for sparse, quantised or meta tensors, or if all tensors would take far more memory than the file."""
    total, pending, seen = 0, [checkpoint], 0
    while pending and seen < MAX_VALUES:
        value, seen = pending.pop(), seen + 1
        if isinstance(value, Tensor):
            if value.layout is not torch.strided or value.is_quantized or value.is_meta:
                raise UserError(f"{path}: holds sparse, quantised or meta tensors; use a file of plain weights")
            total += value.numel() * value.element_size()
        elif isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, (list, tuple)):
            pending += value
    if seen >= MAX_VALUES or total > 8 * Path(path).stat().st_size + 1_000_000:
        raise UserError(f"{path}: its tensors would take {total / 1e9:.3g} GB, far more than the file; the file is damaged")


def recognise(path: str | Path, checkpoint: dict[str, Any]) -> tuple[Reader, State]:
    """Find the reader for a checkpoint; also returns the state dict. Raises `UserError` if no reader fits."""
    for reader in READERS:
        try:
            state = reader.find(checkpoint)
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):  # tensors with unexpected shapes
            state = None
        if state is not None:
            return reader, state
    known = ", ".join(reader.title for reader in READERS)
    raise UserError(f"{path}: holds {', '.join(map(str, checkpoint))[:100] or 'nothing'}, but no known released model ({known})")


def run_folder(weights: Path) -> Path:
    """The checkpoint folder of a weights file: the folder that contains `model/`, or else the folder of the file."""
    return weights.parent.parent if weights.parent.name == "model" else weights.parent


def read_opt(weights: Path) -> dict[str, str]:
    """The `key: value` lines of the `opt.txt` next to a weights file or in its checkpoint folder; {} if there is none."""
    for path in (weights.parent / "opt.txt", run_folder(weights) / "opt.txt"):
        if path.is_file():
            return opt_values(path.read_text(encoding="utf-8", errors="replace"))
    return {}


def _settings(path: Path, opt: dict[str, str]) -> dict[str, Any]:
    values = {}
    for name, (key, kind) in SETTINGS.items():
        try:
            if key in opt:
                values[name] = kind(opt[key])
                if kind is int and not 1 <= values[name] <= 1024:
                    raise ValueError
        except ValueError:
            raise UserError(f"{path}: opt.txt has an invalid line '{key}: {opt[key][:40]}'; correct or remove it") from None
    return values


def _origin(name: str, known: dict[str, Any], given: dict[str, Any]) -> str:
    return f"{known[name]} {'given' if name in given else 'from opt.txt'}" if name in known else "as released"


def _dataset(model: nn.Module) -> str | None:
    """The first dataset whose feature width is the model's input width; None if the model's input is tokens."""
    width = getattr(getattr(model, "tokeniser", model).config, "dim", None)
    return next((spec.name for spec in SPECS.values() if spec.dim == width), None)


def _is_state(state: Any) -> bool:
    return isinstance(state, dict) and bool(state) and all(isinstance(value, Tensor) for value in state.values())


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(Upstream, argv)
    model, metadata = load_released(config.file, **{name: getattr(config, name) for name in SETTINGS})
    for name in ("kind", "title", "dataset_name", "epoch", "step", "parameters"):
        print(f"{name:<14}{metadata[name]}")
    for name, value in (metadata["config"] | metadata["settings"]).items():
        print(f"  {name:<24}{value}")
    print(f"leftovers     {', '.join(metadata['leftovers']) or 'none'}")
    if config.convert:
        from models.upstream.convert import convert

        for folder in convert(model, metadata, Path(config.convert)):
            print(f"written: {folder}")


if __name__ == "__main__":
    main()
