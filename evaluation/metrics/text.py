"""Caption metrics: BLEU, ROUGE-L and CIDEr-D, with the conventions of COCO's caption evaluation, which publications use.

N captions are scored against N lists of references. Captions and references are plain strings; `words` converts a string to lower
case and removes punctuation. Each score is computed over the whole corpus and multiplied by 100. A caption that is empty or too
short to contain an n-gram scores 0. BERTScore is in `evaluation/metrics/bertscore.py`.

METEOR is not included. Publications use METEOR 1.5, which needs Java, and a Python version would need WordNet, which no maintained
Python package includes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from utils.errors import UserError

BETA = 1.2  # COCO's weight of recall in ROUGE-L
SIGMA = 6.0  # words; standard deviation of CIDEr-D's length penalty
BLOCK = 512  # pairs of captions per batch of longest common subsequences

JOINED = re.compile(r"(?<=[^\W\d_])['’\-‐‑](?=[^\W\d_])")  # an apostrophe or hyphen between two letters
WORD = re.compile(r"\d+(?:\.\d+)+|[^\W_]+")

Captions = Sequence[str]
References = Sequence[Sequence[str]]


def score_captions(candidates: Captions, references: References, orders: Sequence[int] = (1, 4)) -> dict[str, float]:
    """BLEU-n for each n in `orders`, ROUGE-L and CIDEr of N captions, keyed by name. Raises the errors of `check_captions`.

    `references` has one list of reference captions for each of the captions `candidates`.
    """
    scores = bleu(candidates, references, max(orders))
    row = {name: scores[name] for name in (f"BLEU-{order}" for order in orders)}
    return {**row, "ROUGE-L": rouge_l(candidates, references), "CIDEr": cider(candidates, references)}


# Captions


def words(caption: str) -> list[str]:
    """Lower-case words without punctuation: "A person's left-hand turn, 1.5 m" → a persons lefthand turn 1.5 m.

    Hyphens and apostrophes between letters are deleted; HumanML3D's tokens omit hyphens in the same way.
    """
    return WORD.findall(JOINED.sub("", caption.lower()))


def check_captions(candidates: Captions, references: References) -> None:
    """Raise `UserError` if there are no captions, or if a caption has no references."""
    if isinstance(candidates, str) or not len(candidates):
        raise UserError("captions: none to score; give a list of captions, one for each clip")
    if len(candidates) != len(references):
        raise UserError(f"{len(candidates)} captions but {len(references)} lists of references; give one list for each caption")
    for number, group in enumerate(references, start=1):
        if isinstance(group, str) or not len(group):
            raise UserError(f"caption {number} of {len(references)} has no list of references; add the list, or omit the clip")


def _split(candidates: Captions, references: References) -> tuple[list[list[str]], list[list[str]], np.ndarray]:
    """Return the words of the N candidates and of all M references, and the index (M,) of each reference's candidate."""
    check_captions(candidates, references)
    owner = np.repeat(np.arange(len(references)), [len(group) for group in references])
    return [words(text) for text in candidates], [words(text) for group in references for text in group], owner


def _numbered(sentences: Sequence[Sequence[str]]) -> list[list[int]]:
    """Sentences with each word replaced by an integer id."""
    numbers: dict[str, int] = {}
    return [[numbers.setdefault(word, len(numbers)) for word in sentence] for sentence in sentences]


# BLEU


def bleu(candidates: Captions, references: References, max_order: int = 4) -> dict[str, float]:
    """Corpus BLEU-1 … BLEU-`max_order` as {name: value} (Papineni et al. 2002), computed by sacrebleu without smoothing.

    The brevity penalty uses the reference whose length is closest to the length of the caption; if two references are equally
    close, the shorter reference is used. Results agree with COCO's code, with one exception: if no n-gram of length n matches in
    the whole corpus, this function returns 0 for BLEU-n, whereas COCO's code returns about 1e-4 to 1e-2. Raises `UserError` if
    sacrebleu is not installed, and the errors of `check_captions`.
    """
    check_captions(candidates, references)
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        raise UserError("BLEU needs sacrebleu: pip install -r requirements-evaluation.txt") from None
    maximum = max(map(len, references))
    streams = [[" ".join(words(group[k])) if k < len(group) else None for group in references] for k in range(maximum)]
    metric = BLEU(tokenize="none", smooth_method="none", max_ngram_order=max_order, force=True)
    counted = metric.corpus_score([" ".join(words(text)) for text in candidates], streams)
    return {
        f"BLEU-{n}": BLEU.compute_bleu(
            counted.counts[:n], counted.totals[:n], counted.sys_len, counted.ref_len, smooth_method="none", max_ngram_order=n
        ).score
        for n in range(1, max_order + 1)
    }


# ROUGE-L


def rouge_l(candidates: Captions, references: References) -> float:
    """Mean ROUGE-L of the captions (Lin 2004, section 3, with COCO's β = 1.2): F = (1 + β²) P R / (R + β² P).

    Precision P is the length of the longest common subsequence divided by the length of the caption. Recall R is the length of this
    subsequence divided by the length of the reference. F uses the maximum of P and the maximum of R over all references; the two
    maxima may belong to different references.
    """
    texts, targets, owner = _split(candidates, references)
    numbers = _numbered([*texts, *targets])
    texts, targets = numbers[: len(texts)], numbers[len(texts) :]
    common = _common([texts[index] for index in owner], targets)
    precision, recall = np.zeros(len(texts)), np.zeros(len(texts))
    np.maximum.at(precision, owner, common / np.maximum(1, [len(texts[index]) for index in owner]))
    np.maximum.at(recall, owner, common / np.maximum(1, [len(target) for target in targets]))
    total = recall + BETA**2 * precision
    scores = (1 + BETA**2) * precision * recall / np.where(total > 0, total, 1)
    return 100 * float(scores.mean())


def _common(first: list[list[int]], second: list[list[int]]) -> np.ndarray:
    """Length (pairs,) of the longest common subsequence of each pair of sentences, computed in batches of similar length."""
    sizes = np.array([[len(candidate), len(reference)] for candidate, reference in zip(first, second)])
    order = np.lexsort(sizes.T)
    result = np.zeros(len(order), dtype=np.int64)
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK]
        result[block] = _common_of_block(_padded([first[k] for k in block], -1), _padded([second[k] for k in block], -2))
    return result


def _common_of_block(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute `_common` by dynamic programming, for word ids (pairs, L) and (pairs, M) padded with ids that match nothing.

    length[m, l] = max(length[m-1, l], length[m, l-1], length[m-1, l-1] + (first[l] = second[m])). Rows are computed one after the
    other. All entries l of a row are computed without a loop, because the term length[m, l-1] is a running maximum along the row.
    """
    table = np.zeros((len(first), first.shape[1] + 1), dtype=np.int32)
    for column in second.T:
        table[:, 1:] = np.maximum(table[:, 1:], table[:, :-1] + (first == column[:, None]))
        np.maximum.accumulate(table, axis=1, out=table)
    return table[:, -1]


def _padded(rows: list[list[int]], fill: int) -> np.ndarray:
    out = np.full((len(rows), max(map(len, rows))), fill, dtype=np.int64)
    for target, row in zip(out, rows):
        target[: len(row)] = row
    return out


# CIDEr-D


def cider(candidates: Captions, references: References, max_order: int = 4) -> float:
    """Mean CIDEr-D of the captions (Vedantam et al. 2015, section 5 and appendix, with COCO's σ = 6).

    A caption and a reference are compared by their n-gram counts, weighted by idf = log N − log(max(1, clips)), where `clips` is
    the number of clips, out of N, that have the n-gram in any reference. The counts of the caption are clipped to the counts of the
    reference, and a difference in length d is penalised by e^(−d² / 2σ²). As in COCO's code, the length is the number of word
    bigrams. Results are averaged over n = 1 … `max_order` and over references, and multiplied by 10 as in the paper and by 100 as
    in published tables; the maximum is 1000. If there is only one clip, the score is 0, because every idf is 0.
    """
    texts, targets, owner = _split(candidates, references)
    N, M = len(texts), len(targets)
    bigrams = np.array([max(0, len(sentence) - 1) for sentence in (*texts, *targets)], dtype=float)
    penalty = np.exp(-((bigrams[:N][owner] - bigrams[N:]) ** 2) / (2 * SIGMA**2))  # (M,)
    groups = sparse.csr_matrix((np.ones(M), (owner, np.arange(M))), shape=(N, M))
    similarity = sum(_similarity(counts, groups, owner) for counts in _ngrams([*texts, *targets], max_order)) / max_order
    scores = np.bincount(owner, similarity * penalty, N) / np.bincount(owner, minlength=N)
    return 1000 * float(scores.mean())


def _similarity(counts: sparse.csr_matrix, groups: sparse.csr_matrix, owner: np.ndarray) -> np.ndarray:
    """Clipped cosine similarity (M,) of each reference to its caption, from n-gram counts (N + M, V) of captions and references."""
    N = groups.shape[0]
    captions, references = counts[:N][owner], counts[N:]
    clips = np.asarray((groups @ references > 0).sum(0)).ravel()
    squared = (np.log(N) - np.log(np.maximum(1, clips))) ** 2  # idf²
    product = captions.minimum(references).multiply(references) @ squared
    norms = np.sqrt((captions.power(2) @ squared) * (references.power(2) @ squared))
    return product / np.where(norms > 0, norms, 1)


def _ngrams(sentences: list[list[str]], max_order: int) -> list[sparse.csr_matrix]:
    """Counts (S, V) of the n-grams of S sentences, one matrix per n. The id of an n-gram is derived from its two (n − 1)-grams."""
    row = np.repeat(np.arange(len(sentences)), [len(sentence) for sentence in sentences])
    gram = np.array([number for sentence in _numbered(sentences) for number in sentence], dtype=np.int64)
    matrices = []
    for n in range(1, max_order + 1):
        if n > 1:
            inside = row[:-1] == row[1:]  # both words in the same sentence
            gram = (gram[:-1] * (gram.max(initial=0) + 1) + gram[1:])[inside]
            row = row[:-1][inside]
        vocabulary, gram = np.unique(gram, return_inverse=True)
        matrices.append(sparse.csr_matrix((np.ones(len(gram)), (row, gram)), shape=(len(sentences), len(vocabulary))))
    return matrices
