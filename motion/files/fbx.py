"""Writing of .fbx files: Blender converts an animated .glb in a separate process.

The environment variable LAMP_BLENDER is the path of the program `blender`, or of a Python 3.11 that has Blender's module (`pip
install bpy==5.0.1`, preferably in a separate virtual environment). If the variable is not set, `blender` on the PATH is used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from motion.files.animation import DEFAULT_RIG, RigOptions
from motion.files.gltf import write_glb
from utils.checkpoint import atomic_path
from utils.errors import UserError

SCRIPT = Path(__file__).parents[2] / "assets" / "fbx_blender.py"
VARIABLE = "LAMP_BLENDER"
TIMEOUT = 600  # seconds
REMEDY = (
    f"install Blender, or its module (pip install bpy==5.0.1, in a virtual environment of Python 3.11), and set {VARIABLE} to the "
    "program `blender` or to that environment's Python"
)


def write_fbx(path: str | Path, joints: np.ndarray, caption: str = "", fps: float = 20, rig: RigOptions = DEFAULT_RIG) -> None:
    """Write joints (T, J, 3), metres, Y up, as an animated .fbx. Raises `UserError` if Blender is missing or fails."""
    command = blender()
    with TemporaryDirectory() as folder:
        glb, fbx = Path(folder) / "motion.glb", Path(folder) / "motion.fbx"
        write_glb(glb, joints, caption, fps, rig)
        try:
            process = subprocess.run([*command, str(glb), str(fbx)], capture_output=True, text=True, timeout=TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"{path}: .fbx files are written by Blender, which did not run ({error}); {REMEDY}") from None
        if not fbx.is_file():
            messages = (process.stderr or process.stdout).strip().splitlines() or ["no message"]
            raise UserError(f"{path}: Blender ({command[0]}) wrote no .fbx ({messages[-1]}); {REMEDY}")
        with atomic_path(path) as temporary:
            shutil.copyfile(fbx, temporary)


def blender() -> list[str]:
    """The command that runs a script in Blender. Raises `UserError` if Blender is missing."""
    program = os.environ.get(VARIABLE) or shutil.which("blender")
    if not program:
        raise UserError(f".fbx files are written by Blender, which was not found; {REMEDY}")
    if "blender" in Path(program).name.lower():
        return [program, "--background", "--python-exit-code", "1", "--python", str(SCRIPT), "--"]
    return [program, str(SCRIPT)]
