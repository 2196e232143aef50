"""The page of the studio: Gradio components that call `pipelines.api.Lamp`.

Text from visitors is never inserted as HTML: text is shown in text boxes and tables, and motions are shown in sandboxed frames.
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
from web.session import FORMATS, Action, Session, zip_files
from web.timeline import middle_section, timeline

UPLOAD_SUFFIXES = [".npy", ".npz", ".bvh", ".glb"]
MAX_SAMPLES = 4  # maximum number of motions per prompt, which are shown side by side
NUM_HITS = 3  # maximum number of results of a search
VIEWER_HEIGHT = 460  # pixels
CONCURRENT = {"concurrency_id": "models", "concurrency_limit": 1}
STYLE = """
.viewers {display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); gap: 8px}
.viewers p {opacity: 0.7; text-align: center}
"""
# Clamps the typed frames so that the section is valid: 0 <= first < end <= frames. The outer list has one item per output.
CLAMP_SECTION = """(start, end, [, , frames, fps]) => {
  const first = Math.min(Math.max(start ?? 0, 0), frames - 1);
  return [[first, Math.min(Math.max(end ?? 0, first + 1), frames), frames, fps]];
}"""
EMPTY = '<div class="viewers"><p>Describe a motion and press Generate.</p></div>'


def show_errors(function: Callable) -> Callable:
    """Wrap a function so that the page shows the message of a `UserError`, and a generic message for any other exception."""

    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except UserError as error:
            raise gr.Error(escape(str(error)), print_exception=False) from None

    return wrapped


class Studio:
    """The functions that the page calls. `session` is the visitor's session, and `number` is the number of the selected motion.

    Methods that change the session return the note that a prompt is unknown ("" if it is known), followed by the values of
    `page_state`, which update the page.
    """

    def __init__(self, lamp: Lamp, library: str = ""):
        self.lamp, self.library = lamp, library

    @show_errors
    def generate(
        self, prompt: str, frames: float, seed: float, guidance: float, samples: float, loop: bool, session: Session
    ) -> tuple:
        """Generate motions for a prompt. `guidance` is the guidance scale; 0 selects the default of the weights."""
        if not 1 <= samples <= MAX_SAMPLES:
            raise UserError(f"samples: {samples}; choose from 1 to {MAX_SAMPLES}")
        settings = {"seed": int(seed), "cond_scale": guidance or None, "res_cond_scale": guidance or None}
        (prompt,), _ = strings(prompt, "prompt")
        known = self.lamp.known(prompt)
        known_record = asdict(known) if known else None
        generated = self.lamp.samples([prompt], int(frames) or None, int(samples), False, loop, **settings)
        details = {"prompt": prompt, "frames": int(frames), "samples": int(samples), "loop": loop, "guidance": guidance}
        samples_to_add = [numbered(sample, number, known_record) for number, sample in enumerate(generated)]
        note = known.note if known else ""
        return (note, *self.page_state(session.added(samples_to_add, Action("generate", int(seed), details))))

    @show_errors
    def edit(
        self, number: int, prompt: str, start: float, end: float, after: float, loop: bool, seed: float, session: Session
    ) -> tuple:
        """Edit the selected motion.

        If `after` is above 0, add `after` frames at the end. If `loop` is True, make the motion a loop. Otherwise, regenerate the
        frames `start` to `end`.
        """
        entry = session.entry(number)
        frames = None if after or loop else (int(start), int(end))
        known = self.lamp.known(prompt) if prompt.strip() else None
        edited = self.lamp.edits(entry.motion, prompt.strip(), frames, 0, int(after), loop, None, seed=int(seed))
        details = {"of": entry.motion.text, "prompt": prompt, "frames": frames, "after": int(after), "loop": loop}
        samples_to_add = [numbered(sample, 0, asdict(known) if known else None) for sample in edited]
        session = session.added(samples_to_add, Action("edit", int(seed), details))
        return (known.note if known else "", *self.page_state(session))

    @show_errors
    def upload(self, path: str | None, session: Session) -> tuple:
        """Add the motion in the uploaded file `path` to the session."""
        if path is None:
            raise UserError(f"no file was uploaded; choose a file that ends in {', '.join(UPLOAD_SUFFIXES)}")
        if Path(path).suffix.lower() not in UPLOAD_SUFFIXES:
            raise UserError(f"{Path(path).name}: not a motion file; choose a file that ends in {', '.join(UPLOAD_SUFFIXES)}")
        try:
            loaded = Motion.load(path)
        except UserError as error:  # hide the path on the server
            raise UserError(str(error).replace(str(Path(path).parent) + "/", "")) from None
        if not 1 < len(loaded) <= LONGEST:
            raise UserError(f"{Path(path).name}: {len(loaded)} frames; a motion must have 2 to {LONGEST} frames")
        motion = Motion(loaded.joints, loaded.fps, Path(path).name)
        added = session.added([Sample(motion)], Action("upload", 0, {"file": Path(path).name}))
        return ("", *self.page_state(added))

    @show_errors
    def caption(self, number: int, session: Session) -> list[list[str]]:
        """Caption the selected motion. Returns a table with one row per window: start and end in seconds, and the caption."""
        windows = self.lamp.captions(session.entry(number).motion)
        return [[f"{window.start:.1f}–{window.end:.1f}", window.captions[0][0]] for window in windows]

    @show_errors
    def similar(self, number: int, query: str, session: Session) -> tuple[list[list[str]], str]:
        """Search for motions that match the query. If the query is empty, search for motions similar to the selected motion.

        Without a library, the session is searched. Returns a table of the motions found and the HTML that shows them.
        """
        target = query.strip() or session.entry(number).motion
        with tempfile.TemporaryDirectory() as folder:
            entries = [entry for entry in session.entries if query.strip() or entry.number != number]
            if not self.library:
                if not entries:
                    raise UserError("no motions to search: generate or upload more motions, or start the studio with --library DIR")
                for entry in entries:
                    entry.motion.save(Path(folder) / f"{entry.number:03}.npy")
            hits = self.lamp.search(target, self.library or folder, top=NUM_HITS)
            titles = {f"{entry.number:03}.npy": entry.title for entry in entries}
            names = [hit.file.name if self.library else titles[hit.file.name] for hit in hits]
            motions = [hit.motion() for hit in hits]
        rows = [[name, f"{hit.score:.3f}"] for name, hit in zip(names, hits)]
        return rows, viewers([Motion(motion.joints, motion.fps, name) for motion, name in zip(motions, names)])

    @show_errors
    def download(self, number: int, formats: list[str], session: Session) -> str:
        """Return the path of a .zip file with `prompts.json` and the selected motion in the given formats."""
        return zip_files(self.lamp, session.entry(number), formats)

    @show_errors
    def undo(self, session: Session) -> tuple:
        """Undo the last action of the visitor."""
        return ("", *self.page_state(session.undo()))

    @show_errors
    def redo(self, session: Session) -> tuple:
        """Redo the action that was undone last."""
        return ("", *self.page_state(session.redo()))

    @show_errors
    def select(self, number: int | None, session: Session) -> tuple:
        """Select a motion. Returns the HTML that shows this motion, and the values of `section_values`."""
        entry = session.entry(number)
        return viewers([entry.motion]), *section_values(entry.motion)

    def page_state(self, session: Session) -> tuple:
        """The values of the page's components that depend on the session: viewers, list of motions, `section_values`, session."""
        if not session.steps:
            return EMPTY, gr.Dropdown(choices=[], value=None), *section_values(None), session
        last = session.steps[-1]
        choices = [(entry.title, entry.number) for entry in reversed(session.entries)]
        selection = gr.Dropdown(choices=choices, value=last[0].number)
        return viewers([entry.motion for entry in last]), selection, *section_values(last[0].motion), session


def numbered(sample: Sample, number: int, known: dict | None) -> Sample:
    """Return a copy of a sample with its `number`, which is its index (from 0) among the motions of one prompt.

    `known` is the result of `Lamp.known` for the prompt, as a dict, or None.
    """
    return Sample(sample.motion, 0, number, number, known, sample.cycles)


def viewers(motions: Sequence[Motion]) -> str:
    """HTML that shows one viewer per motion; the viewers are side by side if there is enough space."""
    frames = (framed(motion.html(), VIEWER_HEIGHT) for motion in motions)
    return f'<div class="viewers">{"".join(frames)}</div>'


def section_values(motion: Motion | None) -> tuple[gr.Number, gr.Number, list[float]]:
    """Set the section to regenerate to the middle third of the motion.

    Returns the first frame and the end frame of this section, and the value of the timeline.
    """
    start, end, frames, _ = value = middle_section(motion)
    return gr.Number(value=start, maximum=frames), gr.Number(value=end, maximum=frames), value


def build(lamp: Lamp, library: str = "") -> gr.Blocks:
    """Create the page. `library` is the folder to search; if it is "", the motions of the session are searched."""
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
                selected = gr.Dropdown(label="Motion to edit, caption and download", choices=[], interactive=True)
                with gr.Row():
                    undo, redo = gr.Button("Undo", size="sm"), gr.Button("Redo", size="sm")
                formats = gr.CheckboxGroup(list(FORMATS), value=["npy", "bvh", "glb"], label="Formats")
                pack = gr.Button("Prepare download")
                file = gr.File(label="Motion files and prompts.json (.zip)", interactive=False)
        connect(studio, session, controls, view, note, selected)
        outputs = [note, view, selected, *controls[1]["section"], session]
        undo.click(studio.undo, [session], outputs, api_name="undo")
        redo.click(studio.redo, [session], outputs, api_name="redo")
        pack.click(studio.download, [selected, formats, session], [file], api_name="download", **CONCURRENT)
    return blocks


def generate_tab(studio: Studio) -> dict[str, Any]:
    """Create the tab "Generate". Returns its components, keyed by name."""
    with gr.Tab("Generate"):
        prompt = gr.Textbox(
            label="What does the person do?", value="a person waves with the right hand", max_length=MAX_LETTERS, autofocus=True
        )
        frames = gr.Slider(0, studio.lamp.spec.max_motion, value=60, step=4, label="Length in frames; 0: predicted from the text")
        with gr.Row():
            seed = gr.Number(1, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
            samples = gr.Slider(1, MAX_SAMPLES, value=1, step=1, label="Samples")
        guidance = gr.Slider(0, 8, value=0, step=0.5, label="Guidance scale; 0: the default of the weights")
        loop = gr.Checkbox(label="Loop: the end leads into the start")
        button = gr.Button("Generate", variant="primary", elem_id="generate")
    return {"inputs": [prompt, frames, seed, guidance, samples, loop], "button": button, "prompt": prompt}


def edit_tab() -> dict[str, Any]:
    """Create the tab "Edit". Returns its components, keyed by name."""
    with gr.Tab("Edit"):
        strip = timeline(container=True, elem_id="timeline")
        first, last, frames, _ = middle_section(None)
        with gr.Row(elem_id="section"):
            start = gr.Number(first, label="From frame", precision=0, minimum=0, maximum=frames)
            end = gr.Number(last, label="To frame", precision=0, minimum=0, maximum=frames)
        strip.input(None, [strip], [start, end], js="value => [value[0], value[1]]")
        for number in (start, end):
            number.input(None, [start, end, strip], [strip], js=CLAMP_SECTION)
        prompt = gr.Textbox(label="What happens in this section? Leave empty to fill it without a prompt", max_length=MAX_LETTERS)
        change = gr.Button("Regenerate this section", variant="primary")
        after = gr.Slider(4, 196, value=60, step=4, label="Frames to add")
        extend, loop = gr.Button("Continue"), gr.Button("Make a loop")
        seed = gr.Number(1, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
    buttons = {"change": change, "continue": extend, "loop": loop}
    return {"prompt": prompt, "section": [start, end, strip], "after": after, "seed": seed, **buttons}


def upload_tab() -> dict[str, Any]:
    """Create the tab "Upload, captions, search". Returns its components, keyed by name."""
    with gr.Tab("Upload, captions, search"):
        file = gr.File(label="Motion file", file_types=UPLOAD_SUFFIXES, type="filepath")
        captions = gr.Button("Caption the selected motion", variant="primary")
        table = gr.Dataframe(headers=["seconds", "caption"], datatype="str", interactive=False, wrap=True, label="Captions")
        query = gr.Textbox(label="Search by text; leave empty to find motions similar to the selected one", max_length=MAX_LETTERS)
        search = gr.Button("Search")
        hits = gr.Dataframe(headers=["motion", "similarity"], datatype="str", interactive=False, wrap=True, label="Results")
    return {"file": file, "captions": captions, "table": table, "query": query, "search": search, "hits": hits}


def connect(studio: Studio, session: gr.State, controls: tuple, view: gr.HTML, note: gr.Textbox, selected: gr.Dropdown) -> None:
    """Connect the components of the tabs to the functions of the studio."""
    generation, editing, uploads = controls
    outputs = [note, view, selected, *editing["section"], session]
    gr.on(
        [generation["button"].click, generation["prompt"].submit], studio.generate, [*generation["inputs"], session], outputs,
        api_name="generate", **CONCURRENT,
    )  # fmt: skip
    false, true, zero = gr.State(False), gr.State(True), gr.State(0)
    inputs = [selected, editing["prompt"], *editing["section"][:2]]
    gr.on(
        [editing["change"].click, editing["prompt"].submit], studio.edit, [*inputs, zero, false, editing["seed"], session], outputs,
        api_name="edit", **CONCURRENT,
    )  # fmt: skip
    editing["continue"].click(
        studio.edit, [*inputs, editing["after"], false, editing["seed"], session], outputs, api_name="continue", **CONCURRENT
    )
    editing["loop"].click(studio.edit, [*inputs, zero, true, editing["seed"], session], outputs, api_name="loop", **CONCURRENT)
    uploads["file"].upload(studio.upload, [uploads["file"], session], outputs, api_name="upload", **CONCURRENT)
    uploads["captions"].click(studio.caption, [selected, session], [uploads["table"]], api_name="caption", **CONCURRENT)
    uploads["search"].click(
        studio.similar, [selected, uploads["query"], session], [uploads["hits"], view], api_name="search", **CONCURRENT
    )
    selected.input(studio.select, [selected, session], [view, *editing["section"]], api_name="select", **CONCURRENT)


def launch(blocks: gr.Blocks, host: str, port: int | None, share: bool = False, max_upload: int = 20, wait: bool = True) -> str:
    """Serve the page and return its address. With `wait`, the function returns only after the server has stopped.

    `max_upload` is the maximum size of an uploaded file in MB.
    """
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])  # no remote fonts
    _, address, _ = blocks.queue(max_size=32).launch(
        server_name=host, server_port=port, share=share, max_file_size=f"{max_upload}mb", ssr_mode=False, theme=theme, css=STYLE,
        footer_links=["api"], run_history=False, enable_monitoring=False, prevent_thread_lock=not wait, quiet=not wait,
    )  # fmt: skip
    return address
