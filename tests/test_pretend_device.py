"""Every script on a pretend accelerator: no operation mixes devices, and steps wait for it only where the list here allows it."""

from __future__ import annotations

import functools
import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import tests.pretend_device as device
import training.trainer  # noqa: F401 (what imports `resolve_device` and `autocast` by name comes before `pretend`)
from evaluation import judges, protocol, retrieval, tokeniser  # noqa: F401
from evaluation.metrics import bertscore
from models.words import Words
from pipelines import editing, language_motion, long_motion, looping, motion2text, text2motion  # noqa: F401
from prepare.synthetic import write_synthetic
from tests.small_bert import write_bert
from tests.small_lamp import write_lamp
from tests.tiny import walking
from utils.checkpoint import CheckpointFolder, load_weights, save_weights

WATCHED = {  # functions that run at every training step, for every batch of samples or for every word
    "training/trainer.py:_update",
    "models/masked.py:generate",
    "models/residual.py:generate",
    "models/vqvae.py:decode",
    "models/decoding.py:write",
    "models/lamp.py:caption",
}
ALLOWED = {
    ("copy", "training/parts.py:get"): "the batch, from pinned memory while the device computes",
    ("copy", "models/layers.py:sinusoidal_positions"): "once for each size",
    ("copy", "motion/rotation.py:_cached_tensor"): "once for each constant",
    ("sync", "models/evaluator.py:embed_motion"): "cuDNN wants the lengths of its sequences on the CPU",
    ("sync", "models/evaluator.py:forward"): "the same for texts",
    ("copy", "models/evaluator.py:forward"): "the order in which they are sorted goes back",
    ("sync", "models/masked.py:inputs"): "the longest length, once a batch",
    ("sync", "models/vqvae.py:decode"): "codes out of range are refused, once a batch",
    ("copy", "models/decoding.py:write"): "the numbers of the captions, once a batch",
    ("sync", "models/decoding.py:finished"): "whether all captions are done, every eighth word",
}
SMALL = "--batch_size 6 --warm_up_iter 1 --max_iters 2 --log_every 1"
TRANSFORMER = "--latent_dim 16 --ff_size 16 --n_layers 1 --n_heads 2"
ORIGIN = "--vq_name vq --text_encoder lamp --lamp_name lamp"
WORDS = "--vq_name vq --text_encoder lamp+words --lamp_name lamp --bert BERT --text_noise 0.5 --drop_encoder 0.5"
JUDGED = "--eval_fid 1 --eval_batches 1 --evaluator lamp --evaluator_name lamp"
GENERATOR = "--name masked --res_name residual --length_name length --time_steps 2"
STEPWISE = GENERATOR.replace("masked", "full") + " --selector_name selector --candidates 4"
COMMANDS = {
    "train_vq": f"--name rvq {SMALL} --width 16 --code_dim 8 --nb_code 16 --depth 1 --num_quantizers 3 --rigid_bones "
    "--planted_feet --loss_positions 1 --loss_path 1 --loss_bones 1 --loss_velocity 1 --loss_acceleration 1 --loss_feet 1 "
    + JUDGED,
    "eval_t2m_vq": "--name rvq --evaluator lamp --evaluator_name lamp --repeat_times 1",
    "train_evaluator": f"--name guo {SMALL} --movement_hidden 8 --movement_dim 8 --motion_hidden 8 --text_hidden 8 --embed_dim 8",
    "train_selector": f"--name selector --bert BERT {SMALL} --hidden_dim 8 --embed_dim 8",
    "train_lamp": f"--name lamp2 --vq_name vq --bert BERT {SMALL} --num_queries 5 --embed_dim 8 --cross_width 12",
    "eval_retrieval": "--name lamp --rerank 4 --protocol all",
    "train_t2m_transformer masked": f"--stage masked --name masked {WORDS} --infill 0.5 {TRANSFORMER} {SMALL} {JUDGED}",
    "train_t2m_transformer full": f"--stage masked --name full --attention full {WORDS} --infill 0.5 {TRANSFORMER} {SMALL}",
    "train_t2m_transformer residual": f"--stage residual --name residual {ORIGIN} {TRANSFORMER} {SMALL} {JUDGED}",
    "train_t2m_transformer length": f"--stage length --name length {ORIGIN} {SMALL}",
    "gen_t2m": f"{GENERATOR} --text_path PROMPTS --formats npy --output_dir OUT",
    "gen_t2m candidates": f"{GENERATOR} --selector_name selector --candidates 2 --text_path PROMPTS --formats npy --output_dir OUT",
    "gen_t2m steps": f"{STEPWISE} --text_path STEPS --formats npy --output_dir OUT",
    "gen_t2m steps joined": f"{STEPWISE} --text_path STEPS --join --formats npy --output_dir OUT",
    "gen_t2m join": f"{GENERATOR} --text_path PROMPTS --join --formats npy --output_dir OUT",
    "gen_t2m loop": f"{GENERATOR} --text_prompt a_person_walks --loop --formats npy --output_dir OUT",
    "edit_t2m": f"{GENERATOR} --source_motion WALK --mask_edit_section 8,24 --text_prompt a_person_bows --after 8 "
    "--formats npy --output_dir OUT",
    "eval_t2m_trans_res": "--name masked --res_name residual --evaluator lamp --evaluator_name lamp --repeat_times 1 "
    "--mm_batches 1 --time_steps 2 --which_epoch latest",
    "train_m2t": "--exp-name m2t --lamp_name lamp --batch-size 6 --total-iter 2 --warm_up_iter 1 --log_every 1 --num-layers 1 "
    "--embed-dim-gpt 16 --n-head-gpt 2 --ff-rate 2 --block-size 12 --use_codes",
    "gen_m2t": "--motions WALK --name m2t --output_dir OUT",
    "M2T_eval": "--exp-name m2t --evaluator lamp --evaluator_name lamp --bert_score BERT --repeat_times 1 --num_batch 1",
}  # fmt: skip
load_encoder = functools.cache(bertscore._load)  # once, outside `pretend`: transformers uses the device `meta` itself


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A synthetic dataset, a LaMP and its tokeniser, a BERT folder, prompts and a motion."""
    root = tmp_path_factory.mktemp("device")
    write_synthetic(root / "data", clips=24, seed=0)
    for split in ("train", "val", "test"):
        (root / "data" / f"{split}.txt").write_text((root / "data" / "all.txt").read_text())
    write_lamp(root / "runs", "synthetic")
    vq = CheckpointFolder(root / "runs", "synthetic", "vq")
    state, metadata = load_weights(vq.weights("latest"))
    books = {name: torch.randn_like(value) for name, value in state.items() if name.endswith("codebook")}  # zeros are no codes
    save_weights(vq.weights("latest"), state | books, metadata)
    vq.meta.mkdir()
    for part in ("mean", "std"):
        np.save(vq.meta / f"{part}.npy", np.ones(263, np.float32))
    captions = " ".join(path.read_text() for path in (root / "data" / "texts").glob("*.txt")).lower()
    write_bert(root / "bert", sorted(set(re.findall("[a-z]+", captions))))
    load_encoder((root / "bert").resolve(), f"{root.name}/bert")
    (root / "prompts.txt").write_text("a person walks#NA\na person bows#NA\n")
    (root / "steps.txt").write_text("a person squats, then walks while waving#NA\na person bows#NA\n")
    np.save(root / "walk.npy", walking(48).numpy())
    return root


@pytest.fixture
def accelerator(monkeypatch):
    def drawn(vocabulary):
        return Words(["unk", "sos", "eos", *sorted(set(vocabulary))], torch.randn(3 + len(set(vocabulary)), 12))

    monkeypatch.setattr(Words, "from_word_pieces", drawn)
    monkeypatch.setattr("motion.spec.GLOVE", Path("no such folder"))
    for name, value in {"SAMPLES": 2, "SAMPLE_PAIRS": 1, "BATCH": 8}.items():
        monkeypatch.setattr(f"evaluation.protocol.{name}", value)
    monkeypatch.setattr("pipelines.known.check_prompts", lambda prompts, *_: [None] * len(prompts))  # MiniLM takes seconds
    monkeypatch.setattr(bertscore, "_load", load_encoder)
    monkeypatch.setattr(device, "watched", WATCHED)
    device.EVENTS.clear()
    with device.pretend(monkeypatch):
        yield
    device.EVENTS.clear()


def words_of(root: Path, command: str) -> list[str]:
    files = {"BERT": "bert", "PROMPTS": "prompts.txt", "STEPS": "steps.txt", "WALK": "walk.npy", "OUT": "out"}
    paths = {word: root / file for word, file in files.items()}
    words = [str(paths.get(word, word.replace("a_person_", "a person "))) for word in COMMANDS[command].split()]
    words += ["--dataset_name", "synthetic", "--checkpoints_dir", str(root / "runs")]
    return words if command.startswith(("gen", "edit")) else [*words, "--data_root", str(root / "data")]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_script_mixes_no_devices_and_its_steps_do_not_wait(root, accelerator, command):
    importlib.import_module(command.split()[0]).main(words_of(root, command))
    if command.startswith(("train", "gen", "edit")):
        assert device.EVENTS  # the batches at least: something was watched
    assert device.EVENTS.keys() <= ALLOWED.keys()


def test_what_cuda_refuses_is_refused(accelerator):
    there = torch.ones(3, device=device.DEVICE)
    with pytest.raises(RuntimeError, match="same device"):
        there + torch.ones(3)
    with pytest.raises(RuntimeError, match="indices should be"):
        torch.ones(3)[there.long()]
    assert (there + 1).cpu().tolist() == [2, 2, 2]


def test_what_waits_in_a_watched_function_is_counted(accelerator, monkeypatch):
    monkeypatch.setattr(device, "watched", {"models/lamp.py:hard_negatives"})
    from models.lamp import hard_negatives

    scores, caption = torch.zeros(3, 3, device=device.DEVICE), torch.arange(3, device=device.DEVICE)
    hard_negatives(scores, caption)
    assert not device.EVENTS
    monkeypatch.setattr(torch.Tensor, "isnan", lambda self: (bool((self == self).all()), self != self)[1])
    hard_negatives(scores, caption)
    assert device.EVENTS == {("sync", "models/lamp.py:hard_negatives"): 1}
