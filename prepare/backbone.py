"""Reduce a BERT model: keep only its first layers, and only the embeddings of word pieces that the given captions need.

    python -m prepare.backbone --texts dataset/Open/texts --layers 4 --out checkpoints/minilm4

Most weights of a small BERT are embeddings of words that no caption contains. This script keeps the special tokens, all word pieces
of the captions, and single letters, so that any English word can still be spelled. The reduced tokeniser splits the given captions
into the same word pieces as the original tokeniser. For these captions, the kept layers therefore compute the same hidden states
as in the original model. The output folder is an ordinary BERT folder (`config.json`, `model.safetensors`, `vocab.txt`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:
    raise SystemExit("error: started by its path; run: python -m prepare.backbone")

from options.cli import parse
from options.prepare import CutBackbone
from utils.errors import UserError, note, script

if TYPE_CHECKING:  # imported late, to keep --help fast
    from tokenizers import Tokenizer
    from torch import Tensor

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BATCH = 4096  # number of captions tokenised in one call


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(CutBackbone, argv)
    for flag in ("texts", "out"):
        if not getattr(config, flag):
            raise UserError(f"--{flag} is missing: give the captions with --texts and the output folder with --out")
    from models.bert import minilm_folder

    source, out = Path(config.bert) if config.bert else minilm_folder(), Path(config.out)
    if (out / "model.safetensors").exists():
        raise UserError(f"--out {out}: already contains a model; choose another folder, or remove this folder")
    captions = [caption for texts in config.texts for caption in read_texts(Path(texts))]
    words, layers = cut(source, captions, config.layers, out)
    size = (out / "model.safetensors").stat().st_size / 2**20
    print(f"{out}: {words} word pieces for {len(captions)} captions, {layers} layers, {size:.1f} MiB")


def read_texts(path: Path) -> list[str]:
    """Read all captions from a folder of caption files, or from a .zip or .tar.gz archive of such a folder."""
    from data.store import named
    from data.text import parse_captions
    from prepare.humanml3d import read_captions

    captions, faults = [], []
    for name, content in read_captions(path).items():
        try:
            parsed = parse_captions(content.decode("utf-8-sig", errors="replace"), f"{path}: {name}", faults)
        except UserError as error:
            faults.append(str(error))
            continue
        captions += [caption.text for caption in parsed]
    if faults:
        note(f"--texts {path}: skipped {len(faults)} malformed lines or files: {named(faults, 3)}")
    if not captions:
        raise UserError(f"--texts {path}: contains no captions; expected files <name>.txt with lines caption#tokens#from#to")
    return captions


def cut(source: Path, captions: list[str], layers: int, out: Path) -> tuple[int, int]:
    """Reduce the BERT in the folder `source` to its first `layers` layers and to the word pieces that `captions` need.

    Writes the reduced model to the folder `out`, and returns the numbers of kept word pieces and layers. If `layers` is 0, all
    layers are kept. Raises `UserError` if `source` contains no usable model, or if this model has fewer than `layers` layers.
    """
    from models.bert import BertConfig, load_tokenizer
    from utils.checkpoint import atomic_path, load_weights, save_weights

    settings = BertConfig.read(source / "config.json")
    if not 0 <= layers <= settings.num_hidden_layers:
        raise UserError(f"--layers {layers}: choose from 1 to {settings.num_hidden_layers} (layers in {source}), or 0 for all")
    layers = layers or settings.num_hidden_layers
    tokenizer = load_tokenizer(source)
    vocabulary = tokenizer.get_vocab()  # piece → id
    if missing := [piece for piece in SPECIAL if piece not in vocabulary]:
        raise UserError(f"{source}: its vocabulary has no {missing[0]}; give a complete BERT folder with --bert")
    kept = needed(tokenizer, captions)
    state, _ = load_weights(source / "model.safetensors")
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config |= {"vocab_size": len(kept), "num_hidden_layers": layers}
    with atomic_path(out / "vocab.txt") as path:
        path.write_text("".join(f"{piece}\n" for piece in kept), encoding="utf-8")
    with atomic_path(out / "config.json") as path:
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    rows = [vocabulary[piece] for piece in kept]
    save_weights(out / "model.safetensors", dict(parts(state, rows, layers)), {})
    return len(kept), layers


def needed(tokenizer: Tokenizer, captions: list[str]) -> list[str]:
    """The word pieces to keep for `captions`: special tokens first, so that [PAD] has the id 0, then the rest in the same order."""
    vocabulary = tokenizer.get_vocab()
    unique = list(dict.fromkeys(caption.lower() for caption in captions))
    used = set()
    for first in range(0, len(unique), BATCH):
        used.update(*(row.ids for row in tokenizer.encode_batch(unique[first : first + BATCH])))

    def keep(piece: str) -> bool:
        letter = piece.removeprefix("##")
        return vocabulary[piece] in used or (len(letter) == 1 and letter.isascii())

    return [*SPECIAL, *(piece for piece in sorted(vocabulary, key=vocabulary.get) if keep(piece) and piece not in SPECIAL)]


def parts(state: dict[str, Tensor], rows: list[int], layers: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights (name, tensor) of the reduced BERT, given the weights `state` of the original BERT: without pretraining
    heads, with the first `layers` layers, and with the rows `rows` of the word embeddings."""
    for name, value in state.items():
        stem = name.removeprefix("bert.")
        is_dropped_layer = stem.startswith("encoder.layer.") and int(stem.split(".")[2]) >= layers
        if not is_dropped_layer and not stem.startswith("cls."):
            yield name, value[rows] if stem == "embeddings.word_embeddings.weight" else value


if __name__ == "__main__":
    main()
