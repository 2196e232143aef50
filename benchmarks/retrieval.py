"""Time of retrieval: `python -m benchmarks.retrieval [--clips 4384] [--indexed 14616] [--queries 49] [--dim 512]`.

For a gallery as large as HumanML3D's test split, this module measures the time of the similarity matrix and of the four protocols.
The module also measures the time of a search in an index of motions. Embeddings are random, so the times do not include the
embedding of motions and texts. For each task, the module prints the wall-clock time and the CPU time of all threads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    raise SystemExit("error: started by its path; run: python -m benchmarks.retrieval")

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import Result, timed
from evaluation.metrics.retrieval import PROTOCOLS, galleries, pooled_similarity, retrieval_metrics, similar
from options.cli import parse
from options.common import option
from pipelines.search import MotionIndex
from utils.checkpoint import load_weights, save_weights
from utils.errors import script


def time_of(name: str, function: Callable[[], Result]) -> Result:
    """Call `function`, print its time, and return its result."""
    result, wall, cpu = timed(function)
    print(f"{name:<34}{wall:8.3f} s   {cpu:8.3f} CPU s")
    return result


def measure(protocol: str, similarity: Tensor, texts: Tensor, names: list[str]) -> None:
    """Compute the metrics of a retrieval protocol in both directions, motion → text and text → motion.

    `similarity` (N, N) compares motions with captions; `texts` (N, E) are sentence embeddings of the captions.
    """
    correct = similar(texts) if protocol == "threshold" else None
    scores = torch.stack([similarity[indices][:, indices] for indices in galleries(protocol, names, texts)])
    for of_direction in (scores, scores.mT):
        retrieval_metrics(of_direction, correct)


def search(size: int, queries: int, texts: Tensor) -> None:
    """Print the times of the first and of the second search in a memory-mapped index of `size` motions.

    Each motion has `queries` feature vectors; `texts` (2, D) are the text features to search for.
    """
    features = torch.randn(size, queries, texts.shape[1], dtype=torch.float16) / texts.shape[1] ** 0.5
    indices = torch.arange(size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.safetensors"
        save_weights(path, {"features": features, "owners": indices, "starts": 0 * indices, "lengths": 0 * indices + 196}, {})
        index = MotionIndex(**load_weights(path)[0], files=[Path(f"{number}.npy") for number in indices.tolist()], fps=20)
        time_of(f"first search among {size}", lambda: index.search(texts[0], top=5))
        time_of("next search", lambda: index.search(texts[1], top=5))


@dataclass(frozen=True)
class Retrieval:
    """Measure the time of retrieval protocols and of searches in an index."""

    clips: int = option(4384, "clips in the gallery")
    indexed: int = option(14_616, "motions in the index")
    queries: int = option(49, "queries per motion")
    dim: int = option(512, "width of the features")


@script
def main(argv: list[str] | None = None) -> None:
    args = parse(Retrieval, argv)
    generator = torch.Generator().manual_seed(0)
    motion = F.normalize(torch.randn(args.clips, args.queries, args.dim, generator=generator), dim=-1)
    text = F.normalize(torch.randn(args.clips, args.dim, generator=generator), dim=-1)
    sentences = torch.randn(args.clips, 384, generator=generator)
    names = [f"{number:06d}" for number in range(args.clips)]
    print(f"{args.clips} clips, {args.queries} queries of width {args.dim}, {torch.get_num_threads()} threads")
    similarity = time_of("similarity, max over queries", lambda: pooled_similarity(motion, text))
    for protocol in PROTOCOLS:
        time_of(protocol, lambda protocol=protocol: measure(protocol, similarity, sentences, names))
    search(args.indexed, args.queries, text[:2])


if __name__ == "__main__":
    main()
