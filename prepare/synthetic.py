"""Procedural motions for tests: walking, running, waving, raising hands and bowing, with known counts, angles and heights.

    python -m prepare.synthetic --out dataset/Synthetic --clips 64

A motion is an array of joints (T, 22, 3), float32, with HumanML3D's joint order and bone lengths, in metres, Y up, with the floor
at 0, at 20 frames per second. The person faces +Z at the start, with the left side at +X. Standing feet do not move.
`write_synthetic` writes a dataset folder in HumanML3D's layout, with captions that prepare/captions.py generates.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

if not __package__:
    raise SystemExit("error: started by its path; run: python -m prepare.synthetic")

import numpy as np
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

from motion.spec import get_spec
from options.cli import parse
from options.prepare import WriteSynthetic
from utils.errors import UserError, script

FPS = 20
# The following lengths are in metres.
ANKLE = 0.08  # height of the ankle of a standing foot
STANCE = 0.1  # distance of each foot from the middle of the body
HIP = 0.06  # distance of each hip from the middle of the body
LEG = 0.81  # distance from hip to ankle of a nearly straight leg
STANDING = ANKLE + 0.08 + LEG  # height of the pelvis when standing
TRUNK = (  # joint, parent, direction of the bone in the axes of the trunk (left, up, forward)
    (3, 0, (0, 1, 0)), (6, 3, (0, 1, 0)), (9, 6, (0, 1, 0)), (12, 9, (0, 1, 0)), (15, 12, (0, 0.9, 0.4)),
    (13, 9, (0.7, 0.7, 0)), (14, 9, (-0.7, 0.7, 0)), (16, 13, (1, 0.1, 0)), (17, 14, (-1, 0.1, 0)),
)  # fmt: skip


def unit(v: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) scaled to unit length."""
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def ease(t: np.ndarray) -> np.ndarray:
    """Smoothstep: 0 for t < 0, 1 for t > 1, and a smooth transition in between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def heading(yaw: np.ndarray) -> np.ndarray:
    """Horizontal unit vectors (..., 3) at the angles `yaw` (...), in radians: 0 points to +Z, and π / 2 points left, to +X."""
    return np.stack([np.sin(yaw), np.zeros_like(yaw), np.cos(yaw)], axis=-1)


def axes(yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """Axes (T, 3, 3) of a trunk that faces `yaw` (T,) and leans forward by `pitch` (T,), in radians; columns: left, up, front."""
    left, front, up = heading(yaw + np.pi / 2), heading(yaw), np.array([0.0, 1.0, 0.0])
    cos, sin = np.cos(pitch)[:, None], np.sin(pitch)[:, None]
    return np.stack([left, cos * up + sin * front, cos * front - sin * up], axis=-1)


def body(
    root: np.ndarray, yaw: np.ndarray, pitch: np.ndarray, ankles: np.ndarray, feet: np.ndarray, arms: np.ndarray
) -> np.ndarray:
    """Compute joints (T, 22, 3) from positions and directions of body parts. Pairs of limbs are in the order (left, right).

    Args:
        root: positions (T, 3) of the pelvis.
        yaw, pitch: direction and forward lean (T,) of the trunk in radians.
        ankles: target positions (T, 2, 3).
        feet: yaw (T, 2) in radians.
        arms: directions (T, 2, 2, 3) of upper arm and forearm, in the axes of the trunk (left, up, forward).
    """
    from motion.skeleton import HUMANML3D  # imports torch; imported late, to keep --help fast

    lengths, joints = HUMANML3D.lengths, np.zeros((len(root), 22, 3))
    joints[:, 0] = root
    upright, leaning = axes(yaw, np.zeros_like(pitch)), axes(yaw, pitch)
    for joint, parent, direction in TRUNK:
        joints[:, joint] = joints[:, parent] + lengths[joint] * leaning @ unit(np.array(direction, float))
    for side, (hip, knee, ankle, toe, shoulder, elbow, wrist) in enumerate(((1, 4, 7, 10, 16, 18, 20), (2, 5, 8, 11, 17, 19, 21))):
        joints[:, hip] = root + lengths[hip] * upright @ unit(np.array([0.6 - 1.2 * side, -0.8, 0.0]))
        joints[:, knee], joints[:, ankle] = leg(joints[:, hip], ankles[:, side], upright[..., 2], lengths[knee], lengths[ankle])
        joints[:, toe] = joints[:, ankle] + lengths[toe] * unit(heading(feet[:, side]) - np.array([0, 0.45, 0]))
        for joint, parent, bone in ((elbow, shoulder, 0), (wrist, elbow, 1)):
            joints[:, joint] = joints[:, parent] + lengths[joint] * np.einsum("tij,tj->ti", leaning, unit(arms[:, side, bone]))
    joints[..., 1] -= joints[..., 1].min()
    return joints.astype(np.float32)


def leg(hip: np.ndarray, ankle: np.ndarray, front: np.ndarray, thigh: float, shin: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, 3) of knee and ankle, for a leg that reaches from the hip towards `ankle`, with the knee bent to the front."""
    line = ankle - hip
    reach = np.clip(np.linalg.norm(line, axis=-1), 0.2, 0.999 * (thigh + shin))[:, None]
    line = unit(line)
    along = (thigh**2 - shin**2 + reach**2) / (2 * reach)
    bend = unit(front - (front * line).sum(-1, keepdims=True) * line)
    return hip + along * line + np.sqrt(np.maximum(thigh**2 - along**2, 0)) * bend, hip + reach * line


def hanging(frames: int, swing: np.ndarray | float = 0.0) -> np.ndarray:
    """Directions (T, 2, 2, 3) of hanging arms. The left arm swings forward by `swing` (T,) radians, the right arm backward."""
    angle = np.stack([np.zeros(frames) + swing, np.zeros(frames) - swing], axis=1)  # (T, 2)
    arms = np.zeros((frames, 2, 2, 3))
    for bone, bend in enumerate((0.0, 0.25)):
        arms[:, :, bone, 1], arms[:, :, bone, 2] = -np.cos(angle + bend), np.sin(angle + bend)
    arms[:, 0, :, 0], arms[:, 1, :, 0] = 0.12, -0.12
    return arms


# ------------------------------------------------------------------------------------------------------------- walkers
def walker(
    steps: int = 6, *, stride: float = 0.55, pace: float = 2.0, direction: float = 0.0, turn: float = 0.0, run: bool = False
) -> np.ndarray:
    """Joints (T, 22, 3) of a person who walks or runs `steps` (2 or more) steps and stops. The last step brings the feet together.

    Args:
        stride: metres per step; the body moves by (steps - 1) strides.
        pace: steps per second.
        direction: angle in degrees from the facing direction to the direction of travel, positive to the left. If it is 90, the
            person sidesteps to the left; if it is 180, the person walks backwards.
        turn: angle in degrees of a turn in the middle of the path, positive to the left.
        run: whether both feet leave the ground between steps.
    """
    frames, still = round(steps * FPS / pace) + 16, 8  # the person stands still for 8 frames at both ends
    clock = np.clip((np.arange(frames) - still) * pace / FPS, 0, steps)  # in steps
    fine = np.linspace(0, steps - 1, 40 * (steps - 1) + 1)  # strides along the path
    course = np.radians(turn) * ease((fine / (steps - 1) - 0.3) / 0.4)
    path = np.concatenate([np.zeros((1, 3)), np.cumsum(heading(course + np.radians(direction))[:-1], axis=0) * stride / 40])

    def locate(strides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position (..., 3) on the floor and yaw (...) after `strides` strides."""
        return np.stack([np.interp(strides, fine, path[:, axis]) for axis in range(3)], axis=-1), np.interp(strides, fine, course)

    feet = [swings(clock, locate, steps, side, air=1.6 if run else 0.9, lift=0.25 if run else 0.1) for side in (0, 1)]
    ankles, pointing = (np.stack(pair, axis=1) for pair in zip(*feet))  # (T, 2, 3), (T, 2)
    starting, stopping = np.minimum(clock, 1), np.minimum(steps - clock, 1)
    root, yaw = locate(clock - starting + starting**2 / 2 + stopping - stopping**2 / 2 - 0.5)  # the root is midway between the feet
    hips = root[:, None] + HIP * heading(yaw + np.pi / 2)[:, None] * [[1], [-1]]  # (T, 2, 3)
    distance = np.linalg.norm((ankles - hips)[..., [0, 2]], axis=-1).max(axis=1)
    hop = run * 0.05 * np.sin(np.pi * clock) ** 2
    reach = np.sqrt(LEG**2 - np.minimum(distance, 0.6) ** 2)  # maximum height of the hips at which both ankles can be reached
    root[:, 1] = STANDING - LEG + gaussian_filter1d(minimum_filter1d(reach, 5), 1) + hop
    swing = 0.5 * starting * stopping * np.cos(np.pi * clock)
    return body(root, yaw, np.full(frames, 0.2 if run else 0.03), ankles, pointing, hanging(frames, swing))


def swings(
    clock: np.ndarray, locate: Callable, steps: int, side: int, air: float, lift: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (T, 3) of an ankle and yaw (T,) of its foot (`side` 0: left, 1: right) while a person walks `steps` steps.

    The foot swings forward in every second step and stands in the other steps. `clock` (T,) is the time, measured in steps.
    `locate` returns position and yaw of the body after a number of strides. A swing lasts `air` steps and is `lift` metres high.
    """
    step_numbers = np.arange(side, steps, 2)
    positions, yaw = locate(np.minimum(np.append(0, step_numbers + 1), steps - 1))
    prints = positions + (1 - 2 * side) * STANCE * heading(yaw + np.pi / 2) + np.array([0, ANKLE, 0])
    ankle, pointing = np.repeat(prints[:1], len(clock), axis=0), np.repeat(yaw[0], len(clock))
    for step, move, turn in zip(step_numbers, np.diff(prints, axis=0), np.diff(yaw)):
        t = ease((clock - step - 0.5) / air + 0.5)
        ankle += t[:, None] * move + lift * np.sin(np.pi * t[:, None]) ** 2 * [0, 1, 0]
        pointing += t * turn
    return ankle, pointing


# ------------------------------------------------------------------------------------------------------------- standers
HEIGHTS = {  # height of a raised hand → directions (outward, up, forward) of upper arm and forearm
    "chest": ((0.2, -0.8, 0.5), (0.1, 0.3, 0.9)),
    "shoulder": ((0.6, -0.3, 0.5), (0.0, 0.3, 1.0)),
    "head": ((0.8, -0.1, 0.4), (0.1, 1.0, 0.2)),
    "above the head": ((0.5, 0.8, 0.2), (0.1, 1.0, 0.1)),
}
HANDS = {"left": (0,), "right": (1,), "both": (0, 1)}


def standing(arms: np.ndarray, pitch: np.ndarray | None = None) -> np.ndarray:
    """Joints (T, 22, 3) of a standing person. `arms` (T, 2, 2, 3) are as in `body`; `pitch` (T,) is the forward lean."""
    frames = len(arms)
    pitch = np.zeros(frames) if pitch is None else pitch
    root = np.stack([np.zeros(frames), np.full(frames, STANDING), -0.15 * np.sin(pitch)], axis=-1)  # the hips move back in a bow
    ankles = np.tile(np.array([[STANCE, ANKLE, 0], [-STANCE, ANKLE, 0]]), (frames, 1, 1))
    return body(root, np.zeros(frames), pitch, ankles, np.zeros((frames, 2)), arms)


def raiser(
    hand: str = "right", *, height: str = "above the head", times: int = 1, hold: float = 1.0, rise: float = 0.6
) -> np.ndarray:
    """Joints (T, 22, 3) of a person who raises the hands in `rise` seconds, holds them up for `hold` seconds, and lowers them.

    The person performs the whole gesture `times` times. `hand` is 'left', 'right' or 'both'; `height` is a key of `HEIGHTS`.
    """
    return gesture(hand, height, times, hold, rise, waves=0)


def waver(hand: str = "right", waves: int = 4, *, height: str = "above the head", beat: float = 1.0) -> np.ndarray:
    """Joints (T, 22, 3) of a person who raises the hands, waves `waves` times at `beat` waves per second, and lowers the hands.

    `hand` is 'left', 'right' or 'both'; `height` is a key of `HEIGHTS`.
    """
    return gesture(hand, height, 1, waves / beat + 0.7, 0.6, waves)


def gesture(hand: str, height: str, times: int, hold: float, rise: float, waves: int) -> np.ndarray:
    """Joints (T, 22, 3) of a person who raises one or both hands, holds them up or waves, and lowers them.

    The person performs the whole gesture `times` times. For the other arguments, see `raiser` and `waver`.
    """
    seconds = times * (2 * rise + hold + 0.4) + 0.4
    clock = np.arange(round(seconds * FPS)) / FPS
    since = np.minimum(np.maximum(clock - 0.4, 0) % (2 * rise + hold + 0.4), 2 * rise + hold)  # seconds since the raise began
    raised = (ease(since / rise) - ease((since - rise - hold) / rise))[:, None, None]
    waving = np.clip((since - rise - 0.35) / (hold - 0.7), 0, 1) if waves else np.zeros_like(clock)
    swing = 0.5 * np.sin(2 * np.pi * waves * waving)[:, None, None] * [[0, 0, 0], [1, 0, 0]]
    arms = hanging(len(clock))
    for side in HANDS[hand]:
        outward = np.array([1 - 2 * side, 1, 1])
        up = unit(np.array(HEIGHTS[height])) * outward + swing
        arms[:, side] = (1 - raised) * arms[:, side] + raised * up + raised * (1 - raised) * [0, 0, 1.5]
    return standing(arms)


def bower(depth: float = 45.0, times: int = 1) -> np.ndarray:
    """Joints (T, 22, 3) of a person who bows `times` times, to `depth` degrees from upright. A bow takes about two seconds."""
    clock = np.arange(round((2.2 * times + 1) * FPS)) / FPS - 0.5
    since = np.where(clock < 2.2 * times, np.maximum(clock, 0) % 2.2, 0)
    pitch = np.radians(depth) * (ease(since / 0.8) - ease((since - 1.2) / 0.8))
    return standing(hanging(len(clock)), pitch)


# ------------------------------------------------------------------------------------------------------------- dataset
KINDS: dict[str, Callable[..., np.ndarray]] = {"walker": walker, "raiser": raiser, "waver": waver, "bower": bower}


def random_clip(rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """Content (name of the action, a key of `prepare.clauses.ACTIONS`) and joints (T, 22, 3) of a random motion."""
    kind, hand = rng.choice(["walk", "walk", "run", "raise", "wave", "bow"]), str(rng.choice(list(HANDS)))
    height = str(rng.choice(["shoulder", "head", "above the head"]))
    suffix = "both-hands" if hand == "both" else f"{hand}-hand"
    if kind == "walk":
        course = {"direction": int(rng.choice([0, 0, 90, -90, 180])), "turn": int(rng.choice([0, 0, 45, -45, 90, -90, 180, -180]))}
        return "walk", walker(int(rng.integers(4, 11)), stride=rng.uniform(0.35, 0.65), pace=rng.uniform(1.5, 2.2), **course)
    if kind == "run":
        return "run", walker(int(rng.integers(6, 13)), stride=rng.uniform(0.8, 1.1), pace=rng.uniform(2.4, 3.0), run=True)
    if kind == "raise":
        return f"raise-up-{suffix}", raiser(hand, height=height, hold=rng.uniform(0.6, 3.0), rise=rng.uniform(0.3, 0.9))
    if kind == "wave":
        return f"wave-{suffix}", waver(hand, int(rng.integers(2, 7)), height=height, beat=rng.uniform(0.8, 1.5))
    return "bow", bower(rng.uniform(25, 70), int(rng.integers(1, 4)))


def write_synthetic(root: str | Path, clips: int = 64, seed: int = 0) -> None:
    """Write a dataset folder in HumanML3D's layout: features, joints, texts, statistics and splits.

    About three quarters of the clips are in train, one eighth is in val, and one eighth is in test. Equal `clips` and `seed` give
    equal motions and captions. Raises `UserError` for fewer than 8 clips.
    """
    import torch

    from data.pos_tags import tag
    from motion.features import features_to_joints, joints_to_features
    from motion.skeleton import HUMANML3D
    from prepare.captions import captions
    from prepare.folder import MOTIONS, write_lists, write_motion
    from prepare.stats import write_statistics

    if clips < 8:
        raise UserError(f"--clips {clips}: train, val and test together need at least 8 clips")
    root, rng = Path(root), np.random.default_rng(seed)
    for folder in (*MOTIONS, "texts"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    texts = {}
    for name in (f"S{number:05d}" for number in range(clips)):
        content, joints = random_clip(rng)
        features = joints_to_features(torch.from_numpy(joints)[None], HUMANML3D)[0][0]  # (T - 1, 263)
        placed = features_to_joints(features, HUMANML3D.num_joints)
        write_motion(root, name, features, placed)
        texts[name] = captions(name, content, "normal", placed.numpy())
    tokens = iter(tag([caption for lines in texts.values() for caption in lines]))
    for name, lines in texts.items():
        content = "".join(f"{line}#{next(tokens)}#0.0#0.0\n" for line in lines)
        (root / "texts" / f"{name}.txt").write_text(content, encoding="utf-8")
    names = list(texts)
    held_out = max(2, clips // 8)
    splits = {"test": names[:held_out], "val": names[held_out : 2 * held_out], "train": names[2 * held_out :]}
    write_lists(root, {**splits, "train_val": splits["val"] + splits["train"], "all": names})
    write_statistics(root, splits["train"])


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(WriteSynthetic, argv)
    out = Path(config.out) if config.out else get_spec("synthetic").root
    write_synthetic(out, config.clips, config.seed)
    print(f"{config.clips} clips in {out}")


if __name__ == "__main__":
    main()
