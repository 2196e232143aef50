"""A split as an evaluator stored it: it comes back as it was, and stands in for the dataset in eval_t2m_trans_res.py."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

import eval_t2m_trans_res
from data.store import MotionStore
from data.text import CaptionedClips
from evaluation import stored
from evaluation.judges import GuoJudge
from evaluation.protocol import SplitEvaluation
from evaluation.stored import StoredEvaluation, StoredSplit
from models.evaluator import Evaluator, EvaluatorConfig
from models.masked import MaskedConfig, MaskedTransformer
from models.words import FILE, Words
from motion.spec import get_spec
from pipelines.runs import EMBEDDED_DIR
from prepare.synthetic import write_synthetic
from tests.small_lamp import WIDTH, write_lamp
from utils.checkpoint import CheckpointFolder, save_weights
from utils.errors import UserError

EVALUATOR = EvaluatorConfig(dim=263, movement_hidden=8, movement_dim=8, motion_hidden=8, text_hidden=8, embed_dim=6, word_dim=5)
SIZES = {"nb_code": 16, "cond_dim": WIDTH, "code_dim": 8, "latent_dim": 16, "ff_size": 16, "n_layers": 1, "n_heads": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A synthetic dataset; small random runs of LaMP, tokeniser, masked transformer and evaluator; the test split, stored."""
    root = tmp_path_factory.mktemp("stored")
    write_synthetic(root / "data", clips=48, seed=0)
    (root / "data" / "test.txt").write_text((root / "data" / "train.txt").read_text())
    write_lamp(root, "synthetic")
    torch.manual_seed(0)
    masked = MaskedTransformer(MaskedConfig(**SIZES))
    origin = {"vq_name": "vq", "text_encoder": "lamp", "lamp_name": "lamp", "bert": "", "no_query": False}
    models = {"masked": (masked, origin), "evaluator": (Evaluator(EVALUATOR), {})}
    for kind, (model, facts) in models.items():
        weights = CheckpointFolder(root, "synthetic", kind).weights("net_best")
        save_weights(weights, model.state_dict(), {"kind": kind, "config": asdict(model.config), **facts})
    for name in ("vq", "evaluator"):
        meta = CheckpointFolder(root, "synthetic", name).meta
        meta.mkdir(exist_ok=True)
        for part in ("mean", "std"):
            np.save(meta / f"{part}.npy", np.ones(263, np.float32))
    words = ["unk", "sos", "eos", "walk", "person", "left"]
    Words(words, torch.randn(len(words), 5)).save(CheckpointFolder(root, "synthetic", "evaluator").root / FILE)
    stored.main(f"--dataset_name synthetic --data_root {root / 'data'} --checkpoints_dir {root}".split())
    return root


def clips(root: Path) -> CaptionedClips:
    spec = get_spec("synthetic", str(root / "data"))
    return CaptionedClips(spec, "test", MotionStore(spec))


def test_a_split_comes_back_as_it_was(root):
    judge, real = GuoJudge.load(root, "synthetic"), clips(root)
    split = StoredSplit.load(judge.folder / "splits" / "test.safetensors", real.spec)
    assert [caption.text for caption in split.captions] == [caption.text for caption in real.captions]
    assert [caption.tokens for caption in split.captions] == [caption.tokens for caption in real.captions]
    assert split.first.tolist() == real.first.tolist()
    assert split.lengths.tolist() == (real.clips.lengths // 4 * 4).tolist()
    for index in (0, 5, 31):
        length = int(split.lengths[index])
        alone = judge.motion(torch.from_numpy(np.array(real.clips[index][None, :length])), torch.tensor([length]))
        torch.testing.assert_close(split.motion[index], alone[0], atol=2e-3, rtol=2e-3)


def test_its_passes_are_those_of_the_dataset_but_for_crops(root):
    judge, real = GuoJudge.load(root, "synthetic"), clips(root)
    split = StoredSplit.load(judge.folder / "splits" / "test.safetensors", real.spec)
    passed, expected = (kind(source, judge, published="lamp").real(0) for kind, source in
                        ((StoredEvaluation, split), (SplitEvaluation, real)))  # fmt: skip
    assert passed.captions == expected.captions
    torch.testing.assert_close(passed.text, expected.text)
    standard = StoredEvaluation(split, judge)
    assert standard.real(0).names != standard.real(1).names and len(set(standard.real(0).names)) == 32
    assert len(StoredEvaluation(split, judge, batches=1).real(0).names) == 32


def test_a_stored_split_replaces_the_dataset(root, tmp_path, capsys):
    command = f"--dataset_name synthetic --data_root {tmp_path / 'nothing'} --checkpoints_dir {root} --mm_batches 0"
    eval_t2m_trans_res.main([*command.split(), "--repeat_times", "1", "--time_steps", "1", "--gpu_id", "-1"])
    result = json.loads((root / "synthetic" / "masked" / "eval" / "text2motion.json").read_text())["results"]["net_best"]
    assert {"FID", "R@3", "MM-Dist", "Diversity", "jerk_m_s3"} <= set(result["ours"])
    assert {"FID", "R@3", "MM-Dist", "Diversity"} == set(result["real"]) - {"R@1", "R@2"}
    assert result["real"]["FID"][0] < result["ours"]["FID"][0]
    assert "nothing does not exist; real motions come from" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "message"), [("--split val", "stores only test"), ("--lamp_bertscore", "leave the flag out")])
def test_what_a_stored_split_cannot_do(root, tmp_path, capsys, words, message):
    command = f"--dataset_name synthetic --data_root {tmp_path / 'nothing'} --checkpoints_dir {root} --gpu_id -1 {words}"
    with pytest.raises(SystemExit) as stop:
        eval_t2m_trans_res.main(command.split())
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_other_files_and_other_evaluators_are_refused(root, tmp_path):
    judge, spec = GuoJudge.load(root, "synthetic"), clips(root).spec
    with pytest.raises(UserError, match="not a stored split"):
        StoredSplit.load(CheckpointFolder(root, "synthetic", "masked").weights("net_best"), spec)
    split = StoredSplit.load(judge.folder / "splits" / "test.safetensors", spec)
    torch.manual_seed(1)
    other = GuoJudge(Evaluator(EVALUATOR), judge.mean, judge.std, judge.words)
    with pytest.raises(UserError, match="another evaluator"):
        StoredEvaluation(split, other)
    cut = StoredSplit(spec, [split.captions[:1]], split.lengths, split.motion, split.judge)
    cut.save(tmp_path / "cut.safetensors")
    with pytest.raises(UserError, match="inconsistent numbers"):
        StoredSplit.load(tmp_path / "cut.safetensors", spec)


def test_the_fingerprint_is_that_of_the_file_not_of_products_of_its_weights(root, monkeypatch):
    """Matrix products are rounded differently on other processors."""
    before = GuoJudge.load(root, "synthetic", "evaluator").fingerprint

    def rounded_differently(model):
        for weight in model.parameters():
            weight.data.mul_(1 + 1e-6)
        return model

    monkeypatch.setattr("evaluation.judges.fused", rounded_differently)
    assert GuoJudge.load(root, "synthetic", "evaluator").fingerprint == before


def test_the_embedded_splits_belong_to_the_embedded_evaluator():
    judge = GuoJudge.load(EMBEDDED_DIR, "open", "evaluator")
    paths = sorted((judge.folder / stored.FOLDER).glob("*.safetensors"))
    assert {path.stem for path in paths} == {"test", "test_cmu", "test_everyday", "test_unseen"}
    assert {StoredSplit.load(path, get_spec("open")).judge for path in paths} == {judge.fingerprint}
