"""A page that shows motions in 3D: one .html file that any browser can open, and that needs no network.

The markup, style and scripts of the page are in viewer/. Joints are stored as 16-bit integers with one scale per motion. If the
path of a motion reaches 10 m from the origin, the joints of this motion are stored in steps of 0.3 mm. The additional points of the
body are stored as 8-bit integers. A motion of 196 frames adds 58 kB to the file.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from itertools import zip_longest
from pathlib import Path

import numpy as np

from motion.clip import Motion
from motion.drawing.body import body_points, extra_points, limbs, standing_feet
from motion.footlock import spans
from motion.ik import check_joints
from motion.skeleton import Skeleton
from utils.checkpoint import atomic_path

VIEWER = Path(__file__).parent / "viewer"
LARGEST = np.iinfo(np.int16).max
REACH = 0.25  # metres; maximum distance of an additional point from its joint


def write_html(path: str | Path, motions: Sequence[Motion], title: str = "", files: Sequence[Sequence[str]] = ()) -> None:
    """Write an HTML page with a 3D viewer that shows all motions.

    If `Motion.locked` is given, the page first shows `Motion.locked`, and users can switch to `Motion.joints`.

    `title` defaults to the text of the first motion; `files` lists, for each motion, the files to link to, relative to the page.
    Raises `UserError` if joints are not finite, if their number is not 22 or 21, or if the file cannot be written.
    """
    text = page(motions, title, files)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


def page(motions: Sequence[Motion], title: str = "", files: Sequence[Sequence[str]] = ()) -> str:
    """The page that `write_html` writes, as a string."""
    skeletons = {motion.joints.shape[1]: motion.skeleton for motion in motions}
    data = {
        "skeletons": {count: skeleton_data(skeleton) for count, skeleton in skeletons.items()},
        "clips": [motion_data(motion) | {"files": list(linked)} for motion, linked in zip_longest(motions, files, fillvalue=())],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")  # a caption may contain "</script>"
    result = read("viewer.html").replace("<title>motions</title>", f"<title>{escape(title or motions[0].text)}</title>")
    result = re.sub('<link rel="stylesheet" href="(.+?)">', lambda link: f"<style>\n{read(link[1])}</style>", result)
    result = re.sub('<script src="(.+?)"></script>', lambda script: f"<script>\n{read(script[1])}</script>", result)
    return result.replace('type="application/json">{}<', f'type="application/json">{text}<')


def read(name: str) -> str:
    """The text of the file `name` in viewer/, the folder with the markup, style and scripts of the page."""
    return (VIEWER / name).read_text(encoding="utf-8")


def skeleton_data(skeleton: Skeleton) -> dict:
    """A skeleton as data for the page's script: limbs, joints of the feet, joint names, and the owners of the additional points.

    Additional points, such as the palm of a hand, are points of the drawn body that are not joints (`extra_points`). The owner of
    such a point is the joint to whose bone the point belongs.
    """
    body = limbs(skeleton)
    rows = zip(body.ends.tolist(), body.radii.tolist(), body.parts, body.trunk.tolist())
    return {
        "limbs": [[*ends, *radii, part, trunk] for ends, radii, part, trunk in rows],
        "owners": [joint for joint, _ in extra_points(skeleton).values()],
        "reach": REACH,
        "feet": np.reshape(skeleton.feet, (2, 2)).tolist(),
        "bones": skeleton.bones,
    }


def motion_data(motion: Motion) -> dict:
    """A motion as data for the page's script. "stands" lists the spans of frames in which each foot stands, left foot first."""
    plain, ik = (None if joints is None else pack(joints, motion.skeleton) for joints in (motion.joints, motion.locked))
    frames, count, _ = motion.joints.shape
    stands = standing_feet(motion.joints, motion.fps, motion.skeleton, motion.contacts)  # (T, 2)
    header = {"caption": motion.text, "fps": motion.fps, "frames": frames, "joints": count}
    return header | {"plain": plain, "ik": ik, "stands": [spans(foot).tolist() for foot in stands.T]}


def pack(joints: np.ndarray, skeleton: Skeleton) -> dict:
    """The points of the drawn body for joints (T, J, 3), as base64 of little-endian integers.

    "values" contains the joints in 16 bits, in units of "scale" metres. "others" contains the points of the body that are not
    joints, relative to their joints, in 8 bits, in units of `REACH` / 127, about 2 mm.
    """
    check_joints(joints)
    points = body_points(np.asarray(joints, np.float64), skeleton)
    scale = max(float(np.abs(joints).max()), 1e-6) / LARGEST
    owners = [joint for joint, _ in extra_points(skeleton).values()]
    offsets = (points[:, skeleton.num_joints :] - points[:, owners]) * 127 / REACH
    packed = {"values": np.round(joints / scale).astype("<i2"), "others": np.round(offsets).clip(-127, 127).astype("i1")}
    return {"scale": scale} | {name: b64encode(part.tobytes()).decode() for name, part in packed.items()}
