"""A timeline on which visitors select a section of a motion, by dragging or with the keyboard (`timeline.js`, `timeline.css`).

The JavaScript code is constant, and its only input is four numbers. A visitor can therefore not inject text into the code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from motion.clip import Motion

DEFAULT_FRAMES, DEFAULT_FPS = 60, 20.0  # shown while no motion is selected
HANDLE = '<div class="handle" data-end="{0}" role="slider" tabindex="0" aria-label="{1} frame of the section"></div>'
MARKUP = (
    '<p class="title">Section to regenerate: drag it or its ends</p><div class="strip"><div class="ticks" aria-hidden="true"></div>'
    f'<div class="band"></div>{HANDLE.format(0, "first")}{HANDLE.format(1, "last")}</div><output class="words"></output>'
)


def timeline(**options: Any) -> gr.HTML:
    """Create the timeline; `options` are passed to `gr.HTML`.

    The value of the timeline is a list with the items that `middle_section` returns. The event `input` of the timeline fires while
    a visitor drags the section or one of its ends.
    """
    script, style = ((Path(__file__).parent / f"timeline.{suffix}").read_text(encoding="utf-8") for suffix in ("js", "css"))
    return gr.HTML(middle_section(None), html_template=MARKUP, css_template=style, js_on_load=script, **options)


def middle_section(motion: Motion | None) -> list[float]:
    """The middle third of a motion as [first frame, end frame (exclusive), frames of the motion, frames per second]."""
    frames, fps = (len(motion), motion.fps) if motion else (DEFAULT_FRAMES, DEFAULT_FPS)
    return [frames // 3, 2 * frames // 3, frames, float(fps)]
