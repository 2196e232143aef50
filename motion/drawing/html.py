"""A page to look at motions: one file for any browser, without a network; viewer/ holds its markup, style and script.

In: motions. Out: .html; it holds the joints as 16-bit integers, whose unit is chosen
for each motion, so that 10 m of way are kept to 0.2 mm, and 196 frames take 35 kB.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from motion.clip import Motion
from motion.drawing.body import TIPS, TRUNK, limbs, sideless, standing_feet
from motion.ik import check_joints, children_of
from motion.skeleton import Skeleton
from utils.checkpoint import atomic_path

VIEWER = Path(__file__).parent / "viewer"
LARGEST = np.iinfo(np.int16).max


def write_html(path: str | Path, motions: Sequence[Motion], title: str = "") -> None:
    """Write one page with all motions, foot-locked ones beside the plain; the default title is the first text.

    Raises `UserError` for joints that are not finite or of an unknown skeleton, and where nothing can be written.
    """
    skeletons = {motion.joints.shape[1]: motion.skeleton for motion in motions}
    data = {
        "skeletons": {count: skeleton_data(skeleton) for count, skeleton in skeletons.items()},
        "clips": [motion_data(motion) for motion in motions],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")  # no </script> can end it
    page = read("viewer.html").replace("<title>motions</title>", f"<title>{escape(title or motions[0].text)}</title>")
    page = re.sub('<link rel="stylesheet" href="(.+?)">', lambda link: f"<style>\n{read(link[1])}</style>", page)
    page = re.sub('<script src="(.+?)"></script>', lambda script: f"<script>\n{read(script[1])}</script>", page)
    page = page.replace('type="application/json">{}<', f'type="application/json">{text}<')
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def read(name: str) -> str:
    return (VIEWER / name).read_text(encoding="utf-8")


def skeleton_data(skeleton: Skeleton) -> dict:
    """The body as the script draws it: limbs, tips (leaf, parent, metres), ankle and toe of both feet, names of the joints."""
    sides = [bone.startswith("Left") - bone.startswith("Right") for bone in skeleton.bones]
    names = {0: "middle", 1: "left", -1: "right"}
    leaves = [joint for joint, children in enumerate(children_of(skeleton)) if not children]
    return {
        "limbs": [
            [*ends, *radii, names[sides[ends[0]]], sideless(skeleton.bones[ends[0]]) in TRUNK]
            for ends, radii in zip(*(part.tolist() for part in limbs(skeleton)[:2]))
        ],
        "tips": [[leaf, skeleton.parents[leaf], TIPS[sideless(skeleton.bones[leaf])][0]] for leaf in leaves],
        "feet": np.reshape(skeleton.feet, (2, 2)).tolist(),
        "bones": skeleton.bones,
    }


def motion_data(motion: Motion) -> dict:
    """A motion as the script reads it; `stands` are the stretches of frames, from and to, that left and right foot stand."""
    plain, ik = pack(motion.joints), None if motion.locked is None else pack(motion.locked)
    frames, count, _ = motion.joints.shape
    stands = standing_feet(motion.joints, motion.fps, motion.skeleton, motion.contacts)  # (T, 2)
    stretches = [np.flatnonzero(np.diff(foot, prepend=False, append=False)).reshape(-1, 2).tolist() for foot in stands.T]
    about = {"caption": motion.text, "fps": motion.fps, "frames": frames, "joints": count}
    return about | {"plain": plain, "ik": ik, "stands": stretches}


def pack(joints: np.ndarray) -> dict:
    """Joints (T, J, 3) as base64 of little-endian 16-bit integers, and the metres that one counts."""
    check_joints(joints)
    scale = max(float(np.abs(joints).max()), 1e-6) / LARGEST
    return {"scale": scale, "values": b64encode(np.round(joints / scale).astype("<i2").tobytes()).decode()}
