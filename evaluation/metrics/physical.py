"""Physical metrics: foot sliding, floating, jerk, floor penetration, bone lengths; heights of the feet and error of the path.

Joints are (B, T, J, 3) in metres, Y up, with the floor at 0; `lengths` (B,) are in frames, by default T. Every metric has shape
(B,), one value per clip. The value is NaN if no frame of the clip can be measured. Real motion has values above 0 as well, so
compare generated motion with real clips.
"""

from __future__ import annotations

import torch
from torch import Tensor

from motion.features import bone_lengths, skeleton_for

TOE_HEIGHT = 0.05  # m; a toe below this height is on the floor
ANKLE_HEIGHT = 0.10  # m; if an ankle is below this height, its heel is on the floor
SLIDING = 0.5  # m/s; a toe that is faster is stepping, not sliding
FREE_FALL = -9.81 / 2  # m/s²; if the pelvis has a larger downward acceleration, the body is in a jump or a running stride


def physical_metrics(
    joints: Tensor, fps: float, lengths: Tensor | None = None, contacts: Tensor | None = None
) -> dict[str, Tensor]:
    """Foot sliding, floating, jerk, floor penetration and bone deviation (B,) of joints (B, T, J, 3) in metres, keyed by name.

    `contacts` (B, T-1, 2) marks standing toes; for reconstructions, pass the contacts of the original motions.
    """
    return {
        "foot_slide_cm_s": foot_slide(joints, fps, lengths, contacts),
        "float_percent": floating(joints, fps, lengths),
        "jerk_m_s3": jerk(joints, fps, lengths),
        "penetration_mm": penetration(joints, lengths),
        "bone_deviation_percent": bone_deviation(joints, lengths),
    }


def toe_contacts(joints: Tensor, fps: float) -> Tensor:
    """Whether each toe (left, right) is low and slow enough to stand between a frame and the next: (B, T-1, 2) bool."""
    return (_toes(joints)[:, :-1, :, 1] < TOE_HEIGHT) & (_toe_speed(joints, fps) < SLIDING)


def foot_slide(joints: Tensor, fps: float, lengths: Tensor | None = None, contacts: Tensor | None = None) -> Tensor:
    """Mean horizontal speed of standing toes, cm/s. `contacts` (B, T-1, 2) marks standing toes; None: `toe_contacts`."""
    contacts = toe_contacts(joints, fps) if contacts is None else contacts
    return 100 * _mean(_toe_speed(joints, fps), contacts & _valid(joints, lengths, 1)[..., None])


def floating(joints: Tensor, fps: float, lengths: Tensor | None = None) -> Tensor:
    """Percentage of frames in which no foot is on the floor although the pelvis is not in free fall."""
    ankles = joints[:, :, list(skeleton_for(joints.shape[2]).feet[0::2])]  # (B, T, 2, 3)
    supported = (_toes(joints)[..., 1] < TOE_HEIGHT).any(-1) | (ankles[..., 1] < ANKLE_HEIGHT).any(-1)  # (B, T)
    acceleration = joints[..., 0, 1].diff(n=2, dim=1) * fps**2  # of the pelvis in frame t + 1, (B, T-2)
    floats = ~supported[:, 1:-1] & (acceleration > FREE_FALL)
    return 100 * _mean(floats.to(joints), _valid(joints, lengths, 2))


def jerk(joints: Tensor, fps: float, lengths: Tensor | None = None) -> Tensor:
    """Mean norm of the third derivative of the joint positions, m/s³."""
    values = joints.diff(n=3, dim=1).norm(dim=-1) * fps**3  # (B, T-3, J)
    return _mean(values, _valid(joints, lengths, 3)[..., None].expand_as(values))


def penetration(joints: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean depth of the lowest joint below the floor, mm."""
    return 1000 * _mean((-joints[..., 1].amin(-1)).clamp(min=0), _valid(joints, lengths, 0))


def bone_deviation(joints: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Deviation of bone lengths from their median over the clip, %: the 99th percentile over frames and bones."""
    bones = bone_lengths(joints, skeleton_for(joints.shape[2]))[..., 1:]  # (B, T, J-1)
    bones = torch.where(_valid(joints, lengths, 0)[..., None], bones, torch.nan)
    deviation = (bones / bones.nanmedian(dim=1, keepdim=True).values - 1).abs()
    return 100 * deviation.flatten(1).nanquantile(0.99, dim=1)


def path_error(joints: Tensor, truth: Tensor, fps: float, seconds: float, lengths: Tensor | None = None) -> Tensor:
    """Horizontal distance between the root and the true root after `seconds`, mm; NaN for shorter clips."""
    frame = round(seconds * fps)
    if frame >= joints.shape[1]:
        return joints.new_full((len(joints),), torch.nan)
    distance = 1000 * (joints[:, frame, 0] - truth[:, frame, 0])[:, [0, 2]].norm(dim=-1)
    return torch.where(_valid(joints, lengths, 0)[:, frame], distance, torch.nan)


def foot_peaks(joints: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
    """Maximum height in cm of the higher toe (`kick_cm`), and of the lower toe (`jump_cm`), over the clip."""
    toes = 100 * _toes(joints)[..., 1]  # (B, T, 2)
    toes = torch.where(_valid(joints, lengths, 0)[..., None], toes, -torch.inf)
    return {"kick_cm": toes.amax((1, 2)), "jump_cm": toes.amin(2).amax(1)}


def _toes(joints: Tensor) -> Tensor:
    """Positions (B, T, 2, 3) of both toes."""
    return joints[:, :, list(skeleton_for(joints.shape[2]).feet[1::2])]


def _toe_speed(joints: Tensor, fps: float) -> Tensor:
    """Horizontal speed (B, T-1, 2) of both toes, m/s."""
    return _toes(joints)[..., [0, 2]].diff(dim=1).norm(dim=-1) * fps


def _valid(joints: Tensor, lengths: Tensor | None, order: int) -> Tensor:
    """Mask (B, T - order) of the finite differences of order `order` that lie within the clip."""
    B, T = joints.shape[:2]
    lengths = torch.full((B,), T, device=joints.device) if lengths is None else lengths.to(joints.device)
    return torch.arange(T - order, device=joints.device) < lengths[:, None] - order


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean (B,) over the values (B, …) of each clip where `mask` (B, …) is True; NaN if a clip has no such value."""
    values = torch.where(mask, values, 0)  # padding may contain NaN
    return values.flatten(1).sum(1) / mask.flatten(1).sum(1)
