"""The Python API: one object for all models, with the same defaults as the scripts. The API is documented in docs/python.md.

    lamp = load()
    motion = lamp.generate("a person bows", frames=60, seed=1)
    lamp.caption(motion)
    lamp.edit(motion, "a person waves", frames=(20, 50)).save("both.bvh")

`pipelines.runs` selects the models. Each model is loaded on first use. Motions are `motion.clip.Motion` objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from data.prompts import LONGEST, Prompt, rounded
from data.source import source_of
from data.windows import windows_of
from models.decoding import Search
from models.loading import Loader
from motion.clip import Motion
from motion.spec import DatasetSpec, get_spec
from options.evaluate import EvalRetrieval
from options.generate import EditT2M, GenM2T, GenT2M
from pipelines.arguments import as_arguments, as_motion, lengths, sections, settings, strings, whole
from pipelines.known import Knowledge, Known, in_english
from pipelines.language_motion import LanguageMotion
from pipelines.motion2text import MotionToText, caption_windows
from pipelines.outputs import Sample
from pipelines.runs import CAPTIONER, LAMP, Generator, Run, resolve, resolve_generator
from pipelines.samples import edited, joined, looped, make_plan, separate
from pipelines.search import Hit, embed, open_index
from pipelines.subtitles import CaptionedWindow
from pipelines.text2motion import TextToMotion
from utils.runtime import resolve_device

NO_FILE = Path("motion")  # placeholder for the path of a motion that was not read from a file


class Lamp:
    """Text to motion, captioning, search and editing with the models of one checkpoints folder, or with the embedded models.

    Args:
        checkpoints_dir: folder that contains the runs, the folders with trained weights.
        dataset_name: dataset of the runs; None: any dataset.
        name, res_name, length_name, fill_name, selector_name: the models that generate motion; same values as for the flags of
            gen_t2m.py with these names.
        captioner_name: the captioner that `caption` uses.
        lamp_name: the LaMP run that `search` uses.
        lm: folder of the captioner's language model; same values as for --lm of gen_m2t.py.
        gpu_id: index of the CUDA device; -1: the CPU; None: the first GPU if there is one.
        precision: precision of the transformers: "fp32", "bf16", or "auto": bf16 if the device supports it natively, else fp32.

    All methods raise `UserError` for arguments that are invalid or out of range, and for missing models.
    """

    def __init__(
        self,
        checkpoints_dir: str | Path = "./checkpoints",
        dataset_name: str | None = None,
        *,
        name: str = "",
        res_name: str = "",
        length_name: str = "",
        fill_name: str = "",
        selector_name: str = "",
        captioner_name: str = "",
        lamp_name: str = "",
        lm: str = "",
        gpu_id: int | None = None,
        precision: str = "auto",
    ):
        self.checkpoints_dir, self.dataset_name = checkpoints_dir, dataset_name
        self.generator_names = (name, res_name, length_name, fill_name, selector_name)
        self.captioner_name, self.lamp_name, self.lm, self.precision = captioner_name, lamp_name, lm, precision
        with as_arguments():
            self.loader = Loader(resolve_device(gpu_id))

    def __repr__(self) -> str:
        return f"Lamp({self.runs})"

    # Models

    @cached_property
    def runs(self) -> Generator:
        """The selected runs (folders with trained weights) of the models that generate motion."""
        with as_arguments():
            return resolve_generator(self.checkpoints_dir, self.dataset_name, *self.generator_names, candidates=None)

    @cached_property
    def generator(self) -> TextToMotion:
        """The models for `generate` and `edit`, loaded on first use."""
        settings = {"loader": self.loader, "precision": self.precision}
        return TextToMotion.load(*self.runs.masked.address, **self.runs.companions, **settings)

    @cached_property
    def spec(self) -> DatasetSpec:
        """Paths and constants of the dataset that the models for `generate` and `edit` were trained on."""
        return get_spec(self.runs.masked.dataset_name)

    @cached_property
    def captioner_run(self) -> Run:
        """The run (folder with trained weights) of the captioner.

        Raises `UserError` if there is none, or if there are several and `captioner_name` is empty.
        """
        with as_arguments():
            return resolve(CAPTIONER, self.checkpoints_dir, self.dataset_name, self.captioner_name)

    @cached_property
    def captioner(self) -> MotionToText:
        """The captioner, with the LaMP model that encodes motions for it, loaded on first use."""
        run = self.captioner_run
        root = run.checkpoints_dir if run.embedded else self.checkpoints_dir
        return MotionToText.load(root, run.dataset_name, str(run.path or run.name), loader=self.loader, lm=self.lm)

    @cached_property
    def lamp_run(self) -> Run:
        """The run (folder with trained weights) of the LaMP model that `search` uses.

        Raises `UserError` if there is none, or if there are several and `lamp_name` is empty.
        """
        with as_arguments():
            return resolve(LAMP, self.checkpoints_dir, self.dataset_name, self.lamp_name)

    @cached_property
    def reader(self) -> LanguageMotion:
        """The LaMP model that embeds texts and motions for `search`, loaded on first use."""
        return LanguageMotion.load(*self.lamp_run.address, loader=self.loader)

    @cached_property
    def knowledge(self) -> Knowledge | None:
        """Estimates how well the training captions cover a prompt; None if the masked transformer's run has no index of them."""
        return Knowledge.load(self.runs.masked.folder)

    # Tasks

    def generate(
        self,
        prompt: Any,
        frames: Any = None,
        *,
        samples: int | None = None,
        join: bool = False,
        loop: bool = False,
        **sampling: float | None,
    ) -> Any:
        """Generate motions from a prompt or a list of prompts.

        Args:
            prompt: a string, or a list of strings.
            frames: length in frames: one number for all prompts, or a list with one number per prompt; None: predicted.
            samples: number of motions per prompt; None: one motion per prompt, returned without a list around it.
            join: generate one motion that follows all prompts, one after the other.
            loop: generate loops, which are motions whose end leads into their start.
            sampling: fields of `SamplingSettings`: seed, time_steps, cond_scale, res_cond_scale, temperature, topkr,
                choice_temperature, stepwise, layered, candidates. A field that is None or not given has the default of gen_t2m.py.

        Returns:
            a `Motion` for one prompt; a list of motions for a list of prompts, or for one prompt with `samples`; a list of lists,
            one per prompt, for a list of prompts with `samples`. With `join`, the return value has the form for one prompt.
        """
        texts, is_single = strings(prompt, "prompt")
        motions = [sample.motion for sample in self.samples(texts, frames, samples, join, loop, **sampling)]
        if samples is None:
            return motions[0] if is_single or join else motions
        return motions if is_single or join else [motions[k :: len(texts)] for k in range(len(texts))]

    def samples(
        self, texts: list[str], frames: Any, samples: int | None, join: bool, loop: bool, **sampling: float | None
    ) -> Iterator[Sample]:
        """Like `generate`, but yields one `Sample` per motion: the motion with its prompt's index and its sample number."""
        with as_arguments():
            repeats = 1 if samples is None else whole(samples, "samples")
            config = settings(GenT2M, sampling, repeat_times=repeats, join=join, loop=loop)
            longest = LONGEST if join else self.spec.max_motion
            counts = [None if count is None else rounded(count, longest, "frames") for count in lengths(frames, len(texts))]
            prompts = [Prompt(text, count) for text, count in zip(texts, counts)]
            model = self.generator
            arguments = (model, prompts, config, self.spec, model.sampling.changed(config), 0)
            yield from joined(*arguments, report=silent) if join else separate(*arguments)

    def edit(
        self,
        motion: Any,
        prompt: str = "",
        frames: Any = None,
        *,
        before: int = 0,
        after: int = 0,
        loop: bool = False,
        samples: int | None = None,
        **sampling: float | None,
    ) -> Any:
        """Regenerate sections of a motion.

        Args:
            motion: a `Motion`, a motion file, or an array of joints or features.
            prompt: text for the sections; "": in-betweening without text.
            frames: (first, end) of a section, or a list of such pairs. A pair of ints is in frames. If a number of a pair is a
                float, as in (0.3, 0.6), both numbers of the pair are fractions of the motion's length.
            before, after: numbers of frames to add before the start and after the end of the motion.
            loop: add frames after the end of the motion that lead back to its start.
            samples, sampling: as in `generate`.

        Returns:
            a `Motion`; with `samples`, a list of motions.
        """
        with as_arguments():
            motions = [sample.motion for sample in self.edits(motion, prompt, frames, before, after, loop, samples, **sampling)]
        return motions[0] if samples is None else motions

    def edits(
        self, motion: Any, prompt: str, frames: Any, before: int, after: int, loop: bool, samples: int | None,
        **sampling: float | None,
    ) -> Iterator[Sample]:  # fmt: skip
        """Like `edit`, but yields one `Sample` per motion: the motion with its sample number."""
        with as_arguments():
            text = strings(prompt, "prompt")[0][0] if prompt else ""
            added = {"before": whole(before, "before"), "after": whole(after, "after")}
            repeats = 1 if samples is None else whole(samples, "samples")
            config = settings(
                EditT2M, sampling, mask_edit_section=sections(frames), loop=loop, repeat_times=repeats, text_prompt=text, **added
            )
            source = source_of(as_motion(motion, self.spec), self.spec, "motion")
            plan, model = make_plan(config, len(source.features)), self.generator
            arguments = (model, source, plan, text, config, self.spec, model.sampling.changed(config), 0)
            yield from looped(*arguments) if loop else edited(*arguments, report=silent)

    def caption(self, motion: Any) -> Any:
        """Caption a motion, or each motion of a list.

        A motion longer than the maximum window (196 frames) is captioned window by window. The captions of its windows are joined
        by arrows, and each distinct caption appears once.
        """
        if isinstance(motion, (list, tuple)):
            return [self.caption(item) for item in motion]
        return " → ".join(dict.fromkeys(window.captions[0][0] for window in self.captions(motion)))

    def captions(self, motion: Any, count: int = 1) -> list[CaptionedWindow]:
        """The `count` best captions of each window of a motion, with the window's start and end in seconds."""
        with as_arguments():
            spec = get_spec(self.captioner_run.dataset_name)
            config = GenM2T(num_captions=max(1, whole(count, "count")))
            rows = {NO_FILE: source_of(as_motion(motion, spec), spec, "motion").features.numpy()}
            windows = windows_of(rows, config.window, self.captioner.stride)
            return caption_windows(self.captioner, windows, Search.of(config), config, spec.fps)

    def search(self, query: Any, folder: str | Path | None = None, top: int = EvalRetrieval.top) -> Any:
        """Find the motions in a folder that match a text best, or that are most similar to a motion.

        Args:
            query: a string, a list of strings, or a `Motion`.
            folder: folder of motion files, or a dataset folder; None: the dataset of the LaMP run.
            top: number of motions to return.

        Returns:
            a list of `Hit`s (file, start, end, score; `hit.motion()` reads the motion). For a list of strings, a list of such
            lists, one per string.
        """
        with as_arguments():
            top, spec = max(1, whole(top, "top")), get_spec(self.lamp_run.dataset_name)
            folder = Path(folder) if folder else spec.root
            features = folder / "new_joint_vecs"  # exists in a dataset folder
            if isinstance(query, Motion):
                rows = source_of(query, spec, "query").features[: spec.max_motion].numpy()
                queries, is_single = [embed(self.reader, spec, [rows], 0)["features"][0]], True
            else:
                texts, is_single = strings(query, "query")
                queries = self.reader.embed_texts(texts)
            index = open_index(self.reader, spec, features if features.is_dir() else folder)
            hits: list[list[Hit]] = [index.search(vector, top) for vector in queries]
            return hits[0] if is_single else hits

    def known(self, prompt: Any) -> Any:
        """Estimate how well the training captions of the weights cover a prompt, or each prompt of a list.

        Returns a `Known` (score, nearest captions, reason, note), or a list with one `Known` per prompt. If the weights have no
        index of these captions, only the language of a prompt is checked, and None is returned for an English prompt.
        """
        texts, is_single = strings(prompt, "prompt")
        results: list[Known | None] = [self.knowledge(text) if self.knowledge else in_english(text) for text in texts]
        return results[0] if is_single else results


def silent(_: str) -> None:
    """Ignore a message. Passed as `report` to functions that print messages by default."""
