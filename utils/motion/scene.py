"""One picture of a person on a floor, from joints: a camera that follows, a fading grid, soft shadows, limbs coloured by side.

Drawn with OpenCV: its wheel needs no system libraries (skia's needs libGL and libEGL), it draws anti-aliased without the
supersampling that Pillow needs, and it lets go of Python's lock, so that drawing and encoding run side by side.

In: joints (T, J, 3), metres, Y up, floor at 0. Out: RGB pictures (height, width, 3) uint8, `scene.draw(frame)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from utils.motion.features import skeleton_for
from utils.motion.ik import check_joints, children_of
from utils.motion.skeleton import Skeleton

LEFT, RIGHT, MIDDLE = (38, 139, 210), (240, 118, 52), (92, 104, 122)
SKY, GROUND, PATH = (247, 248, 250), (232, 235, 240), (120, 196, 160)
AZIMUTH, ELEVATION, FIELD = np.deg2rad([28.0, 14.0, 32.0])  # camera: to the person's left, above, vertical field of view
NEAREST = 4.1  # metres from the camera to the person, at least
FOLLOW = 0.6  # seconds; standard deviation of the camera's smoothing
SUBPIXEL = 4  # bits of the fixed-point coordinates that OpenCV draws at

# Thickness (radius, metres) of the body at each joint, by the name of its bone without its side.
RADII = {
    "Hips": 0.105, "UpLeg": 0.085, "Leg": 0.058, "Foot": 0.042, "MidFoot": 0.038, "Toe": 0.032,
    "Spine": 0.110, "Spine1": 0.115, "Spine2": 0.115, "Neck": 0.050, "Head": 0.070,
    "Shoulder": 0.075, "Arm": 0.056, "ForeArm": 0.042, "Hand": 0.034,
}  # fmt: skip
TIPS = {"Head": (0.115, 0.094), "Hand": (0.11, 0.030), "Toe": (0.05, 0.028)}  # what lies beyond a limb's last joint: length, radius

# A limb is painted in layers, widest first: (share of the radius, pixels added, shift to the light, brightness).
LAYERS = ((1.0, 1.3, 0.0, 0.55), (1.0, 0.0, 0.0, 0.84), (0.74, 0.0, 0.16, 1.0), (0.36, 0.0, 0.34, 1.16))


def limbs(skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The limbs to draw: their ends (N, 2) as points of `with_tips`, radii at both ends (N, 2), and colours (N, 3)."""
    ends, radii, colours = [], [], []
    tip = skeleton.num_joints
    for joint, (bone, children) in enumerate(zip(skeleton.bones, children_of(skeleton))):
        radius = RADII[sideless(bone)]
        for child in children:
            ends.append((joint, child))
            radii.append((radius, RADII[sideless(skeleton.bones[child])]))
            colours.append(side_colour(bone))
        if not children:
            ends.append((joint, tip))
            radii.append((radius, TIPS[sideless(bone)][1]))
            colours.append(side_colour(bone))
            tip += 1
    return np.array(ends), np.array(radii), np.array(colours, float)


def with_tips(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Joints (T, J, 3) and, after them, the tips of head, hands and feet: (T, J + tips, 3)."""
    leaves = [joint for joint, children in enumerate(children_of(skeleton)) if not children]
    bones = joints[:, leaves] - joints[:, [skeleton.parents[leaf] for leaf in leaves]]
    lengths = np.array([TIPS[sideless(skeleton.bones[leaf])][0] for leaf in leaves])
    directions = bones / np.linalg.norm(bones, axis=-1, keepdims=True).clip(min=1e-6)
    return np.concatenate((joints, joints[:, leaves] + directions * lengths[:, None]), axis=1)


def sideless(bone: str) -> str:
    return bone.removeprefix("Left").removeprefix("Right")


def side_colour(bone: str) -> tuple[int, int, int]:
    return LEFT if bone.startswith("Left") else RIGHT if bone.startswith("Right") else MIDDLE


def capsules(ends: np.ndarray, radii: np.ndarray, corners: int = 14) -> np.ndarray:
    """Outlines (..., 2 corners, 2) of the hulls of two discs with centres `ends` (..., 2, 2) and radii (..., 2), in pixels."""
    axis = ends[..., 1, :] - ends[..., 0, :]
    angle = np.arctan2(axis[..., 1], axis[..., 0])
    length = np.linalg.norm(axis, axis=-1).clip(min=1e-6)
    spread = np.arccos(((radii[..., 0] - radii[..., 1]) / length).clip(-1, 1))  # where the common tangents touch
    turn = np.linspace(-1, 1, corners)
    far = angle[..., None] + spread[..., None] * turn
    near = angle[..., None] + np.pi + (np.pi - spread[..., None]) * turn
    angles = np.stack((near, far), axis=-2)  # (..., 2, corners)
    rim = np.stack((np.cos(angles), np.sin(angles)), axis=-1) * radii[..., None, None]
    return (ends[..., None, :] + rim).reshape(*axis.shape[:-1], 2 * corners, 2)


@dataclass(frozen=True)
class Camera:
    """A perspective camera with a fixed direction, a fixed distance from the point it follows, and a place for that on the picture.

    `axes` (3, 3) are its right, up and back in rows; `focal` and `centre` (2,) are in pixels, `height` in metres.
    """

    axes: np.ndarray
    distance: float
    focal: float
    centre: np.ndarray
    height: float

    @classmethod
    def fitting(cls, points: np.ndarray, size: tuple[int, int], top: int) -> Camera:
        """The camera that shows points (..., 3), given from the followed point on the floor, below the first `top` rows."""
        back = np.array([np.sin(AZIMUTH) * np.cos(ELEVATION), np.sin(ELEVATION), np.cos(AZIMUTH) * np.cos(ELEVATION)])
        right = np.array([np.cos(AZIMUTH), 0.0, -np.sin(AZIMUTH)])
        axes = np.stack((right, np.cross(back, right), back))
        width, height = size
        focal = height / 2 / np.tan(FIELD / 2)
        room = np.array([0.46 * width, 0.46 * (height - top)])  # pixels to either side of the centre
        middle = (points[..., 1].max() + min(points[..., 1].min(), 0.0)) / 2
        seen = (points - [0, middle, 0]) @ axes.T
        needed = seen[..., 2] + focal * (np.abs(seen[..., :2]) / room).max(-1)
        centre = np.array([width / 2, top + (height - top) / 2])
        return cls(axes, max(NEAREST, needed.max()), focal, centre, middle)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (..., 2) of points (..., 3) given from the followed point, and the pixels a metre spans there (...)."""
        seen = (points - [0, self.height, 0]) @ self.axes.T
        scale = self.focal / (self.distance - seen[..., 2])
        return self.centre + seen[..., :2] * [1, -1] * scale[..., None], scale

    def floor(self, size: tuple[int, int]) -> np.ndarray:
        """Distance (height, width) on the floor from the followed point to what each pixel shows, in metres; sky: infinite."""
        width, height = size
        x, y = np.meshgrid(np.arange(width) - self.centre[0], self.centre[1] - np.arange(height))
        rays = np.stack((x, y, np.full_like(x, -self.focal)), axis=-1) @ self.axes
        eye = self.axes[2] * self.distance + [0, self.height, 0]
        down = np.minimum(rays[..., 1], -1e-9)
        hit = eye + rays * (-eye[1] / down)[..., None]
        return np.where(rays[..., 1] < 0, np.hypot(hit[..., 0], hit[..., 2]), np.inf)


class Scene:
    """A motion ready to be drawn: joints (T, J, 3) at `fps`, in pictures of `size` (width, height), clear of the first `top` rows.

    `background` (height, width, 3) may be written on. Raises `UserError` for joints that are not finite or of an unknown skeleton.
    """

    def __init__(self, joints: np.ndarray, fps: float, size: tuple[int, int] = (720, 720), top: int = 0):
        check_joints(joints)
        self.size = size
        skeleton = skeleton_for(joints.shape[1])
        self.ends, self.radii, self.colours = limbs(skeleton)
        points = with_tips(np.asarray(joints, np.float64), skeleton)
        self.path = points[:, 0] * [1, 0, 1]  # (T, 3), on the floor below the root
        self.followed = smooth(self.path, FOLLOW * fps)
        self.points = points - self.followed[:, None]  # (T, J + tips, 3)
        self.camera = Camera.fitting(self.points, size, top)
        self.stage = 0.8 * self.camera.distance  # radius of the floor, metres
        away = self.camera.floor(size) / self.stage
        shown = (1 - away.clip(0, 1) ** 2) ** 1.5  # fades out towards the rim
        self.shown = np.uint8(255 * shown)
        self.background = np.uint8(SKY + (np.array(GROUND, float) - SKY) * shown[..., None])

    def draw(self, frame: int) -> np.ndarray:
        """The picture (height, width, 3) of one frame."""
        dark = cv2.max(self.grid(frame), self.shadow(frame))
        picture = cv2.subtract(self.background, cv2.merge([dark] * 3))
        self.draw_path(picture, frame)
        self.draw_body(picture, frame)
        return picture

    def grid(self, frame: int) -> np.ndarray:
        """Lines half a metre apart on the floor, as darkness (height, width)."""
        x, _, z = self.followed[frame]
        lines = []
        for axis, start in ((0, x), (2, z)):
            across = np.arange(np.ceil(2 * (start - self.stage)), np.floor(2 * (start + self.stage)) + 1) / 2 - start
            reach = np.sqrt((self.stage**2 - across**2).clip(min=0))
            line = np.zeros((len(across), 2, 3))
            line[:, :, axis] = across[:, None]
            line[:, :, 2 - axis] = np.stack((-reach, reach), axis=1)
            lines.append(line)
        pixels = fixed(self.camera.project(np.concatenate(lines))[0])
        dark = np.zeros(self.shown.shape, np.uint8)
        cv2.polylines(dark, list(pixels), False, 30, 1, cv2.LINE_AA, SUBPIXEL)
        return cv2.multiply(dark, self.shown, scale=1 / 255)

    def shadow(self, frame: int) -> np.ndarray:
        """The body's shadow on the floor, darker the nearer the limb, as darkness (height, width); drawn small, then blurred."""
        points = self.points[frame]
        flat = (points + points[:, 1:2] * [-0.25, 0, -0.20]) * [1, 0, 1]
        pixels, scale = self.camera.project(flat)
        heights = points[self.ends, 1].mean(-1)  # (N,)
        outlines = fixed(capsules(pixels[self.ends] / 4, self.radii * scale[self.ends] / 4))
        small = np.zeros((self.size[1] // 4, self.size[0] // 4), np.uint8)
        for limb in np.argsort(-heights):
            cv2.fillConvexPoly(small, outlines[limb], 25 + 75 * float(np.exp(-3 * max(heights[limb], 0))), cv2.LINE_AA, SUBPIXEL)
        return cv2.resize(cv2.GaussianBlur(small, (0, 0), 2.0), self.size, interpolation=cv2.INTER_LINEAR)

    def draw_path(self, picture: np.ndarray, frame: int) -> None:
        """The way of the root so far, on the floor."""
        path = self.path[: frame + 1] - self.followed[frame]
        near = np.linalg.norm(path, axis=-1) < self.stage
        start = frame - np.argmin(near[::-1]) + 1 if not near.all() else 0  # since it last came onto the stage
        pixels = fixed(self.camera.project(path[start:])[0])
        cv2.polylines(picture, [pixels], False, PATH, 3, cv2.LINE_AA, SUBPIXEL)

    def draw_body(self, picture: np.ndarray, frame: int) -> None:
        """The limbs, far ones first, each as layers that look like a lit cylinder."""
        pixels, scale = self.camera.project(self.points[frame])
        ends, radii = pixels[self.ends], self.radii * scale[self.ends]  # (N, 2, 2), (N, 2)
        share, more, shift, bright = (np.array(column) for column in zip(*LAYERS))
        to_light = radii[:, None, :, None] * shift[:, None, None] * [-0.6, -0.8]  # (N, layers, 2, 2)
        outlines = fixed(capsules(ends[:, None] + to_light, radii[:, None] * share[:, None] + more[:, None]))
        colours = (self.colours[:, None] * bright[:, None]).clip(0, 255)  # (N, layers, 3)
        for limb in np.argsort(scale[self.ends].mean(-1)):
            for outline, colour in zip(outlines[limb], colours[limb].tolist()):
                cv2.fillConvexPoly(picture, outline, colour, cv2.LINE_AA, SUBPIXEL)


def fixed(pixels: np.ndarray) -> np.ndarray:
    """Pixels as OpenCV's fixed-point numbers."""
    return np.round(pixels * 2**SUBPIXEL).astype(np.int32)


def smooth(path: np.ndarray, frames: float) -> np.ndarray:
    """A path (T, 3) smoothed along time by a Gaussian of `frames` standard deviation; a steady walk stays as it is, to its ends."""
    reach = int(3 * frames) + 1
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / frames) ** 2)
    padded = np.pad(path, ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    return np.stack([np.convolve(column, taps / taps.sum(), mode="valid") for column in padded.T], axis=1)
