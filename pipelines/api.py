"""All models as one object, with the defaults of the scripts (docs/python.md).

    lamp = load()
    motion = lamp.generate("a person bows", frames=60, seed=1)
    lamp.caption(motion)
    lamp.edit(motion, "a person waves", frames=(20, 50)).save("both.bvh")

Models are resolved by `pipelines.runs` and loaded on first use. Motions are `motion.clip.Motion`.
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

MOTION = Path("motion")  # stands for the file of a motion that has none


class Lamp:
    """Text to motion, captions, search and editing with the models of one checkpoints folder, or the embedded ones.

    Args:
        checkpoints_dir, dataset_name: where to look for runs; None: any dataset.
        name, res_name, length_name, fill_name: the models that generate, as in gen_t2m.py.
        captioner_name, lamp_name: the captioner of `caption`, and the LaMP of `search`.
        lm: folder of the captioner's language model, as in gen_m2t.py.
        gpu_id: CUDA device; -1: the CPU; None: the first GPU if there is one.
        precision: of the transformers: "fp32", "bf16" or "auto", which is bf16 where the device computes in bf16.

    All methods raise `UserError` for arguments out of range and for models that are missing.
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
        captioner_name: str = "",
        lamp_name: str = "",
        lm: str = "",
        gpu_id: int | None = None,
        precision: str = "auto",
    ):
        self.checkpoints_dir, self.dataset_name = checkpoints_dir, dataset_name
        self.generator_names = (name, res_name, length_name, fill_name)
        self.captioner_name, self.lamp_name, self.lm, self.precision = captioner_name, lamp_name, lm, precision
        with as_arguments():
            self.loader = Loader(resolve_device(gpu_id))

    def __repr__(self) -> str:
        return f"Lamp({self.runs})"

    # The models

    @cached_property
    def runs(self) -> Generator:
        """The runs that generate motion."""
        with as_arguments():
            return resolve_generator(self.checkpoints_dir, self.dataset_name, *self.generator_names)

    @cached_property
    def generator(self) -> TextToMotion:
        """The models that generate and edit, loaded on first use."""
        names = {name: getattr(self.runs, name) or None for name in ("res_name", "length_name", "fill_name")}
        return TextToMotion.load(*self.runs.masked.address, **names, loader=self.loader, precision=self.precision)

    @cached_property
    def spec(self) -> DatasetSpec:
        """The dataset that the generating models were trained on."""
        return get_spec(self.runs.masked.dataset_name)

    @cached_property
    def captioner_run(self) -> Run:
        """The captioner's run. Raises `UserError` if there is none or several."""
        with as_arguments():
            return resolve(CAPTIONER, self.checkpoints_dir, self.dataset_name, self.captioner_name)

    @cached_property
    def captioner(self) -> MotionToText:
        """The captioner with its LaMP, loaded on first use."""
        run = self.captioner_run
        root = run.checkpoints_dir if run.embedded else self.checkpoints_dir
        return MotionToText.load(root, run.dataset_name, str(run.path or run.name), loader=self.loader, lm=self.lm)

    @cached_property
    def lamp_run(self) -> Run:
        """The run of the LaMP that searches. Raises `UserError` if there is none or several."""
        with as_arguments():
            return resolve(LAMP, self.checkpoints_dir, self.dataset_name, self.lamp_name)

    @cached_property
    def reader(self) -> LanguageMotion:
        """The LaMP that searches."""
        return LanguageMotion.load(*self.lamp_run.address, loader=self.loader)

    @cached_property
    def knowledge(self) -> Knowledge | None:
        """What the generator's weights know; None if their run has no index of captions."""
        return Knowledge.load(self.runs.masked.folder)

    # What they do

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
        """Motions of a prompt or of a list of prompts.

        Args:
            prompt: a string, or a list of strings.
            frames: length in frames, one for all prompts or one each; None: predicted.
            samples: how many motions of each prompt; None: one, not in a list.
            join: one motion that follows all prompts, one after the other.
            loop: motions whose end leads into their start.
            sampling: fields of `SamplingSettings`: seed, time_steps, cond_scale, res_cond_scale, temperature, topkr,
                choice_temperature, stepwise, layered; None: the defaults of gen_t2m.py.

        Returns:
            a `Motion`; a list of them for a list of prompts, or with `samples`; with both, a list per prompt.
        """
        texts, alone = strings(prompt, "prompt")
        drawn = [sample.motion for sample in self.samples(texts, frames, samples, join, loop, **sampling)]
        if samples is None:
            return drawn[0] if alone or join else drawn
        return drawn if alone or join else [drawn[k :: len(texts)] for k in range(len(texts))]

    def samples(
        self, texts: list[str], frames: Any, samples: int | None, join: bool, loop: bool, **sampling: float | None
    ) -> Iterator[Sample]:
        """The motions of `generate` as numbered samples, for a record of results."""
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
        """The motion with sections regenerated.

        Args:
            motion: a `Motion`, a motion file, or an array of joints or features.
            prompt: text for the sections; "": in-betweening without text.
            frames: (first, end) of a section, or several such pairs; numbers that are not whole, such as (0.3, 0.6), are fractions
            of the motion.
            before, after: frames to add at either end.
            loop: add frames after the end that lead back to the start.
            samples, sampling: as in `generate`.

        Returns:
            a `Motion`, or with `samples` a list.
        """
        with as_arguments():
            drawn = [sample.motion for sample in self.edits(motion, prompt, frames, before, after, loop, samples, **sampling)]
        return drawn[0] if samples is None else drawn

    def edits(
        self, motion: Any, prompt: str, frames: Any, before: int, after: int, loop: bool, samples: int | None,
        **sampling: float | None,
    ) -> Iterator[Sample]:  # fmt: skip
        """The motions of `edit` as numbered samples."""
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
        """A caption of a motion, or a list of captions for a list of motions.

        A motion longer than the models see at once (196 frames) is captioned window by window, and the captions are joined by
        arrows.
        """
        if isinstance(motion, (list, tuple)):
            return [self.caption(one) for one in motion]
        return " → ".join(dict.fromkeys(window.captions[0][0] for window in self.captions(motion)))

    def captions(self, motion: Any, count: int = 1) -> list[CaptionedWindow]:
        """The `count` best captions of each window of a motion, with start and end in seconds."""
        with as_arguments():
            spec = get_spec(self.captioner_run.dataset_name)
            config = GenM2T(num_captions=max(1, whole(count, "count")))
            rows = {MOTION: source_of(as_motion(motion, spec), spec, "motion").features.numpy()}
            windows = windows_of(rows, config.window, self.captioner.stride)
            return caption_windows(self.captioner, windows, Search.of(config), config, spec.fps)

    def search(self, query: Any, folder: str | Path | None = None, top: int = EvalRetrieval.top) -> Any:
        """The motions of a folder that fit a text best, or that are most similar to a motion.

        Args:
            query: a string, a list of strings, or a `Motion`.
            folder: motion files, or a dataset; None: the dataset of the LaMP run.
            top: how many.

        Returns:
            a list of `Hit`s (file, start, end, score; `hit.motion()` reads it), or for a list of strings one such list each.
        """
        with as_arguments():
            top, spec = max(1, whole(top, "top")), get_spec(self.lamp_run.dataset_name)
            folder = Path(folder) if folder else spec.root
            inside = folder / "new_joint_vecs"  # of a dataset folder
            if isinstance(query, Motion):
                rows = source_of(query, spec, "query").features[: spec.max_motion].numpy()
                queries, alone = [embed(self.reader, spec, [rows], 0)["features"][0]], True
            else:
                texts, alone = strings(query, "query")
                queries = self.reader.embed_texts(texts)
            index = open_index(self.reader, spec, inside if inside.is_dir() else folder)
            hits: list[list[Hit]] = [index.search(vector, top) for vector in queries]
            return hits[0] if alone else hits

    def known(self, prompt: Any) -> Any:
        """How well the weights know a prompt (`Known`: score, nearest, reason, note), or a list of prompts.

        None if the weights have no index of training captions and the prompt is English.
        """
        texts, alone = strings(prompt, "prompt")
        results: list[Known | None] = [self.knowledge(text) if self.knowledge else in_english(text) for text in texts]
        return results[0] if alone else results


def silent(_: str) -> None:
    """A `say` function that prints nothing."""
