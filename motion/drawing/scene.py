"""Pictures of a person on a floor: a camera that follows the person, a grid, a shadow, footprints, the path, and coloured limbs.

Shapes are drawn with OpenCV. For 196 frames, OpenCV takes 1.1 s of CPU time, and skia-python takes 3.0 s. OpenCV needs no system
libraries, whereas skia-python needs libGL and libEGL. Unlike Pillow, OpenCV draws anti-aliased shapes without supersampling, and
releases Python's global interpreter lock, so drawing and encoding run in parallel.

Input: joints (T, J, 3), metres, Y up, floor at 0. Output: RGB pictures (height, width, 3) uint8, `scene.draw(frame)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from motion.drawing.body import LEFT, RIGHT, body_points, limbs, standing_feet
from motion.features import skeleton_for
from motion.files.animation import smoothed
from motion.footlock import spans
from motion.ik import check_joints
from motion.skeleton import Skeleton

SKY, GROUND, PATH, PATH_AHEAD = (247, 248, 250), (232, 235, 240), (120, 196, 160), (186, 216, 204)
SOLE = np.array([0.040, 0.052])  # radii of a footprint at heel and toe, metres
AZIMUTH, ELEVATION, FIELD = np.deg2rad([28.0, 14.0, 32.0])  # camera: angle from +Z to +X, elevation, vertical field of view
NEAREST = 4.1  # metres; minimum distance of the camera from the person
FOLLOW = 0.6  # seconds; standard deviation of the Gaussian that smooths the camera's path
SMALL = 4  # shadows are drawn at a resolution lower by this factor
SUBPIXEL = 4  # fractional bits of OpenCV's fixed-point coordinates

# A limb is painted in layers, widest first: (fraction of the radius, pixels added, shift towards the light, brightness).
LAYERS = ((1.0, 1.2, 0.0, 0.52), (1.0, 0.0, 0.0, 0.80), (0.82, 0.0, 0.09, 0.92), (0.58, 0.0, 0.22, 1.05), (0.28, 0.0, 0.36, 1.17))


def capsules(ends: np.ndarray, radii: np.ndarray, corners: int = 14) -> np.ndarray:
    """Outlines (..., 2 * corners, 2) of flat capsules: hulls of two discs with centres `ends` (..., 2, 2) and radii (..., 2)."""
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
    """A perspective camera that follows a point on the floor from a fixed direction and distance.

    The camera looks at a target `height` metres above the followed point. The target is always at the pixel `centre` (2,) of the
    picture. The rows of `axes` (3, 3) are the right, up and back directions of the camera; `focal` is its focal length in pixels.
    """

    axes: np.ndarray
    distance: float
    focal: float
    centre: np.ndarray
    height: float

    @classmethod
    def fitting(cls, points: np.ndarray, size: tuple[int, int], top: int) -> Camera:
        """The camera that shows all `points` (..., 3), relative to the point it follows, in a picture of `size` (width, height)
        pixels, below the first `top` rows."""
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
        """Pixel coordinates (..., 2), and pixels per metre (...), of points (..., 3) relative to the point the camera follows."""
        seen = (points - [0, self.height, 0]) @ self.axes.T
        scale = self.focal / (self.distance - seen[..., 2])
        return self.centre + seen[..., :2] * [1, -1] * scale[..., None], scale

    def floor(self, size: tuple[int, int]) -> np.ndarray:
        """Distance (height, width), in metres, of the floor seen at each pixel from the point that the camera follows; infinite
        for the sky. `size` is (width, height)."""
        width, height = size
        x, y = np.meshgrid(np.arange(width) - self.centre[0], self.centre[1] - np.arange(height))
        rays = np.stack((x, y, np.full_like(x, -self.focal)), axis=-1) @ self.axes
        eye = self.axes[2] * self.distance + [0, self.height, 0]
        down = np.minimum(rays[..., 1], -1e-9)
        hit = eye + rays * (-eye[1] / down)[..., None]
        return np.where(rays[..., 1] < 0, np.hypot(hit[..., 0], hit[..., 2]), np.inf)


class Scene:
    """A motion prepared for drawing: joints (T, J, 3) at `fps`, in pictures of `size` (width, height).

    The first `top` rows stay free for a caption. Callers may draw on `background` (height, width, 3). Raises `UserError` if joints
    are not finite, or if their number is not 22 or 21.
    """

    def __init__(self, joints: np.ndarray, fps: float, size: tuple[int, int] = (720, 720), top: int = 0):
        check_joints(joints)
        self.size = size
        skeleton = skeleton_for(joints.shape[1])
        body = limbs(skeleton)
        self.ends, self.radii, self.colours = body.ends, body.radii, body.colours
        self.trunk, self.outer = np.flatnonzero(body.trunk), np.flatnonzero(~body.trunk)
        points = body_points(np.asarray(joints, np.float64), skeleton)
        self.path = points[:, 0] * [1, 0, 1]  # (T, 3), on the floor below the root
        self.followed = smoothed(self.path, FOLLOW * fps)
        self.points = points - self.followed[:, None]  # (T, P, 3)
        self.prints = footprints(points, fps, skeleton)
        self.camera = Camera.fitting(self.points, size, top)
        self.stage = 0.8 * self.camera.distance  # radius of the floor, metres
        distance = self.camera.floor(size) / self.stage
        opacity = (1 - distance.clip(0, 1) ** 2) ** 1.5  # fades out towards the rim
        self.horizon = int((opacity.max(axis=1) > 0).argmax()) // SMALL * SMALL  # first row that shows the floor
        self.opacity = np.uint8(255 * opacity[self.horizon :])
        self.background = np.uint8(SKY + (np.array(GROUND, float) - SKY) * opacity[..., None])

    def draw(self, frame: int) -> np.ndarray:
        """The picture (height, width, 3) of one frame."""
        picture = self.background.copy()
        self.draw_path(picture, frame)
        self.draw_footprints(picture, frame)
        floor, dark = picture[self.horizon :], cv2.max(self.grid(frame), self.shadow(frame))
        cv2.subtract(floor, cv2.merge([dark] * 3), dst=floor)
        self.draw_body(picture, frame)
        return picture

    def grid(self, frame: int) -> np.ndarray:
        """Darkness (rows, width) of the grid on the floor, for the picture rows below the horizon. The lines are half a metre
        apart."""
        x, _, z = self.followed[frame]
        lines = []
        for axis, start in ((0, x), (2, z)):
            across = np.arange(np.ceil(2 * (start - self.stage)), np.floor(2 * (start + self.stage)) + 1) / 2 - start
            reach = np.sqrt((self.stage**2 - across**2).clip(min=0))
            line = np.zeros((len(across), 2, 3))
            line[:, :, axis] = across[:, None]
            line[:, :, 2 - axis] = np.stack((-reach, reach), axis=1)
            lines.append(line)
        pixels = fixed(self.camera.project(np.concatenate(lines))[0] - [0, self.horizon])
        dark = np.zeros(self.opacity.shape, np.uint8)
        cv2.polylines(dark, list(pixels), False, 30, 1, cv2.LINE_AA, SUBPIXEL)
        return cv2.multiply(dark, self.opacity, scale=1 / 255)

    def shadow(self, frame: int) -> np.ndarray:
        """Darkness (rows, width) of the body's shadow, for the picture rows below the horizon. Limbs near the floor cast darker
        shadows."""
        points = self.points[frame]
        flat = (points + points[:, 1:2] * [-0.25, 0, -0.20]) * [1, 0, 1]
        pixels, scale = self.camera.project(flat)
        pixels = pixels - [0, self.horizon]
        heights = points[self.ends, 1].mean(-1)  # (N,)
        outlines = fixed(capsules(pixels[self.ends] / SMALL, self.radii * scale[self.ends] / SMALL))
        rows, width = self.opacity.shape
        small = np.zeros((-(-rows // SMALL), -(-width // SMALL)), np.uint8)
        for limb in np.argsort(-heights):
            cv2.fillConvexPoly(small, outlines[limb], 25 + 75 * float(np.exp(-3 * max(heights[limb], 0))), cv2.LINE_AA, SUBPIXEL)
        return cv2.resize(cv2.GaussianBlur(small, (0, 0), 2.0), (width, rows), interpolation=cv2.INTER_LINEAR)

    def draw_path(self, picture: np.ndarray, frame: int) -> None:
        """Draw the path of the root on the floor: wide up to `frame`, thin after it."""
        path = self.path - self.followed[frame]
        near = np.linalg.norm(path, axis=-1) < self.stage
        # Draw only the part around `frame` that stays within the visible floor.
        first = frame - near[frame::-1].argmin() + 1 if not near[: frame + 1].all() else 0
        last = frame + near[frame:].argmin() if not near[frame:].all() else len(path)
        pixels = fixed(self.camera.project(path[first:last])[0])
        cv2.polylines(picture, [pixels], False, PATH_AHEAD, 1, cv2.LINE_AA, SUBPIXEL)
        cv2.polylines(picture, [pixels[: frame + 1 - first]], False, PATH, 3, cv2.LINE_AA, SUBPIXEL)

    def draw_footprints(self, picture: np.ndarray, frame: int) -> None:
        """Draw a footprint wherever a foot has stood up to `frame`, in lighter versions of the colours of left and right."""
        starts, outlines, colours = self.prints
        outlines = outlines - self.followed[frame]  # (P, 28, 3)
        seen = (starts <= frame) & (np.linalg.norm(outlines, axis=-1).max(axis=-1) < self.stage)
        for outline, colour in zip(fixed(self.camera.project(outlines[seen])[0]), colours[seen].tolist()):
            cv2.fillConvexPoly(picture, outline, colour, cv2.LINE_AA, SUBPIXEL)

    def draw_body(self, picture: np.ndarray, frame: int) -> None:
        """Draw the limbs, starting with the farthest. Each limb is painted in layers, so that it looks like a lit cylinder."""
        pixels, scale = self.camera.project(self.points[frame])
        ends, radii = pixels[self.ends], self.radii * scale[self.ends]  # (N, 2, 2), (N, 2)
        fraction, extra, shift, brightness = (np.array(column) for column in zip(*LAYERS))
        to_light = radii[:, None, :, None] * shift[:, None, None] * [-0.6, -0.8]  # (N, layers, 2, 2)
        outlines = fixed(capsules(ends[:, None] + to_light, radii[:, None] * fraction[:, None] + extra[:, None]))
        colours = (self.colours[:, None] * brightness[:, None]).clip(0, 255).tolist()  # (N, layers, 3)
        for part in self.far_to_near(ends.mean(axis=1), scale[self.ends].mean(axis=1)):
            for layer in range(len(LAYERS)):
                for limb in part:
                    cv2.fillConvexPoly(picture, outlines[limb, layer], colours[limb][layer], cv2.LINE_AA, SUBPIXEL)

    def far_to_near(self, middles: np.ndarray, nearness: np.ndarray) -> list[np.ndarray]:
        """Groups of limbs in the order in which to paint them, by their midpoints (N, 2) in pixels and nearness to the camera (N,).

        The trunk is one group. Each limb outside the trunk is compared with the trunk's limb that is nearest to it in the picture.
        If the limb is farther from the camera than the trunk's limb, the limb is painted before the trunk, otherwise after it.
        """
        apart = np.linalg.norm(middles[self.outer, None] - middles[self.trunk], axis=-1)
        in_front = nearness[self.outer] > nearness[self.trunk[apart.argmin(axis=1)]]
        behind, front = (limbs[np.argsort(nearness[limbs])] for limbs in (self.outer[~in_front], self.outer[in_front]))
        return [*behind[:, None], self.trunk, *front[:, None]]


def footprints(points: np.ndarray, fps: float, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find where feet stand in `points`, the joints or body points over T frames, and return one footprint for each such place.

    Footprints are the first frames (P,) of standing, outlines (P, 28, 3) of the soles on the floor, and colours (P, 3).
    """
    starts, soles, colours = [], [], []
    stands = standing_feet(points, fps, skeleton)  # (T, 2)
    for foot, colour, flags in zip(np.reshape(skeleton.feet, (2, 2)), (LEFT, RIGHT), stands.T):
        for start, stop in spans(flags):
            starts.append(start)
            soles.append(points[start:stop, foot].mean(axis=0)[:, ::2])  # ankle and toe, seen from above
            colours.append(0.4 * np.array(colour) + 0.6 * np.array(GROUND))
    outlines = capsules(np.reshape(soles, (-1, 2, 2)), np.tile(SOLE, (len(soles), 1)))
    return np.array(starts), np.insert(outlines, 1, 0.0, axis=-1), np.reshape(colours, (-1, 3))


def fixed(pixels: np.ndarray) -> np.ndarray:
    """Pixel coordinates as OpenCV's fixed-point integers."""
    return np.round(pixels * 2**SUBPIXEL).astype(np.int32)
