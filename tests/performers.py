"""Hand-made people who sit, squat, jump, kick, tumble and so on: joints (T, 22, 3) of whom it is known what they do and when.

Built on prepare/synthetic.py: floor at 0, facing +Z, 20 frames a second. Each rests for `BEFORE` frames first.
"""

import numpy as np

from prepare.synthetic import ANKLE, FPS, STANCE, STANDING, body, ease, hanging

BEFORE = 12
UP = np.array([0.0, 1.0, 0.0])


def clock(frames):
    """Seconds since the rest at the start ended, (frames,)."""
    return (np.arange(frames) - BEFORE) / FPS


def feet(frames):
    """Ankles (T, 2, 3) of someone who stands."""
    return np.tile([[STANCE, ANKLE, 0.0], [-STANCE, ANKLE, 0.0]], (frames, 1, 1))


def person(root, pitch=0.0, ankles=None, arms=None):
    """Joints from the pelvis (T, 3), the trunk's lean in degrees, ankles (T, 2, 3) and arms (T, 2, 2, 3)."""
    frames = len(root)
    pitch = np.radians(np.broadcast_to(pitch, frames))
    still = np.zeros((frames, 2))
    return body(
        root, np.zeros(frames), pitch, feet(frames) if ankles is None else ankles, still, hanging(frames) if arms is None else arms
    )


def standing_root(frames):
    return np.tile([0.0, STANDING, 0.0], (frames, 1))


def sitter(seat=0.5, rest=2.0, rises=True):
    """Sits down on something `seat` metres high in a second, rests, and stands up again if `rises`."""
    frames = round((rest + (2.0 if rises else 1.0)) * FPS) + 2 * BEFORE
    t = clock(frames)
    down = ease(t) - (ease(t - 1 - rest) if rises else 0)
    root = standing_root(frames)
    root[:, 1] -= down * (STANDING - seat)
    root[:, 2] -= down * 0.42
    return person(root, 35 * 4 * down * (1 - down))


def squatter(depth=0.5, times=1):
    """Squats until the pelvis is `depth` metres lower, `times` times, a second and a half each, the weight over the feet."""
    frames = round(1.5 * times * FPS) + 2 * BEFORE
    t = np.clip(clock(frames) / 1.5, 0, times)
    down = np.sin(np.pi * t) ** 2
    root = standing_root(frames)
    root[:, 1] -= depth * down
    root[:, 2] -= 0.2 * down
    return person(root, 35 * down)


def jumper(height=0.3, times=1, forward=0.0, foot=None):
    """Crouches a little and jumps so that the feet rise by `height`, `times` times; `foot` 0 or 1: on that foot only."""
    air = 2 * np.sqrt(2 * height / 9.81)
    cycle = 0.5 + air
    frames = round(times * cycle * FPS) + 2 * BEFORE
    t = np.clip(clock(frames), 0, times * cycle - 1e-6)
    flight = np.clip((t % cycle - 0.5) / air, 0, 1)  # 0 before it, 0 … 1 in the air
    rise = 4 * height * flight * (1 - flight)
    crouch = np.sin(np.pi * np.clip(t % cycle / 0.5, 0, 1)) ** 2
    along = forward * (t // cycle + flight)
    root = standing_root(frames) + np.stack([0 * t, rise - 0.12 * crouch, along], axis=-1)
    ankles = feet(frames) + np.stack([0 * t, rise, along], axis=-1)[:, None]
    if foot is not None:
        ankles[:, 1 - foot] += [0, 0.3, -0.2]
    return person(root, 15 * crouch, ankles)


def kicker(side=0, height=0.9, times=1):
    """Kicks forward with the leg of a side (0 left), the ankle `height` metres high, `times` times, 1.2 s each."""
    frames = round(1.2 * times * FPS) + 2 * BEFORE
    t = np.clip(clock(frames) / 1.2, 0, times)
    swing = np.sin(np.pi * t) ** 4
    ankles = feet(frames)
    ankles[:, side, 1] += swing * (height - ANKLE)
    ankles[:, side, 2] += np.sin(np.pi * np.minimum(swing, 1) / 2) * 0.75
    return person(standing_root(frames), 0.0, ankles)


def puncher(side=0, times=2):
    """Thrusts an arm forward from the shoulder, `times` times, 0.8 s each."""
    frames = round(0.8 * times * FPS) + 2 * BEFORE
    t = np.clip(clock(frames) / 0.8, 0, times)
    out = np.sin(np.pi * t)[:, None] ** 6
    arms = hanging(frames)
    arms[:, side, 0] = (1 - out) * [0.2, -0.9, -0.3] + out * [0.0, 0.1, 1.0]
    arms[:, side, 1] = (1 - out) * [0.0, 0.5, 0.8] + out * [0.0, 0.1, 1.0]
    return person(standing_root(frames), arms=arms)


def picker(knees=True):
    """Reaches to the floor with both hands and comes up again in two seconds, out of bent knees or bent over."""
    frames = 2 * FPS + 2 * BEFORE
    down = np.sin(np.pi * np.clip(clock(frames) / 2, 0, 1)) ** 2
    root = standing_root(frames)
    root[:, 1] -= down * (0.55 if knees else 0.15)
    root[:, 2] -= down * 0.2
    return person(root, (65 if knees else 110) * down, arms=straight_down(down, 65 if knees else 110))


def straight_down(fraction, pitch):
    """Arms that hang straight down although the trunk leans by `share` (T,) of `pitch` degrees."""
    angle = np.radians(pitch * fraction)
    arms = np.zeros((len(fraction), 2, 2, 3))
    arms[..., 1], arms[..., 2] = -np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    return arms


def lier(rises=False):
    """Lies down on the back in two seconds, lies for two more and gets up again if `rises`."""
    frames = round((6 if rises else 4) * FPS) + 2 * BEFORE
    t = clock(frames)
    down = ease(t / 2) - (ease((t - 4) / 2) if rises else 0)
    root = standing_root(frames)
    root[:, 1] -= down * (STANDING - 0.1)
    root[:, 2] -= down * 0.75
    return person(root, -88 * down)


def crawler(distance=1.5):
    """Goes along on hands and knees."""
    frames = 4 * FPS
    root = np.stack([np.zeros(frames), np.full(frames, 0.5), np.linspace(0, distance, frames)], axis=-1)
    ankles = root[:, None] + [[STANCE, -0.45, -0.55], [-STANCE, -0.45, -0.55]]
    return person(root, 85.0, ankles, straight_down(np.ones(frames), 85))


def tumbler(axis, hands_down):
    """Turns over once about an axis (0 left: forward, 2 forward: sideways), in the air or, with `hands_down`, over the hands."""
    frames = FPS + 2 * BEFORE
    t = np.clip(clock(frames), 0, 1)
    arms = hanging(frames)
    arms[..., 1] = np.abs(arms[..., 1])  # up, beside the head
    joints = person(standing_root(frames), arms=arms).astype(float)
    angle = 2 * np.pi * ease(t)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.tile(np.eye(3), (frames, 1, 1))
    a, b = ((1, 2), (2, 0), (0, 1))[axis]
    turn[:, a, a], turn[:, b, b], turn[:, a, b], turn[:, b, a] = cos, cos, -sin, sin
    centre = joints[:, :1]
    joints = np.einsum("tij,tkj->tki", turn, joints - centre)
    lowest = -joints[..., 1].min(axis=1)
    joints[..., 1] += np.maximum(lowest, STANDING - 0.05 if hands_down else STANDING + 0.6 * np.sin(np.pi * t))[:, None]
    return joints


def climber(height=0.6, up=True):
    """Walks on steps that lead up or down by `height`."""
    from prepare.synthetic import walker

    joints = walker(7, stride=0.3, pace=1.6)
    level = height * ease(np.linspace(-0.3, 1.3, len(joints)))
    joints[..., 1] += (level if up else height - level)[:, None]
    return joints


def jacks(times=3):
    """Jumping jacks, one a second."""
    frames = times * FPS + 2 * BEFORE
    t = np.clip(clock(frames), 0, times)
    out = np.sin(np.pi * t) ** 2
    arms, ankles = hanging(frames), feet(frames)
    angle = np.pi * 0.95 * out[:, None]
    for side, sign in ((0, 1), (1, -1)):
        arms[:, side] = np.stack([sign * np.sin(angle), -np.cos(angle), 0 * angle], axis=-1)
        ankles[:, side, 0] += sign * 0.2 * out
    return person(standing_root(frames) - UP * 0.04 * out[:, None], ankles=ankles, arms=arms)


def circler(times=2, backward=True):
    """Both straight arms go round the shoulders, seen from the left over the top, once a second."""
    frames = times * FPS + 2 * BEFORE
    angle = 2 * np.pi * np.clip(clock(frames), 0, times) * (1 if backward else -1)
    arms = np.zeros((frames, 2, 2, 3))
    arms[..., 1], arms[..., 2] = -np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    return person(standing_root(frames), arms=arms)


def balancer(side=0, seconds=3.0):
    """Stands on the foot of a side, the other one lifted."""
    frames = round(seconds * FPS) + 2 * BEFORE
    t = clock(frames)
    lifted = ease(t / 0.4) - ease((t - seconds + 0.4) / 0.4)
    ankles = feet(frames)
    ankles[:, 1 - side] += lifted[:, None] * [0, 0.35, -0.1]
    return person(standing_root(frames), ankles=ankles)


def thrower():
    """Brings both hands up in front of the body, close together, to above the head and drops them: a ball thrown overhead."""
    frames = 2 * FPS + 2 * BEFORE
    up = np.sin(np.pi * np.clip(clock(frames) / 1.4, 0, 1))[:, None] ** 2
    arms = hanging(frames)
    for side, inward in ((0, -0.25), (1, 0.25)):
        for bone in (0, 1):
            way = np.array([inward, 0.4 + 0.5 * bone, 0.9 - 0.3 * bone])
            arms[:, side, bone] = (1 - up) * [inward, -0.8, 0.4] + up * way
    return person(standing_root(frames), arms=arms)
