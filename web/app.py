"""The studio's page: Gradio components around `pipelines.api.Lamp`.

Input of visitors never becomes HTML: texts are shown in text boxes and tables, motions in the viewer's sandboxed frame.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from data.prompts import LONGEST, MAX_LETTERS
from motion.clip import Motion, framed
from pipelines.api import Lamp
from pipelines.arguments import strings
from pipelines.outputs import Sample
from utils.errors import UserError
from web.session import FORMATS, Action, Session, packed
from web.timeline import stretch, timeline

UPLOADS = [".npy", ".npz", ".bvh", ".glb"]
SAMPLES = 4  # at most, side by side
TOP = 3  # similar motions
HEIGHT = 460  # pixels of a viewer
CONCURRENT = {"concurrency_id": "models", "concurrency_limit": 1}
STYLE = """
.viewers {display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); gap: 8px}
.viewers p {opacity: 0.7; text-align: center}
"""
# What a visitor types, as the strip can show it: a first frame before the last. The outer list holds the one output.
MOVED = """(start, end, [, , frames, fps]) => {
  const first = Math.min(Math.max(start ?? 0, 0), frames - 1);
  return [[first, Math.min(Math.max(end ?? 0, first + 1), frames), frames, fps]];
}"""
EMPTY = '<div class="viewers"><p>Describe a motion and press Generate.</p></div>'


def reported(function: Callable) -> Callable:
    """Wrap a function so that its `UserError`s are shown on the page; other exceptions show one generic message."""

    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except UserError as error:
            raise gr.Error(escape(str(error)), print_exception=False) from None

    return wrapped


class Studio:
    """The functions behind the page. `session` is the visitor's session, `number` the selected motion's number."""

    def __init__(self, lamp: Lamp, library: str = ""):
        self.lamp, self.library = lamp, library

    @reported
    def generate(
        self, prompt: str, frames: float, seed: float, guidance: float, samples: float, loop: bool, session: Session
    ) -> tuple:
        """Motions of a prompt: viewers, a note, the motions to choose from, the session."""
        if not 1 <= samples <= SAMPLES:
            raise UserError(f"samples: {samples}; choose from 1 to {SAMPLES}")
        settings = {"seed": int(seed), "cond_scale": guidance or None, "res_cond_scale": guidance or None}
        (prompt,), _ = strings(prompt, "prompt")
        known = self.lamp.known(prompt)
        facts = asdict(known) if known else None
        drawn = self.lamp.samples([prompt], int(frames) or None, int(samples), False, loop, **settings)
        details = {"prompt": prompt, "frames": int(frames), "samples": int(samples), "loop": loop, "guidance": guidance}
        made = [numbered(sample, number, facts) for number, sample in enumerate(drawn)]
        note = known.note if known else ""
        return (note, *self.shown(session.added(made, Action("generate", int(seed), details))))

    @reported
    def edit(
        self, number: int, prompt: str, start: float, end: float, after: float, loop: bool, seed: float, session: Session
    ) -> tuple:
        """The selected motion with a stretch changed, continued by `after` frames, or as a loop."""
        entry = session.entry(number)
        frames = None if after or loop else (int(start), int(end))
        known = self.lamp.known(prompt) if prompt.strip() else None
        drawn = self.lamp.edits(entry.motion, prompt.strip(), frames, 0, int(after), loop, None, seed=int(seed))
        details = {"of": entry.motion.text, "prompt": prompt, "frames": frames, "after": int(after), "loop": loop}
        made = [numbered(sample, 0, asdict(known) if known else None) for sample in drawn]
        return (known.note if known else "", *self.shown(session.added(made, Action("edit", int(seed), details))))

    @reported
    def upload(self, path: str | None, session: Session) -> tuple:
        """A motion file as an entry of the session."""
        if path is None:
            raise UserError(f"no file; give one of {', '.join(UPLOADS)}")
        if Path(path).suffix.lower() not in UPLOADS:
            raise UserError(f"{Path(path).name}: not a motion file; give one of {', '.join(UPLOADS)}")
        try:
            loaded = Motion.load(path)
        except UserError as error:  # without the folder of the server
            raise UserError(str(error).replace(str(Path(path).parent) + "/", "")) from None
        if not 1 < len(loaded) <= LONGEST:
            raise UserError(f"{Path(path).name}: {len(loaded)} frames; from 2 to {LONGEST} can be shown")
        motion = Motion(loaded.joints, loaded.fps, Path(path).name)
        added = session.added([Sample(motion)], Action("upload", 0, {"file": Path(path).name}))
        return ("", *self.shown(added))

    @reported
    def caption(self, number: int, session: Session) -> list[list[str]]:
        """Captions of the selected motion: seconds and text."""
        windows = self.lamp.captions(session.entry(number).motion)
        return [[f"{window.start:.1f}–{window.end:.1f}", window.captions[0][0]] for window in windows]

    @reported
    def similar(self, number: int, query: str, session: Session) -> tuple[list[list[str]], str]:
        """Motions that fit the query, or without one that are similar to the selected motion: a table, and viewers."""
        wanted = query.strip() or session.entry(number).motion
        with tempfile.TemporaryDirectory() as folder:
            others = [entry for entry in session.entries if query.strip() or entry.number != number]
            if not self.library:
                if not others:
                    raise UserError("nothing to search yet; make more motions, or start with --library FOLDER")
                for entry in others:
                    entry.motion.save(Path(folder) / f"{entry.number:03}.npy")
            hits = self.lamp.search(wanted, self.library or folder, top=TOP)
            titles = {f"{entry.number:03}.npy": entry.title for entry in others}
            names = [hit.file.name if self.library else titles[hit.file.name] for hit in hits]
            motions = [hit.motion() for hit in hits]
        rows = [[name, f"{hit.score:.3f}"] for name, hit in zip(names, hits)]
        return rows, viewers([Motion(motion.joints, motion.fps, name) for motion, name in zip(motions, names)])

    @reported
    def download(self, number: int, formats: list[str], session: Session) -> str:
        """The selected motion's files and their record, as a .zip."""
        return packed(self.lamp, session.entry(number), formats)

    @reported
    def undo(self, session: Session) -> tuple:
        """Undo the last step; returns the new state of the page."""
        return ("", *self.shown(session.undo()))

    @reported
    def redo(self, session: Session) -> tuple:
        """Redo the step that was undone last; returns the new state of the page."""
        return ("", *self.shown(session.redo()))

    @reported
    def select(self, number: int | None, session: Session) -> tuple:
        """The viewer of the motion, and its middle as the stretch to change."""
        entry = session.entry(number)
        return viewers([entry.motion]), *middle(entry.motion)

    def shown(self, session: Session) -> tuple:
        """What changes with the session: viewers, motions to choose from, the stretch to change, session."""
        if not session.steps:
            return EMPTY, gr.Dropdown(choices=[], value=None), *middle(None), session
        last = session.steps[-1]
        choices = [(entry.title, entry.number) for entry in reversed(session.entries)]
        chosen = gr.Dropdown(choices=choices, value=last[0].number)
        return viewers([entry.motion for entry in last]), chosen, *middle(last[0].motion), session


def numbered(sample: Sample, number: int, known: dict | None) -> Sample:
    """A sample under the number by which the session lists it."""
    return Sample(sample.motion, 0, number, number, known, sample.cycles)


def viewers(motions: Sequence[Motion]) -> str:
    """One viewer per motion, side by side if there is room."""
    frames = (framed(motion.html(), HEIGHT) for motion in motions)
    return f'<div class="viewers">{"".join(frames)}</div>'


def middle(motion: Motion | None) -> tuple[gr.Number, gr.Number, list[float]]:
    """The stretch to change, the motion's middle third, as two numbers and on the timeline."""
    start, end, frames, _ = value = stretch(motion)
    return gr.Number(value=start, maximum=frames), gr.Number(value=end, maximum=frames), value


def build(lamp: Lamp, library: str = "") -> gr.Blocks:
    """The page."""
    studio = Studio(lamp, library)
    with gr.Blocks(title="LaMP studio", analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        session = gr.State(Session())
        gr.Markdown("# LaMP studio\nMotion from text, and text from motion.")
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                controls = generate_tab(studio), edit_tab(), upload_tab()
            with gr.Column(scale=3, min_width=320):
                view = gr.HTML(EMPTY, label="motion")
                note = gr.Textbox(label="What the weights know", interactive=False, lines=2)
                chosen = gr.Dropdown(label="Motion to edit, caption and download", choices=[], interactive=True)
                with gr.Row():
                    undo, redo = gr.Button("Undo", size="sm"), gr.Button("Redo", size="sm")
                formats = gr.CheckboxGroup(list(FORMATS), value=["npy", "bvh", "glb"], label="Formats")
                pack = gr.Button("Prepare download")
                file = gr.File(label="Files and record", interactive=False)
        connect(studio, session, controls, view, note, chosen)
        edits = controls[1]
        changed = [note, view, chosen, *edits["stretch"], session]
        undo.click(studio.undo, [session], changed, api_name="undo")
        redo.click(studio.redo, [session], changed, api_name="redo")
        pack.click(studio.download, [chosen, formats, session], [file], api_name="download", **CONCURRENT)
    return blocks


def generate_tab(studio: Studio) -> dict[str, Any]:
    """The components of the tab that generates, by name."""
    with gr.Tab("Generate"):
        prompt = gr.Textbox(
            label="What does the person do?", value="a person waves with the right hand", max_length=MAX_LETTERS, autofocus=True
        )
        frames = gr.Slider(0, studio.lamp.spec.max_motion, value=60, step=4, label="Length in frames; 0: predicted from the text")
        with gr.Row():
            seed = gr.Number(1, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
            samples = gr.Slider(1, SAMPLES, value=1, step=1, label="Samples")
        guidance = gr.Slider(0, 8, value=0, step=0.5, label="Guidance; 0: the default of the weights")
        loop = gr.Checkbox(label="Loop: the end leads into the start")
        button = gr.Button("Generate", variant="primary", elem_id="generate")
    return {"inputs": [prompt, frames, seed, guidance, samples, loop], "button": button, "prompt": prompt}


def edit_tab() -> dict[str, Any]:
    """The components of the tab that edits, by name."""
    with gr.Tab("Edit"):
        strip = timeline(container=True, elem_id="timeline")
        first, last, frames, _ = stretch(None)
        with gr.Row(elem_id="stretch"):
            start = gr.Number(first, label="From frame", precision=0, minimum=0, maximum=frames)
            end = gr.Number(last, label="To frame", precision=0, minimum=0, maximum=frames)
        strip.input(None, [strip], [start, end], js="value => [value[0], value[1]]")
        for number in (start, end):
            number.input(None, [start, end, strip], [strip], js=MOVED)
        prompt = gr.Textbox(label="What happens there? Without text, what leads from before to after", max_length=MAX_LETTERS)
        change = gr.Button("Change this stretch", variant="primary")
        after = gr.Slider(4, 196, value=60, step=4, label="Frames to add")
        more, loop = gr.Button("Continue"), gr.Button("Make a loop")
        seed = gr.Number(1, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
    buttons = {"change": change, "more": more, "loop": loop}
    return {"prompt": prompt, "stretch": [start, end, strip], "after": after, "seed": seed, **buttons}


def upload_tab() -> dict[str, Any]:
    """The components of the tab that uploads, captions and searches, by name."""
    with gr.Tab("Upload, captions, search"):
        file = gr.File(label="Motion file", file_types=UPLOADS, type="filepath")
        captions = gr.Button("Caption the selected motion", variant="primary")
        table = gr.Dataframe(headers=["seconds", "caption"], datatype="str", interactive=False, wrap=True, label="Captions")
        query = gr.Textbox(label="Search by text; without it, for motions like the selected one", max_length=MAX_LETTERS)
        search = gr.Button("Search")
        hits = gr.Dataframe(headers=["motion", "similarity"], datatype="str", interactive=False, wrap=True, label="Found")
    return {"file": file, "captions": captions, "table": table, "query": query, "search": search, "hits": hits}


def connect(studio: Studio, session: gr.State, controls: tuple, view: gr.HTML, note: gr.Textbox, chosen: gr.Dropdown) -> None:
    """Connect the controls to their functions."""
    made, edits, uploads = controls
    changed = [note, view, chosen, *edits["stretch"], session]
    gr.on(
        [made["button"].click, made["prompt"].submit], studio.generate, [*made["inputs"], session], changed, api_name="generate",
        **CONCURRENT,
    )  # fmt: skip
    no, yes, zero = gr.State(False), gr.State(True), gr.State(0)
    edited = [chosen, edits["prompt"], *edits["stretch"][:2]]
    gr.on(
        [edits["change"].click, edits["prompt"].submit], studio.edit, [*edited, zero, no, edits["seed"], session], changed,
        api_name="edit", **CONCURRENT,
    )  # fmt: skip
    edits["more"].click(
        studio.edit, [*edited, edits["after"], no, edits["seed"], session], changed, api_name="continue", **CONCURRENT
    )
    edits["loop"].click(studio.edit, [*edited, zero, yes, edits["seed"], session], changed, api_name="loop", **CONCURRENT)
    uploads["file"].upload(studio.upload, [uploads["file"], session], changed, api_name="upload", **CONCURRENT)
    uploads["captions"].click(studio.caption, [chosen, session], [uploads["table"]], api_name="caption", **CONCURRENT)
    uploads["search"].click(
        studio.similar, [chosen, uploads["query"], session], [uploads["hits"], view], api_name="search", **CONCURRENT
    )
    chosen.input(studio.select, [chosen, session], [view, *edits["stretch"]], api_name="select", **CONCURRENT)


def launch(
    blocks: gr.Blocks, host: str, port: int | None, share: bool = False, max_upload: int = 20, wait: bool = True
) -> str:
    """Serve the page, and return its address; with `wait` not before it is stopped."""
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])  # none from the net
    _, address, _ = blocks.queue(max_size=32).launch(
        server_name=host, server_port=port, share=share, max_file_size=f"{max_upload}mb", ssr_mode=False, theme=theme, css=STYLE,
        footer_links=["api"], run_history=False, enable_monitoring=False, prevent_thread_lock=not wait, quiet=not wait,
    )  # fmt: skip
    return address
