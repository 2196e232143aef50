"""Trials: generated motions that show the facts of a caption's clip, kept as additional training samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import prepare.trials
import train_t2m_transformer
from data.conditions import Conditions
from data.encoded import CaptionedTokens, tokenise
from data.trials import Trials
from motion.spec import get_spec
from prepare.facts import prove
from prepare.synthetic import bower, write_synthetic
from prepare.trials import Trial, alike, kept
from tests import performers, tiny
from tests.numbered import numbered_clips
from tests.small_lamp import write_lamp
from utils.checkpoint import load_weights
from utils.errors import UserError


@pytest.mark.parametrize(
    ("generated", "captured", "counted", "expected"),
    [
        (performers.kicker(1, height=0.8), performers.kicker(1), False, True),
        (performers.kicker(0), performers.kicker(1), False, False),
        (performers.kicker(1, times=2), performers.kicker(1), False, True),
        (performers.kicker(1, times=2), performers.kicker(1), True, False),
        (performers.squatter(times=2), performers.squatter(times=2), True, True),
        (performers.jumper(), performers.squatter(), False, False),
        (bower(depth=40), bower(), False, True),
        (bower(times=2), bower(), True, False),
        (performers.person(performers.standing_root(60)), bower(), False, False),
        (performers.jumper(forward=1.0), performers.jumper(), False, False),
    ],
    ids=[
        "same", "other leg", "twice", "twice instead of once", "same count", "other action", "bow", "two bows instead of one",
        "no bow", "other direction",
    ],
)
def test_a_trial_succeeds_with_the_facts_of_the_clip(generated, captured, counted, expected):
    assert alike(prove(generated), prove(captured), counted) is expected


def trial(tokens: int, score: float = 0.0, success: bool = True) -> Trial:
    return Trial(np.full((tokens, 2), tokens, np.int16), score, success)


def test_successes_are_kept_and_weighted_by_their_scores():
    failure = trial(20, success=False)
    made = {"walks": [trial(9, 0.1), failure, trial(12, 0.0)], "flies": [failure], "bows": [trial(8)]}
    trials = kept(made, "abc")
    assert trials.captions_of_motions == ["walks", "walks", "bows"]
    assert trials.tokens.tolist() == [9, 12, 8] and trials.codes[:, 0].tolist() == [9] * 9 + [12] * 12 + [8] * 8
    assert trials.weights[0] > trials.weights[1] > 0
    np.testing.assert_allclose([trials.weights[:2].sum(), trials.weights[2]], 1, rtol=1e-6)
    with pytest.raises(UserError, match="train the masked transformer longer"):
        kept({"flies": made["flies"]}, "abc")


def test_a_file_is_read_back_for_its_tokeniser_only(tmp_path):
    path = tmp_path / "trials.safetensors"
    trials = kept({"walks": [trial(9), trial(12)]}, "abc")
    trials.save(path)
    loaded = Trials.load(path, "abc")
    assert loaded.captions == ["walks"] and loaded.codes.tolist() == trials.codes.tolist()
    with pytest.raises(UserError, match="another tokeniser"):
        Trials.load(path, "abd")


def test_trials_make_up_their_fraction_of_the_samples(tmp_path):
    clips, identity = numbered_clips(tmp_path)

    def encode(motion, lengths):
        return motion[:, : motion.shape[1] // 4 * 4 : 4, :2].round().long() + 1000

    made = {f"trial {tokens}": [trial(tokens)] for tokens in range(6, 30)}
    trials = kept(made, "")
    captions = [caption.text for caption in clips.captions] + trials.captions_of_motions
    conditions = Conditions(torch.arange(len(captions)).float()[:, None])
    batches = CaptionedTokens(clips, tokenise(clips.clips, encode, identity, 4), conditions, batch_size=6)
    batches.add_(trials, 0.4)
    generated = total = 0
    for index in range(4 * batches.steps_per_epoch):
        batch = batches.batch(index)
        for codes, length, condition in zip(batch["codes"][..., 0], batch["lengths"].tolist(), batch["condition"][:, 0].tolist()):
            total += 1
            name = captions[int(condition)]
            if name.startswith("trial"):
                generated += 1
                tokens = int(name.split()[1])
                assert length in (tokens, tokens - 1)  # a third of the crops is one token shorter
                assert codes[:length].unique().tolist() == [tokens] and (codes[length:] == -1).all()
            else:
                assert codes[0] >= 1000
    assert generated / total == pytest.approx(0.4, abs=0.05)


def test_from_generation_to_training(tmp_path, monkeypatch, capsys):
    data, checkpoints = tmp_path / "data", tmp_path / "checkpoints"
    write_synthetic(data, clips=24)
    write_lamp(tiny.write_checkpoints(checkpoints), "open")
    flags = f"--dataset_name open --data_root {data} --checkpoints_dir {checkpoints} --gpu_id -1".split()
    command = [*flags, "--name", "base", "--res_name", "res", "--captions", "3", "--lengths", "4"]
    with pytest.raises(SystemExit) as ended:
        prepare.trials.main(command)  # random weights never show the facts of a clip
    assert ended.value.code == 2 and "train the masked transformer longer" in capsys.readouterr().err
    monkeypatch.setattr(prepare.trials, "alike", lambda *facts, counted: True)
    prepare.trials.main(command)
    path = checkpoints / "open" / "trials.safetensors"
    assert "12 of 12 motions follow their caption" in capsys.readouterr().out
    tensors, metadata = load_weights(path)
    longest = get_spec("open", data).max_motion // 4
    assert len(metadata["captions"]) == 3 and 6 <= tensors["tokens"].min() < tensors["tokens"].max() <= longest
    training = [*flags, "--vq_name", "vq", "--text_encoder", "sentence", "--max_iters", "2", "--batch_size", "4"]
    for stage, init in (("masked", ["--init", "base"]), ("length", [])):
        train_t2m_transformer.main([*training, "--stage", stage, "--name", f"tuned_{stage}", *init, "--trials", str(path)])
        assert "12 trials" in capsys.readouterr().out
