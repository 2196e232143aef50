"""Generate motions of various lengths for training captions; those that do what their caption says become training data.

    python -m prepare.trials --dataset_name open --name base --res_name residual
    python train_t2m_transformer.py --stage masked --trials checkpoints/open/trials.safetensors …
    python train_t2m_transformer.py --stage length --trials checkpoints/open/trials.safetensors …

A motion is kept if the facts (`prepare.facts`) that are detected in it are the same as in the clip of the caption: the same actions
by the same limbs, the same direction, and the same raised and waving hands. The masked transformer learns from these motions to
follow captions more often. The length predictor learns which lengths suit an action: with other lengths, the generator often fails
to show the action.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if not __package__:
    raise SystemExit("error: started by its path; run: python -m prepare.trials")

from options.cli import parse
from options.prepare import WriteTrials
from options.ranges import check_ranges
from utils.errors import UserError, script

if TYPE_CHECKING:  # imported late, to keep --help fast
    import numpy as np

    from data.text import CaptionedClips
    from data.trials import Trials
    from pipelines.language_motion import LanguageMotion
    from pipelines.text2motion import TextToMotion
    from prepare.facts import Facts

SHORTEST = 6  # tokens; minimum length of a motion
RARE = 1.6  # exponent of the sampling weights of clips; 2: all actions are drawn equally often, 1: as in training
MAX_EPOCHS = 20  # passes over the training clips in search of captions
SHARPNESS = 1 / 0.15  # sampling weights of the motions of a caption are proportional to exp(SHARPNESS · log-odds)
BATCH = 128  # motions generated at once
NUMBER = re.compile(r"\b(?:once|twice|two|three|four|five|six|seven|eight|nine|ten|\d+)\b")  # in captions that state a count


class Trial(NamedTuple):
    """A generated motion."""

    codes: np.ndarray  # (L, Q) int16
    score: float  # LaMP's log-odds that the motion matches its caption
    success: bool


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(WriteTrials, argv)
    check_ranges(vars(config))
    from data.store import MotionStore
    from data.text import CaptionedClips
    from motion.spec import get_spec
    from pipelines.language_motion import LanguageMotion
    from pipelines.runs import resolve_generator
    from pipelines.text2motion import TextToMotion
    from utils.checkpoint import fingerprint
    from utils.runtime import resolve_device

    spec = get_spec(config.dataset_name, config.data_root, config.cache_dir)
    runs = resolve_generator(config.checkpoints_dir, config.dataset_name, config.name, config.res_name)
    device = resolve_device(config.gpu_id)
    model = TextToMotion.load(*runs.masked.address, runs.res_name or None, device=device, precision=config.precision)
    lamp = LanguageMotion.load(config.checkpoints_dir, config.dataset_name, config.lamp_name, device)
    clips = CaptionedClips(spec, "train", MotionStore(spec))
    tokeniser = fingerprint(model.tokeniser, model.mean.cpu().numpy(), model.std.cpu().numpy())
    generated = generate(model, lamp, clips, config)
    trials = kept(generated, tokeniser)
    path = Path(config.out or Path(config.checkpoints_dir) / config.dataset_name / "trials.safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    trials.save(path)
    print(f"{len(trials)} of {len(generated) * config.lengths} motions follow their caption; they are in {path}")


def generate(model: TextToMotion, lamp: LanguageMotion, clips: CaptionedClips, config: WriteTrials) -> dict[str, list[Trial]]:
    """Generate `config.lengths` motions for each of `config.captions` training captions. Returns the motions of each caption."""
    import numpy as np
    import torch

    from prepare.facts import prove
    from utils.progress import progress

    rng = np.random.default_rng(config.seed)
    clip_of = draw_captions(model, clips, config.captions, rng)
    captions, facts = list(clip_of), [prove(joints_of(clips.clips[clip])) for clip in clip_of.values()]
    longest = clips.spec.max_motion // model.tokeniser.stride
    quantiles = (np.arange(config.lengths) + rng.random((len(captions), config.lengths))) / config.lengths
    tokens = np.exp(np.log(SHORTEST) + quantiles * np.log(longest / SHORTEST)).round().astype(int).ravel()  # log-uniform
    trials = {caption: [] for caption in captions}
    sampling = model.sampling.changed(config)
    mean, std = (torch.as_tensor(row).to(model.mean) for row in (lamp.mean, lamp.std))
    order = np.argsort(tokens, kind="stable")  # motions of similar length share a batch
    for first in progress(range(0, len(order), BATCH), desc="trials", unit="batch"):
        rows = order[first : first + BATCH]
        texts = [captions[row // config.lengths] for row in rows]
        lengths = torch.from_numpy(tokens[rows]).to(model.mean.device)
        codes = model.draw(model.encoder(texts), lengths, sampling=sampling, first_sample=first)
        motions, frames = model.features(codes, lengths)
        scores = lamp.match(texts, (motions - mean) / std, frames).tolist()
        codes, motions = codes.cpu().numpy().astype(np.int16), motions.float().cpu().numpy()
        for number, (row, text, length, score) in enumerate(zip(rows, texts, frames.tolist(), scores)):
            generated = prove(joints_of(motions[number, :length]))
            success = alike(generated, facts[row // config.lengths], counted=NUMBER.search(text) is not None)
            trials[text].append(Trial(codes[number, : tokens[row]], score, success))
    return trials


def draw_captions(model: TextToMotion, clips: CaptionedClips, count: int, rng: np.random.Generator) -> dict[str, int]:
    """Draw captions of single actions. Rare actions are drawn more often. Returns the index of the clip of each caption.

    Compositions are left out, and so are captions that the model would generate in steps or in layers. If there are fewer
    captions than `count`, all are returned.
    """
    from data.balance import sampling_weights, weighted_epoch

    weights = sampling_weights(clips.clips.names, clips.spec.root, compositions=0.0) ** RARE
    drawn = {}
    for _ in range(MAX_EPOCHS):
        for clip in weighted_epoch(weights, rng):
            options = clips.captions_of(clip)
            caption = options[rng.integers(len(options))].text
            if caption not in drawn and model.plan(caption, model.sampling) == [[caption]]:
                drawn[caption] = int(clip)
            if len(drawn) == count:
                return drawn
    return drawn


def joints_of(features: np.ndarray) -> np.ndarray:
    """Joints (T, 22, 3) in metres, from features (T, 263)."""
    import torch

    from motion.features import features_to_joints
    from motion.skeleton import HUMANML3D

    return features_to_joints(torch.tensor(features), HUMANML3D.num_joints).numpy()


def alike(generated: Facts, captured: Facts, counted: bool) -> bool:
    """Whether a generated motion shows the actions (with the same limbs), direction, raised hands and waving hands of a capture.

    Bows are compared only if the capture shows no other action. If `counted`, each action must also occur the same number of
    times.
    """
    from collections import Counter

    from prepare.facts import SHOULDER

    def summary(facts: Facts) -> tuple:
        events = Counter((event.action, event.side) for event in facts.events)
        if not captured.events:  # in many other actions, the trunk also bends and rises
            events["bow", ""] = facts.bows
        hands = [(hand.level >= SHOULDER, hand.waves > 1) for hand in facts.hands]
        return +events if counted else set(+events), facts.direction, hands

    return summary(generated) == summary(captured)


def kept(trials: dict[str, list[Trial]], tokeniser: str) -> Trials:
    """The successful trials of all captions. Raises `UserError` if there is none."""
    import numpy as np
    from scipy.special import softmax

    from data.trials import Trials

    successes = {caption: [trial for trial in made if trial.success] for caption, made in trials.items()}
    successes = {caption: made for caption, made in successes.items() if made}
    if not successes:
        raise UserError("no generated motion does what its caption says; train the masked transformer longer")
    motions = [trial for made in successes.values() for trial in made]
    weights = [softmax(SHARPNESS * np.array([trial.score for trial in made])) for made in successes.values()]
    index = np.repeat(np.arange(len(successes)), [len(made) for made in successes.values()])
    tokens = np.array([len(trial.codes) for trial in motions])
    codes = np.concatenate([trial.codes for trial in motions])
    return Trials(list(successes), index, tokens, codes, np.concatenate(weights).astype(np.float32), tokeniser)


if __name__ == "__main__":
    main()
