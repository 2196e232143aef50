"""Small random files in the layouts of the releases, in the folders that their archives unpack to.

MoMask's: made of our own models, under the released names. A width of 512 is CLIP's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tokenizers.implementations import ByteLevelBPETokenizer
from torch import Tensor

from models.length import LengthConfig, LengthPredictor
from models.masked import MaskedConfig, MaskedTransformer
from models.opt import SPECIAL_TOKENS
from models.residual import ResidualConfig, ResidualTransformer
from models.upstream.transformers import LENGTH_NAMES, NAMES
from models.vqvae import VQConfig

State = dict[str, Tensor]
VQ = "rvq_nq6_dc512_nc512_noshare_qdp0.2"
MASKED = "t2m_nlayer8_nhead6_ld384_ff1024_cdp0.1_rvq6ns"
RESIDUAL = "tres_nlayer8_ld384_ff1024_rvq6ns_cdp0.2_sw"
LENGTH = "length_estimator"
CLIP_WIDTH = 512
SIZES = {"latent_dim": 12, "ff_size": 16, "n_layers": 1, "n_heads": 3, "code_dim": 8, "nb_code": 16, "cond_dim": CLIP_WIDTH}


def tokeniser_state(config: VQConfig, prefix: str = "") -> State:
    """A random state dict with the names and shapes of a released tokeniser: LaMP's with a `prefix`, MoMask's without."""
    width, code_dim, down_t = config.width, config.code_dim, config.down_t
    shapes = {"encoder.model.0": (width, config.dim, 3), f"encoder.model.{down_t + 2}": (code_dim, width, 3)}
    shapes |= {"decoder.model.0": (width, code_dim, 3), f"decoder.model.{down_t + 2}": (width, width, 3)}
    shapes |= {f"decoder.model.{down_t + 4}": (config.dim, width, 3)}
    for stage in range(2, down_t + 2):
        shapes |= {f"encoder.model.{stage}.0": (width, width, 4), f"decoder.model.{stage}.2": (width, width, 3)}
        for half, place in (("encoder", 1), ("decoder", 0)):
            for block in range(config.depth):
                name = f"{half}.model.{stage}.{place}.model.{block}"
                shapes |= {f"{name}.conv1": (width, width, 3), f"{name}.conv2": (width, width, 1)}
    state = {f"{prefix}{name}.weight": 0.1 * torch.randn(shape) for name, shape in shapes.items()}
    state |= {f"{prefix}{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}
    if prefix:
        return state | {f"{prefix}quantizer.codebook": torch.randn(config.nb_code, code_dim)}
    return state | {f"quantizer.layers.{q}.codebook": torch.randn(config.nb_code, code_dim) for q in range(config.num_quantizers)}


def theirs(state: State) -> State:
    """A transformer's tensors under their released names, with the position table."""
    renamed = {}
    for name, value in state.items():
        for released, own_name in NAMES.items():
            name = name.replace(own_name, released)
        renamed[name] = value
    return renamed | {"position_enc.pe": torch.zeros(50, 1, SIZES["latent_dim"])}


def residual_state(model: ResidualTransformer) -> State:
    names = {"input_tables": "token_embed_weight", "output_tables": "output_proj_weight", "output_bias": "output_proj_bias"}
    state = theirs({names.get(name, name): value for name, value in model.state_dict().items()})
    return state | {"output_proj_bias": torch.cat((state["output_proj_bias"], state["output_proj_bias"][:1]))}


def length_state(model: LengthPredictor) -> State:
    positions = {own_name: position for position, own_name in LENGTH_NAMES.items()}
    names = (name.rpartition(".") for name in model.state_dict())
    return {f"output.{positions[stem]}.{kind}": model.state_dict()[f"{stem}.{kind}"] for stem, _, kind in names}


def save(folder: Path, file: str, checkpoint: dict, **opt: str | int) -> None:
    """A checkpoint folder as the releases have it."""
    (folder / "model").mkdir(parents=True)
    torch.save(checkpoint, folder / "model" / file)
    lines = [f"{key}: {value}" for key, value in opt.items()]
    (folder / "opt.txt").write_text("\n".join(["------------ Options -------------", *lines, "--- End ---"]))


def save_statistics(folder: Path) -> None:
    (folder / "meta").mkdir()
    for name, value in (("mean", 0.0), ("std", 0.1)):
        np.save(folder / "meta" / f"{name}.npy", np.full(263, value, np.float32))


def write_momask(root: Path) -> Path:
    """`root/t2m` with MoMask's four models for HumanML3D, two quantisers."""
    torch.manual_seed(0)
    folder = root / "t2m"
    vq = VQConfig(num_quantizers=2, nb_code=16, code_dim=8, width=8, depth=1)
    save(folder / VQ, "net_best_fid.tar", {"vq_model": tokeniser_state(vq), "ep": 40}, name=VQ, dataset_name="t2m", vq_act="relu")
    save_statistics(folder / VQ)
    options = {"dataset_name": "t2m", "n_heads": 3, "vq_name": VQ, "unit_length": 4}
    masked = theirs(MaskedTransformer(MaskedConfig(attention="full", **SIZES)).state_dict())
    save(folder / MASKED, "latest.tar", {"t2m_transformer": masked, "ep": 7, "total_it": 70}, **options)
    residual = residual_state(ResidualTransformer(ResidualConfig(num_quantizers=2, share_weight=False, **SIZES)))
    save(folder / RESIDUAL, "net_best_fid.tar", {"res_transformer": residual, "ep": 9}, **options)
    length = length_state(LengthPredictor(LengthConfig(cond_dim=CLIP_WIDTH)))
    save(folder / LENGTH, "finest.tar", {"estimator": length, "epoch": 3}, dataset_name="t2m")
    return root


def masked_t2m_state(width: int = 24, hidden: int = 128, context: int = 20, queries: int = 5, words: int = 50) -> State:
    """LaMP's released masked transformer for 16 codes of width 8: two layers, a Q-Former of three."""
    linears = {"input_process.poseEmbedding": (width, 8), "cond_emb": (width, hidden), "output_process.dense": (width, width)}
    linears |= {"output_process.poseFinal": (16, width), "text2former": (context, hidden), "clip2qformer": (hidden, 7)}
    norms = {"output_process.LayerNorm": width, "Qformer.bert.embeddings.LayerNorm": hidden}
    for layer in (f"seqTransEncoder.layers.{i}" for i in range(2)):
        linears |= {f"{layer}.self_attn.out_proj": (width, width), f"{layer}.linear1": (30, width), f"{layer}.linear2": (width, 30)}
        linears |= {f"{layer}.self_attn.in_proj_": (3 * width, width)}
        norms |= {f"{layer}.norm{i}": width for i in (1, 2)}
    for i, layer in enumerate(f"Qformer.bert.encoder.layer.{i}" for i in range(3)):
        for part, source in (("attention", hidden), ("crossattention", context))[: 1 + (i % 2 == 0)]:
            linears |= {f"{layer}.{part}.self.{name}": (hidden, source) for name in ("key", "value")}
            linears |= {f"{layer}.{part}.self.query": (hidden, hidden), f"{layer}.{part}.output.dense": (hidden, hidden)}
            norms[f"{layer}.{part}.output.LayerNorm"] = hidden
        for end in ("", "_query"):
            linears |= {f"{layer}.intermediate{end}.dense": (40, hidden), f"{layer}.output{end}.dense": (hidden, 40)}
            norms[f"{layer}.output{end}.LayerNorm"] = hidden
    state = {"query_tokens": torch.randn(1, queries, hidden), "token_emb.weight": torch.randn(18, 8)}
    embeddings = {"word": words, "position": 60}
    state |= {f"Qformer.bert.embeddings.{name}_embeddings.weight": torch.randn(n, hidden) for name, n in embeddings.items()}
    state |= {"Qformer.bert.embeddings.position_ids": torch.arange(60)[None], "Qformer.cls.predictions.bias": torch.randn(words)}
    for name, shape in linears.items():
        dot = "" if name.endswith("_") else "."
        state |= {f"{name}{dot}weight": torch.randn(shape) / shape[1] ** 0.5, f"{name}{dot}bias": torch.randn(shape[0])}
    return state | {f"{name}.{kind}": torch.randn(size) for name, size in norms.items() for kind in ("weight", "bias")}


def write_lamp_t2m(root: Path, words: list[str], down_t: int = 2) -> Path:
    """`root/t2m/{lamp_vq,lamp_t2m}`: LaMP's tokeniser and masked transformer, as they are downloaded, and its vocabulary."""
    folder = root / "t2m"
    vq = VQConfig(num_quantizers=1, nb_code=16, code_dim=8, width=8, depth=1, down_t=down_t)
    save(folder / "lamp_vq", "latest.tar", {"net": tokeniser_state(vq, "vqvae.")}, dataset_name="t2m")
    save_statistics(folder / "lamp_vq")
    state = masked_t2m_state(words=len(words) + 1)
    save(folder / "lamp_t2m", "latest.tar", {"t2m_transformer": state, "ep": 3}, vq_name="lamp_vq", n_heads=8)
    if words:
        (folder / "lamp_t2m" / "vocab.txt").write_text("\n".join(words))
    return root


# LaMP's captioner. PEFT's names for q_proj and v_proj: what stands between them and OPT's own weights, and LoRA's name in it.
NAMED = "lora_{}.default.weight"
PEFT_NAMES = {"0.2": ("", "lora_{}.weight"), "0.4": ("", NAMED), "0.10": (".base_layer", NAMED)}


def captioner_state(
    peft: str = "0.10", *, words: int = 300, width: int = 80, layers: int = 2, queries: int = 5, lora: torch.dtype = torch.float16
) -> State:
    """`m2t.pth`'s tensors, small: OPT of one head twice in one storage, LoRA under PEFT's names, and parts that nothing uses."""
    qformer = masked_t2m_state(queries=queries)
    state = {name: value for name, value in qformer.items() if name.startswith(("Qformer.", "query_tokens"))}
    vq = tokeniser_state(VQConfig(num_quantizers=1, nb_code=16, code_dim=8, width=8, depth=1), "vq_model.vqvae.")
    encoder = {name.replace("vq_model.vqvae.encoder", "motion_encoder"): value for name, value in vq.items() if ".encoder." in name}
    state |= vq | {name: value + 0.01 for name, value in encoder.items()}
    state |= {"motion_projection": torch.randn(8, 20) / 8**0.5, "trans_base.tok_emb.weight": torch.randn(18, 8)}
    state |= {"trans_head.ln_f.bias": torch.randn(8)}
    state |= {"opt_proj.weight": torch.randn(width, 128), "opt_proj.bias": torch.randn(width)}
    base, low = PEFT_NAMES[peft]
    opt = {"lm_head.weight": torch.randn(words, width), "model.decoder.embed_positions.weight": torch.randn(130, width)}
    opt["model.decoder.embed_tokens.weight"] = opt["lm_head.weight"]
    norms = ["model.decoder.final_layer_norm"]
    for layer in (f"model.decoder.layers.{number}" for number in range(layers)):
        norms += [f"{layer}.self_attn_layer_norm", f"{layer}.final_layer_norm"]
        shapes = {f"{layer}.self_attn.{part}_proj": (width, width) for part in ("k", "q", "v", "out")}
        for name, shape in (shapes | {f"{layer}.fc1": (96, width), f"{layer}.fc2": (width, 96)}).items():
            adapted = name.endswith(("q_proj", "v_proj"))
            stem = f"{name}{base}" if adapted else name
            opt |= {f"{stem}.weight": torch.randn(shape) / shape[1] ** 0.5, f"{stem}.bias": 0.1 * torch.randn(shape[0])}
            if adapted:
                opt |= {f"{name}.{low.format('A')}": torch.randn(4, width).to(lora) / 9}
                opt |= {f"{name}.{low.format('B')}": torch.randn(width, 4).to(lora) / 2}
    opt |= {f"{norm}.weight": 1 + 0.1 * torch.randn(width) for norm in norms}
    opt |= {f"{norm}.bias": torch.randn(width) for norm in norms}
    shared: dict[int, Tensor] = {}  # tied tensors stay one
    opt = {name: value if "lora" in name else shared.setdefault(id(value), value.half()) for name, value in opt.items()}
    return state | {f"{prefix}{name}": value for prefix in ("opt_model.", "llm.base_model.model.") for name, value in opt.items()}


def write_opt_words(folder: Path) -> Path:
    """OPT's kind of tokeniser, of bytes and a few merges, as vocab.json and merges.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = ByteLevelBPETokenizer()
    texts = ["a man is walking forward", "a man is waving", "a person bows"] * 3
    tokenizer.train_from_iterator(texts, vocab_size=290, min_frequency=2, special_tokens=list(SPECIAL_TOKENS), show_progress=False)
    tokenizer.save_model(str(folder))
    return folder


def write_captioner(root: Path, name: str = "lamp_m2t", **sizes: int) -> Path:
    """`root/t2m/<name>` with LaMP's captioner, and its statistics."""
    torch.manual_seed(0)
    folder = root / "t2m" / name
    (folder / "model").mkdir(parents=True)
    torch.save({"trans": captioner_state(**sizes)}, folder / "model" / "latest.tar")
    save_statistics(folder)
    return folder
