"""A strip on which a stretch of a motion is chosen by dragging or with the keys; its script and style lie beside this file.

The script is fixed and sees four numbers, nothing that a visitor writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from motion.clip import Motion

FRAMES, FPS = 60, 20.0  # of the strip before there is a motion
HANDLE = '<div class="handle" data-end="{0}" role="slider" tabindex="0" aria-label="{1} frame of the stretch"></div>'
MARKUP = (
    '<p class="title">Stretch to change: drag it, or its ends</p><div class="strip"><div class="ticks" aria-hidden="true"></div>'
    f'<div class="band"></div>{HANDLE.format(0, "first")}{HANDLE.format(1, "last")}</div><output class="words"></output>'
)


def timeline(**more: Any) -> gr.HTML:
    """The strip. Its value is what `stretch` gives; `input` fires while a visitor drags."""
    script, style = ((Path(__file__).parent / f"timeline.{suffix}").read_text(encoding="utf-8") for suffix in ("js", "css"))
    return gr.HTML(stretch(None), html_template=MARKUP, css_template=style, js_on_load=script, **more)


def stretch(motion: Motion | None) -> list[float]:
    """The middle third of a motion: its first frame, its end, the motion's frames, and frames per second."""
    frames, fps = (len(motion), motion.fps) if motion else (FRAMES, FPS)
    return [frames // 3, 2 * frames // 3, frames, float(fps)]
