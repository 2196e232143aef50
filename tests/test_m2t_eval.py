"""M2T_eval.py and LaMP-BertScore: a small captioner over a small dataset, from the command line to the page."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

import eval_t2m_trans_res
import M2T_eval
from data.store import MotionStore
from data.text import CaptionedClips
from evaluation.captions import BertScores, captions_of, human_baseline, lamp_bertscore, language_scores, load_scorer
from evaluation.judges import NoJudge
from evaluation.protocol import SplitEvaluation
from models.caption import CaptionGPT, GPTConfig
from models.masked import MaskedConfig, MaskedTransformer
from motion.spec import get_spec
from prepare.synthetic import write_synthetic
from tests.small_lamp import SIZES, WIDTH, WORDS, write_lamp
from utils.checkpoint import CheckpointFolder, save_weights
from utils.errors import UserError

pytest.importorskip("bert_score")
pytest.importorskip("sacrebleu")
pytest.importorskip("spacy")


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """Replace the BERTScore baseline by a rough one; no test depends on its value."""
    monkeypatch.setattr("evaluation.captions.PAIRS", 20)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A synthetic dataset, a small random LaMP, its tokeniser, a captioner and a masked transformer on them."""
    root = tmp_path_factory.mktemp("m2t_eval")
    write_synthetic(root / "data", clips=20, seed=0)
    (root / "data" / "test.txt").write_text((root / "data" / "train.txt").read_text())
    lamp = write_lamp(root, "synthetic")
    torch.manual_seed(0)
    captioner = CaptionGPT(
        GPTConfig(len(WORDS), lamp.config.hidden_size, SIZES["num_queries"], embed_dim=16, num_layers=1, num_heads=2, block_size=9)
    )
    folder = CheckpointFolder(root, "synthetic", "m2t")
    facts = {"kind": "caption_gpt", "config": asdict(captioner.config), "lamp_name": "lamp"}
    save_weights(folder.weights("net_best_loss"), captioner.state_dict(), facts)
    (folder.root / "vocab.txt").write_text("\n".join(WORDS))
    masked = MaskedTransformer(
        MaskedConfig(nb_code=16, cond_dim=WIDTH, code_dim=8, latent_dim=16, ff_size=16, n_layers=1, n_heads=2)
    )
    origin = {"vq_name": "vq", "text_encoder": "lamp", "lamp_name": "lamp", "bert": "", "no_query": False}
    weights = CheckpointFolder(root, "synthetic", "masked").weights("latest")
    save_weights(weights, masked.state_dict(), {"kind": "masked", "config": asdict(masked.config), **origin})
    meta = CheckpointFolder(root, "synthetic", "vq").meta
    meta.mkdir()
    for part in ("mean", "std"):
        np.save(meta / f"{part}.npy", np.ones(263, np.float32))
    return root


def run(root: Path, *words: str) -> dict:
    usual = ["--exp-name", "m2t", "--dataname", "synthetic", "--data_root", str(root / "data"), "--checkpoints_dir", str(root)]
    M2T_eval.main([*usual, "--gpu_id", "-1", "--beams", "2", "--samples", "3", *words])
    return json.loads((root / "synthetic" / "m2t" / "eval" / "captioning.json").read_text())


METRICS = ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr", "BERTScore", "BERTScore raw", "BERTScore idf", "BERTScore idf raw")


def test_the_table_has_all_metrics_for_both_kinds_of_references(root, capsys):
    results = run(root, "--evaluator", "none", "--table", "markdown")
    for who in ("ours", "people"):
        assert {f"{name} ({kind})" for name in METRICS for kind in ("raw", "tokens")} <= set(results[who])
        assert np.isfinite([value for pair in results[who].values() for value in pair]).all()
    assert results["people"]["BLEU-1 (raw)"][0] > results["ours"]["BLEU-1 (raw)"][0]
    assert results["people"]["BERTScore (raw)"][0] > results["ours"]["BERTScore (raw)"][0]
    assert "MiniLM, layer 6" in results["bert"]
    folder = root / "synthetic" / "m2t" / "eval"
    assert "BLEU-4 (tokens)" in (folder / "captioning.log").read_text()
    caption_scores = results["captions"]
    assert len(caption_scores) == len({one["clip"] for one in caption_scores}) and all(one["people"] for one in caption_scores)
    printed = capsys.readouterr().out
    assert f"{caption_scores[0]['clip']}: {caption_scores[0]['said']}" in printed and caption_scores[0]["people"][0] in printed
    assert caption_scores[0]["people"][0] in (folder / "captioning.html").read_text()
    table = (folder / "captioning.md").read_text()
    assert table in printed and "| tokens | m2t | " in table and "| raw | people | " in table and "MiniLM" in table


def test_a_judge_adds_r_precision_and_repeats_an_interval(root):
    results = run(root, "--evaluator", "lamp", "--repeat_times", "2", "--references", "raw", "--num_batch", "1")
    assert {"R@1", "R@2", "R@3", "MM-Dist"} <= set(results["ours"]) & set(results["people"])
    assert not [name for name in results["ours"] if "tokens" in name]
    assert results["people"]["BLEU-1 (raw)"][1] > 0


def test_captions_do_not_depend_on_the_batch_size(root):
    first, second = (run(root, "--evaluator", "none", "--references", "raw", "--batch_size", size) for size in ("3", "32"))
    assert first["captions"] == second["captions"]


def test_results_lie_under_out_dir_and_under_their_own_name(root, tmp_path):
    run(root, "--evaluator", "none", "--references", "raw", "--out-dir", str(tmp_path), "--resume-trans", "m2t", "--name", "Test")
    assert {path.name for path in (tmp_path / "synthetic" / "Test" / "eval").iterdir()} == {
        "captioning.log", "captioning.json", "captioning.html",
    }  # fmt: skip


def test_captions_equal_to_a_reference_have_the_maximum_score(root):
    spec = get_spec("synthetic", root / "data")
    clips = CaptionedClips(spec, "test", MotionStore(spec))
    seen = SplitEvaluation(clips, NoJudge()).real(0)
    captions = captions_of(clips, seen)
    assert all(written in [one.text for one in clip_captions] for written, clip_captions in zip(seen.captions, captions))
    bert = BertScores(load_scorer("", 0, "cpu"), [[one.text for one in clip_captions] for clip_captions in captions])
    for kind in ("raw", "tokens"):
        scores = language_scores(seen.captions, captions, kind, bert)
        assert scores["BLEU-4"] == pytest.approx(100)
        assert scores["BERTScore"] == pytest.approx(100, abs=1e-3)
    human, references = human_baseline(seen, captions)
    assert len(human) == len(references) and all(references)
    assert not any(caption in [one.text for one in row] for caption, row in zip(human, references))


def test_lamp_bertscore_is_full_for_the_texts_themselves_and_less_for_others(root):
    bert = BertScores(load_scorer("", 0, "cpu"), [["a person walks"], ["someone bows"]])
    score = lamp_bertscore(bert)
    texts = ["a person walks", "someone bows"]
    assert score(texts, texts)["LaMP-BertScore"] == pytest.approx(100, abs=1e-3)
    mismatched = score(texts[::-1], texts)
    assert mismatched["LaMP-BertScore"] < 50 and mismatched["LaMP-BertScore raw"] < 100
    assert score([], texts) == {}


def test_text_to_motion_is_scored_by_captions_of_its_motions(root, capsys):
    command = f"--name masked --dataset_name synthetic --data_root {root / 'data'} --checkpoints_dir {root} --evaluator lamp "
    command += "--time_steps 1 --repeat_times 1 --num_batch 1 --mm_batches 0 --gpu_id -1 --lamp_bertscore"
    eval_t2m_trans_res.main(command.split())
    file = root / "synthetic" / "masked" / "eval" / "text2motion.json"
    results = json.loads(file.read_text())["results"]["latest"]
    for who in ("real", "ours"):
        assert np.isfinite(results[who]["LaMP-BertScore"]).all() and np.isfinite(results[who]["LaMP-BertScore raw"]).all()
    assert "BERTScore: MiniLM" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--num-layers", "9"), "--num_layers 9: the captioner has 1"),
        (("--nb-code", "512"), "--nb_code 512: LaMP's tokeniser has 16"),
        (("--resume-trans", "nobody"), "no captioner 'nobody'"),
        (("--resume-trans", "lamp"), "train a captioner with train_m2t.py"),
        (("--split", "nowhere"), "nowhere"),
        (("--beams", "0"), "--beams"),
        (("--repeat_times", "0"), "--repeat_times 0"),
        (("--ext", "../x"), "--ext"),
        (("--bert_score", "/nowhere/at/all"), "/nowhere/at/all"),
    ],
)
def test_bad_input_ends_with_one_line(root, flags, message, capsys):
    with pytest.raises(SystemExit) as stop:
        run(root, *flags)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_without_a_captioner_one_line_says_how_to_get_one(tmp_path):
    with pytest.raises(UserError, match=r"train_m2t\.py"):
        from pipelines.motion2text import MotionToText

        MotionToText.load(tmp_path, "synthetic")
