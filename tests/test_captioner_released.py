"""LaMP's released captioner (`m2t.pth`): its tensors, its numbers beside Hugging Face's OPT and PEFT, and the scripts on it.

The released code's own numbers are in `tests/test_parity.py`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import gen_m2t
import M2T_eval
from models import opt
from models.caption_opt import PROMPT, CaptionOPT
from models.decoding import Search, write
from models.loading import load_model
from models.opt import OPT, OPTConfig, OPTState, find_tokenizer
from models.upstream.captioner import LM, captioner_from, opt_state
from models.upstream.convert import convert
from models.upstream.released import recognise
from pipelines.motion2text import MotionToText
from prepare.synthetic import walker, write_synthetic
from tests.released import PEFT_NAMES, captioner_state, save_statistics, write_captioner, write_opt_words
from tests.test_upstream import LAYOUTS
from utils.checkpoint import load_own_state
from utils.errors import UserError

MOTION = 3 * torch.randn(2, 48, 263, generator=torch.Generator().manual_seed(0))
WORDS, WIDTH, END = 24, 16, 3
COMMAND = """--exp-name Test_M2T --num-layers 9 --batch-size 1 --embed-dim-gpt 1024 --n-head-gpt 16 --block-size 51 --ff-rate 4
--drop-out-rate 0.1 --resume-pth your_own_vqvae --vq-name VQVAE --total-iter 150000 --lr-scheduler 75000 --lr 0.0001 --dataname t2m
--down-t 2 --depth 1 --quantizer ema_reset --eval-iter 10000 --pkeep 0.5 --dilation-growth-rate 3 --vq-act relu"""
GOLDEN_QUERIES = [[-0.21696, 2.25169, 1.11475, 1.22942], [-0.11964, 2.3263, 1.14522, 1.23887]]
GOLDEN_IDS = [
    [[96, 43, 287, 17, 253, 211, 118, 225], [96, 43, 287, 17, 253, 211, 225, 39]],
    [[96, 43, 287, 17, 253, 211, 118, 225], [96, 43, 287, 17, 253, 211, 225, 39]],
]


def captioner(state: dict) -> CaptionOPT:
    """The model that is built from a released state dict."""
    reader, state = recognise("m2t.pth", {"trans": state})
    assert reader.kind == "caption_opt"
    return reader.build({name: value for name, value in state.items() if not re.fullmatch(reader.leftovers, name)}).eval()


def answers(model: CaptionOPT) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries of the motions, and the ids that a beam search writes after them."""
    with torch.no_grad():
        queries = model.read(MOTION, torch.tensor([48, 40]))
        return queries, model.search(
            queries, torch.tensor([2, 9, 8]), END, Search(beams=3, no_repeat=1, max_tokens=8), 2, torch.arange(2)
        )


# The file


@pytest.mark.parametrize("lora", [torch.float16, torch.float32])
def test_all_names_of_peft_are_one_model(lora):
    expected = None
    for peft in PEFT_NAMES:
        torch.manual_seed(0)
        model = captioner(captioner_state(peft, lora=lora))
        assert model.opt.layers[0].q.lora_a.dtype == lora
        result = answers(model)
        assert expected is None or all(torch.equal(*pair) for pair in zip(result, expected))
        expected = result


def test_the_numbers_are_those_of_the_day_they_were_checked():
    """The expected numbers were recorded when this code agreed with all fixtures of the released code."""
    torch.manual_seed(0)
    queries, ids = answers(captioner(captioner_state()))
    torch.testing.assert_close(queries[:, 0, :4], torch.tensor(GOLDEN_QUERIES), rtol=1e-4, atol=1e-4)
    assert ids.tolist() == GOLDEN_IDS


def test_opt_is_neither_copied_nor_held_twice(tmp_path):
    torch.save({"trans": captioner_state()}, tmp_path / "m2t.pth")
    state = torch.load(tmp_path / "m2t.pth", map_location="cpu", weights_only=True, mmap=True)["trans"]
    model = captioner(state)
    assert model.opt.words.weight.data_ptr() == state["opt_model.lm_head.weight"].data_ptr()
    for part, name in (("q", "q_proj.base_layer"), ("k", "k_proj"), ("out", "out_proj")):
        weight = getattr(model.opt.layers[1], part).weight
        assert weight.dtype == torch.float16
        assert weight.data_ptr() == state[f"{LM}model.decoder.layers.1.self_attn.{name}.weight"].data_ptr()


def test_the_copy_under_llm_counts_and_its_head_before_its_embeddings():
    torch.manual_seed(0)
    state = captioner_state()
    expected = answers(captioner(state))
    head = f"{LM}lm_head.weight"
    other = {
        name: torch.zeros_like(value) for name, value in state.items() if name.startswith("opt_model.") or "embed_tokens" in name
    }
    assert head not in other
    assert all(torch.equal(*pair) for pair in zip(answers(captioner(state | other)), expected))
    changed = answers(captioner(state | {head: state[head].roll(1, 0)}))
    assert not torch.equal(changed[1], expected[1])


def test_lora_scale_is_two_by_default():
    torch.manual_seed(0)
    state = {
        name: value
        for name, value in captioner_state().items()
        if not name.startswith(("opt_model.", "trans", "vq_", "Qformer.cls"))
    }
    del state["Qformer.bert.embeddings.position_ids"]
    model = captioner_from(state)
    assert (model.config.lora_r, model.config.lora_alpha, model.opt.layers[0].q.scale, model.config.opt_heads) == (4, 8, 2, 1)
    assert captioner_from(state, lora_alpha=4, opt_heads=5).opt.layers[1].v.scale == 1
    x = torch.randn(3, 80)
    layer, name = model.opt.layers[0].v, f"{LM}model.decoder.layers.0.self_attn.v_proj"
    weights = {kind: state[f"{name}.{kind}"].double() for kind in ("base_layer.weight", "base_layer.bias")}
    low = [state[f"{name}.lora_{kind}.default.weight"].double() for kind in "AB"]
    expected = x.double() @ (weights["base_layer.weight"] + 2 * low[1] @ low[0]).T + weights["base_layer.bias"]
    torch.testing.assert_close(layer(x).double(), expected, rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_is_one_line(tmp_path):
    state = captioner_state()
    wrong = {
        "extra": state | {f"{LM}model.decoder.layers.0.self_attn.k_proj.lora_A.default.weight": torch.zeros(4, 80)},
        "missing": {name: value for name, value in state.items() if not name.endswith("layers.1.fc2.bias")},
        "shape": state | {"opt_proj.bias": torch.zeros(3)},
        "unknown": state | {"pizza.weight": torch.zeros(3)},
    }
    for name, content in wrong.items():
        torch.save({"trans": content}, tmp_path / f"{name}.pth")
        with pytest.raises(UserError, match=f"{name}.pth: looks like LaMP's captioner with OPT, but does not fit"):
            load_model(tmp_path / f"{name}.pth")


@pytest.mark.skipif(not LAYOUTS.exists(), reason="the lists of released tensors are not here")
def test_the_full_size_fits():
    dtypes = {"torch.float16": torch.float16, "torch.float32": torch.float32, "torch.int64": torch.int64}
    rows = [line.split("\t") for line in (LAYOUTS / "lamp_m2t.txt").read_text(encoding="utf-8").splitlines() if "\t" in line]
    state = {
        name: torch.zeros(1, dtype=dtypes[kind]).expand([int(n) for n in re.findall(r"\d+", shape)]) for name, shape, kind in rows
    }
    config = captioner(state).config
    assert (config.num_queries, config.num_hidden_layers, config.num_attention_heads, config.cross_width) == (49, 12, 12, 1408)
    assert config.opt == OPTConfig() and (config.down_t, config.depth) == (2, 3)


def test_a_converted_captioner_says_the_same(tmp_path):
    folder = write_captioner(tmp_path)
    write_opt_words(folder)
    model, metadata = load_model(folder)
    (converted,) = convert(model, metadata, tmp_path / "t2m" / "ours")
    assert {path.name for path in converted.iterdir()} == {"model", "meta", "vocab.json", "merges.txt"}
    again, _ = load_model(converted)
    assert again.opt.words.weight.dtype == torch.float16
    assert all(torch.equal(*pair) for pair in zip(answers(again), answers(model)))
    assert not again.training and not any(value.is_meta for value in again.state_dict().values())


def test_an_empty_model_takes_tensors_over():
    with torch.device("meta"):
        model = torch.nn.Linear(2, 2)
    state = {"weight": torch.ones(2, 2, dtype=torch.float16), "bias": torch.ones(2)}
    load_own_state(model, state, "here")
    assert model.weight.data_ptr() == state["weight"].data_ptr()


# Beside Hugging Face's OPT


def hugging_face(seed: int):
    """A random OPT of Hugging Face."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    sizes = {"hidden_size": WIDTH, "word_embed_proj_dim": WIDTH, "ffn_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.OPTForCausalLM(transformers.OPTConfig(vocab_size=WORDS, max_position_embeddings=64, **sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.6)
    return model


def ours_of(state: dict, rank: int = 1) -> OPT:
    """Our OPT with weights under Hugging Face's names."""
    model = OPT(OPTConfig(WORDS, WIDTH, 32, 1, 2, 64, rank, 2 * rank)).eval()
    for layer in model.layers:
        for part in (layer.q, layer.v):
            torch.nn.init.zeros_(part.lora_b)
    model.load_state_dict(model.state_dict() | opt_state(state))
    return model


@torch.no_grad()
def test_opt_computes_and_writes_what_hugging_faces_does():
    """Beam, greedy and length penalty: the same ids for all of many random models."""
    from transformers import GenerationConfig

    for seed in range(8):
        reference = hugging_face(seed)
        model = ours_of(reference.state_dict())
        prefix, start = torch.randn(8, 5, WIDTH), torch.full((8, 1), 7)
        x = torch.cat((prefix, model.embed(start)), dim=1)
        positions = torch.arange(6)
        logits = model.logits(model.run(x, positions, positions[:, None] >= positions)[0])
        torch.testing.assert_close(logits, reference(inputs_embeds=x).logits, rtol=1e-4, atol=1e-4)
        for beams, penalty in ((1, 0.0), (1, 1.0), (3, 1.0), (5, 0.0), (5, 2.0)):
            options = {"num_beams": beams, "length_penalty": penalty, "max_new_tokens": 12, "do_sample": False}
            settings = GenerationConfig(eos_token_id=END, pad_token_id=END, **options)
            expected = reference.generate(inputs_embeds=x, attention_mask=torch.ones(8, 6).long(), generation_config=settings)
            search = Search(beams=beams, no_repeat=0, length_penalty=penalty, max_tokens=12)
            written = write(OPTState(model, prefix), torch.arange(8), 7, END, search)[:, 0]
            size = min(written.shape[1], expected.shape[1])
            assert torch.equal(written[:, :size], expected[:, :size]), (seed, beams, penalty)


@torch.no_grad()
def test_names_and_numbers_of_the_peft_that_is_installed():
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(hugging_face(0), peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, lora_dropout=0.0)).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.normal_()
    state = {f"llm.{name}": value for name, value in model.state_dict().items()}
    own_model = ours_of({name.removeprefix(LM): value for name, value in state.items()}, rank=4)
    ids = torch.randint(4, WORDS, (2, 7))
    positions = torch.arange(7)
    logits = own_model.logits(own_model.run(own_model.embed(ids), positions, positions[:, None] >= positions)[0])
    torch.testing.assert_close(logits, model(input_ids=ids).logits, rtol=1e-4, atol=1e-4)


def test_weights_in_half_precision_compute_in_float32(monkeypatch):
    monkeypatch.setattr(opt, "SLICE", 64)
    weight, bias, x = torch.randn(37, 12).half(), torch.randn(37).half(), torch.randn(5, 3, 12)
    torch.testing.assert_close(opt.linear(x, weight, bias), torch.nn.functional.linear(x, weight.float(), bias.float()))


# Words and scripts


def test_the_tokeniser_is_where_the_flag_says_or_the_error_says_where(tmp_path):
    with pytest.raises(
        UserError, match=r"vocab\.json and merges\.txt .* of facebook/opt-2\.7b; put them into .*opt-2\.7b .*--lm DIR"
    ):
        find_tokenizer("", tmp_path / "run", tmp_path, 300)
    with pytest.raises(UserError, match=r"--lm nowhere: no tokeniser in this folder"):
        find_tokenizer("nowhere", tmp_path, tmp_path, 300)
    words = write_opt_words(tmp_path / "words")
    for given, folder, root in (("words", "run", "root"), ("", "words", "root"), ("", "run", ".")):
        if root == ".":
            words.rename(tmp_path / "opt-2.7b")
        given = str(tmp_path / given) if given else ""
        assert find_tokenizer(given, tmp_path / folder, tmp_path / root, 300).token_to_id("</s>") == 2
    with pytest.raises(UserError, match="not the tokeniser of OPT"):
        find_tokenizer("", tmp_path, tmp_path, 200)  # more pieces than the model has
    vocab = json.loads((tmp_path / "opt-2.7b" / "vocab.json").read_text())
    (tmp_path / "opt-2.7b" / "vocab.json").write_text(json.dumps({name: i for name, i in vocab.items() if name != "<pad>"}))
    with pytest.raises(UserError, match="not the tokeniser of OPT"):
        find_tokenizer("", tmp_path, tmp_path, 300)
    (tmp_path / "opt-2.7b" / "vocab.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        find_tokenizer("", tmp_path, tmp_path, 300)


def test_captions_begin_with_the_prompt_and_end_at_the_newline(tmp_path):
    model = captioner(captioner_state()).use_tokenizer_(find_tokenizer(str(write_opt_words(tmp_path)), tmp_path, tmp_path, 300))
    ids = model.token_ids("</s>", " walking forward", "<pad>", "\n", " twice")
    assert model.words(ids) == "a man is walking forward"
    assert model.token_ids("</s>") == [2] and len(model.token_ids("\n")) == 1
    assert model.longest == 100 - 5 - 4


@pytest.fixture
def release(tmp_path) -> Path:
    """A checkpoints folder with the captioner and OPT's words, and motions of two lengths."""
    write_captioner(tmp_path / "checkpoints")
    write_opt_words(tmp_path / "checkpoints" / "opt-2.7b")
    (tmp_path / "motions").mkdir()
    for steps in (6, 9):
        np.save(tmp_path / "motions" / f"walk{steps}.npy", walker(steps))
    return tmp_path


def captions(release: Path, *flags: str) -> list[dict]:
    common = ["--motions", str(release / "motions"), "--output_dir", str(release / "out"), "--ext", "e", "--gpu_id", "-1"]
    gen_m2t.main([*common, "--max_tokens", "6", "--checkpoints_dir", str(release / "checkpoints"), *flags])
    return json.loads((release / "out" / "e" / "captions.json").read_text(encoding="utf-8"))


def test_gen_m2t_finds_the_downloaded_captioner(release, capsys):
    result = captions(release)
    assert f"weights: {release / 'checkpoints' / 't2m' / 'lamp_m2t'}" in capsys.readouterr().out
    assert all(window["captions"][0]["text"].startswith(PROMPT) for window in result) and len(result) == 2
    assert result[0]["captions"][0]["match"] is None  # no LaMP is there to rank
    assert captions(release, "--batch_size", "1") == result
    several = captions(release, "--num_captions", "2", "--candidates", "1")
    assert [len(window["captions"]) for window in several] == [2, 2]
    assert "  -  " in (release / "out" / "e" / "captions.txt").read_text(encoding="utf-8")


def test_gen_m2t_takes_the_file_wherever_it_is(release, monkeypatch, capsys):
    folder = release / "checkpoints" / "t2m" / "lamp_m2t"
    expected = captions(release)
    (folder / "model" / "latest.tar").rename(release / "m2t.pth")
    words = release / "checkpoints" / "opt-2.7b"
    words.rename(release / "words")
    monkeypatch.chdir(release)
    with pytest.raises(SystemExit):
        captions(release, "--resume_trans", "m2t.pth")
    assert "needs OPT's tokeniser" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        captions(release, "--resume_trans", "m2t.pth", "--lm", "words")
    assert "mean.npy" in capsys.readouterr().err
    (folder / "meta").rename(release / "meta")
    assert captions(release, "--resume_trans", "m2t.pth", "--lm", "words") == expected


def test_lamps_own_released_model_ranks_where_it_is(release):
    fixture = LAYOUTS.parents[1] / "parity" / "lamp_qformer" / "net_best_acc.tar"
    if not fixture.exists():
        pytest.skip("a Q-Former in the released layout is not here")
    lamp = release / "checkpoints" / "t2m" / "lamp"
    (lamp / "model").mkdir(parents=True)
    (lamp / "model" / "latest.tar").symlink_to(fixture)
    (lamp / "opt.txt").write_text("bert_heads: 4\n")
    (lamp / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{n}" for n in range(195))]))
    save_statistics(lamp)
    for window in captions(release, "--num_captions", "3"):
        matches = [caption["match"] for caption in window["captions"]]
        assert None not in matches


def test_m2t_eval_runs_on_it_with_the_released_command(release, capsys):
    pytest.importorskip("bert_score")
    pytest.importorskip("sacrebleu")
    pytest.importorskip("spacy")
    write_synthetic(release / "data", clips=8, seed=0)
    (release / "data" / "test.txt").write_text((release / "data" / "train.txt").read_text())
    command = COMMAND.split()
    folder_flags = ["--data_root", str(release / "data"), "--checkpoints_dir", str(release / "checkpoints"), "--gpu_id", "-1"]
    folder_flags += ["--resume-trans", str(release / "checkpoints" / "t2m" / "lamp_m2t"), "--evaluator", "none"]
    folder_flags += ["--out-dir", str(release / "out")]
    M2T_eval.main([*command, *folder_flags, "--beams", "2", "--max_tokens", "5", "--samples", "1"])
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert any("--num_layers" in line and "no effect, because the released captioner" in line for line in notes)
    report = json.loads((release / "out" / "t2m" / "Test_M2T" / "eval" / "captioning.json").read_text(encoding="utf-8"))
    assert all(one["said"].startswith(PROMPT) for one in report["captions"])
    with pytest.raises(SystemExit):
        M2T_eval.main([*(word.replace("relu", "gelu") for word in command), *folder_flags])
    assert "--vq_act gelu: the captioner's motion encoder has relu" in capsys.readouterr().err


def test_motions_of_another_width_are_refused(release):
    (release / "checkpoints" / "t2m").rename(release / "checkpoints" / "kit")
    meta = release / "checkpoints" / "kit" / "lamp_m2t" / "meta"
    for name in ("mean", "std"):
        np.save(meta / f"{name}.npy", np.ones(251, np.float32))
    with pytest.raises(UserError, match=r"needs 263 features \(t2m\), but kit has 251"):
        MotionToText.load(release / "checkpoints", "kit", "lamp_m2t")
