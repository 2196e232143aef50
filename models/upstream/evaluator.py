"""Load the released matching evaluator (`finest.tar`) as our `Evaluator`: tensor names are the same, sizes come from shapes."""

from __future__ import annotations

from torch import Tensor

from models.evaluator import UNSEEN, Evaluator, EvaluatorConfig

PARTS = ("movement_encoder", "motion_encoder", "text_encoder")  # keys of the file, each with a state dict


def evaluator_from(state: dict[str, Tensor]) -> Evaluator:
    """Build an evaluator from the tensors of a released file: its three state dicts, merged under the names `<key>.<name>`."""
    convolutions = [state[f"movement_encoder.main.{index}.weight"] for index in (0, 3)]
    word_dim, pos_dim = state["text_encoder.pos_emb.weight"].shape
    config = EvaluatorConfig(
        dim=convolutions[0].shape[1] + UNSEEN,
        movement_hidden=convolutions[0].shape[0],
        movement_dim=convolutions[1].shape[0],
        motion_hidden=state["motion_encoder.input_emb.weight"].shape[0],
        text_hidden=state["text_encoder.input_emb.weight"].shape[0],
        embed_dim=state["motion_encoder.output_net.3.weight"].shape[0],
        word_dim=word_dim,
        pos_dim=pos_dim,
    )
    model = Evaluator(config)
    model.load_state_dict(state)
    return model
