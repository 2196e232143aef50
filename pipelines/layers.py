"""Simultaneous actions: "a person walks while waving" → the legs of "a person walks" and the arms of "a person is waving".

The motions of the whole prompt and of both actions are generated. If the motion of one action shows a gesture of a person who
stands on the spot, the result is composed of the motions of the two actions (`motion/layering.py`). Otherwise, the result is the
motion of the whole prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from motion.features import features_to_joints, joints_to_features
from motion.layering import is_gesture, layer, leg_speed, moving_arms
from motion.skeleton import HUMANML3D
from pipelines.steps import is_clause, moved_forward, pattern, split_clauses, split_subject, subject_of, tidy, trimmed, with_subject

FEATURES = 263  # number of features of motions that can be composed, which have HumanML3D's 22 joints
WHILE = pattern(r"\s*,?\s*\b(?:all the while|while|whilst)\b,?\s*")
AS = pattern(r"\s*,?\s*\bas\b\s+(?=(?:he|she|they|the person|the man|the woman)\b)")
WITH = pattern(
    r",?\s+(?=with (?:both |his |her |their |the |one |two )?(?:left |right )?(?:hands?|arms?) "
    r"(?:raised|lifted|up|held|in the air|overhead|high|out|outstretched|stretched|spread|above|on|behind)\b)",
)
HELD = pattern(r"^with\s")
AT_ONCE = pattern(r"\s*,?\s*\b(?:at the same time|simultaneously|at once)$")
AND = pattern(r"\s+and\s+")


def layers(prompt: str) -> list[str]:
    """Return the prompt and, if it describes exactly two simultaneous actions, one prompt per action."""
    text = moved_forward(tidy(prompt))
    together = AT_ONCE.sub("", text)
    if together != text:
        parts = AND.split(together)
    else:
        parts = next((parts for word in (WHILE, AS, WITH) if len(parts := word.split(text)) > 1), [text])
        if not parts[0] and len(parts) == 2:  # "while walking, she waves"
            parts = list(split_clauses(parts[1]))[::-1]
    parts = [trimmed(part) for part in parts]
    if len(parts) != 2 or not all(split_subject(part)[1] for part in parts):
        return [prompt]
    subject = subject_of(parts)
    parts = [with_subject(part, subject) for part in parts]
    are_actions = all(is_clause(part) or HELD.match(split_subject(part)[1]) for part in parts)
    return [prompt, *parts] if are_actions else [prompt]


def composed(whole: Tensor, parts: Sequence[Tensor], starts: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Compose motions from the legs of one part and the arms of the other part.

    Args:
        whole: (B, T, 263) features of the whole prompts, in the dataset's own units. A motion for which neither action is a gesture
            is returned unchanged.
        parts: two tensors (B, T, 263): the features of the first action, and the features of the second action.
        starts, ends: (B,) first frame of the actions, and number of frames of the motion. The frames before the start are the
            context; they are equal in all motions and remain unchanged.

    Returns:
        features (B, T, 263), and a mask (B,) of the motions that were composed.
    """
    joints, *actions = [
        features_to_joints(motion.float(), HUMANML3D.num_joints).cpu().double().numpy() for motion in (whole, *parts)
    ]
    joints = np.concatenate([joints, joints[:, -1:]], axis=1)  # T rows of features need the joints of T + 1 frames
    is_composed = np.zeros(len(joints), bool)
    for row, (first, second, start, end) in enumerate(zip(*actions, starts.tolist(), ends.tolist())):
        spans = first[start:end], second[start:end]
        if start == end:
            continue
        legs, arms = sorted((0, 1), key=lambda number: leg_speed(spans[number]), reverse=True)
        is_composed[row] = is_gesture(spans[arms])
        if is_composed[row]:
            moved = np.broadcast_to(moving_arms(spans[arms]), (end - start, 2))
            joints[row, :end] = (first, second)[legs][:end]
            joints[row, start:end] = layer(spans[legs], spans[arms], moved)
            joints[row, end] = 2 * joints[row, end - 1] - joints[row, end - 2]
    features, _ = joints_to_features(torch.from_numpy(joints).float(), HUMANML3D, ends.cpu() + 1)
    mask = torch.from_numpy(is_composed).to(whole.device)
    return torch.where(mask[:, None, None], features.to(whole), whole), mask
