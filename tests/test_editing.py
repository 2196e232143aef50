"""Editing tokens and features: given tokens stay, unedited frames stay, long motions go through windows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.layers import valid_mask
from models.masked import MaskedConfig, MaskedTransformer
from pipelines.editing import edit, spans_of, windows_around
from pipelines.sampling import SamplingSettings
from pipelines.seams import CONTEXT, FADE
from tests.decoded import decoded
from tests.tiny import CODES, SMALL, pipeline, walking

LENGTHS = torch.tensor([9, 4, 7])
OPTIONS = SamplingSettings(time_steps=3, topkr=0.0, seed=5)


def some_codes(*shape: int) -> torch.Tensor:
    return torch.randint(16, shape, generator=torch.Generator().manual_seed(0))


# -------------------------------------------------------------------------------------------------------- given tokens


@pytest.mark.parametrize("attention", ["causal", "full", "additive"])
def test_given_tokens_never_change_and_the_schedule_counts_the_wanted_ones(attention):
    torch.manual_seed(0)
    model = MaskedTransformer(MaskedConfig(attention=attention, cond_dim=12, **CODES, **SMALL)).double().eval()
    codes, wanted = some_codes(3, 9), torch.zeros(3, 9, dtype=torch.bool)
    wanted[0, 2:7], wanted[2, [0, 6]] = True, True  # nothing is wanted of the middle row
    condition = torch.randn(3, 12, dtype=torch.double)
    steps = list(decoded(model, condition, LENGTHS, codes.masked_fill(wanted, -1), time_steps=4, topkr=0.0))
    assert torch.equal(steps[0].ids_in == model.mask_id, wanted)
    for step in steps:
        fixed = valid_mask(LENGTHS, 9) & ~wanted
        assert torch.equal(step.ids_in[fixed], codes[fixed]) and torch.equal(step.ids[fixed], codes[fixed])
    assert [int((step.ids_in[0] == model.mask_id).sum()) for step in steps] == [5, 4, 3, 1]  # 5 cos(π t / 2), but at least 1
    assert all(not ((b.ids_in == model.mask_id) & (a.ids_in != model.mask_id)).any() for a, b in pairwise(steps))
    final = model.generate(condition, LENGTHS, codes.masked_fill(wanted, -1), time_steps=4, topkr=0.0)
    assert torch.equal(final >= 0, valid_mask(LENGTHS, 9)) and torch.equal(final[1, :4], codes[1, :4])


def test_given_tokens_stay_on_all_layers_and_do_not_depend_on_the_batch():
    model, codes = pipeline(), some_codes(3, 9, 3)
    codes[:, 1, 2] = -1  # an upper layer that adds nothing
    wanted = torch.zeros(3, 9, dtype=torch.bool)
    wanted[0, 2:7], wanted[1, 3], wanted[2, :4] = True, True, True
    given_codes, condition = codes.masked_fill(wanted[..., None], -1), model.encoder(["walks", "bows", "runs"])
    drawn = model.draw(condition, LENGTHS, given_codes, sampling=OPTIONS)
    fixed = valid_mask(LENGTHS, 9) & ~wanted
    assert torch.equal(drawn[fixed], codes[fixed])
    assert (drawn[..., 0][wanted] >= 0).all() and (drawn[~valid_mask(LENGTHS, 9)] == -1).all()
    for row, size in enumerate(LENGTHS.tolist()):
        rows = slice(row, row + 1)
        alone = model.draw(condition[rows], LENGTHS[rows], given_codes[rows, :size], first_sample=row, sampling=OPTIONS)
        assert torch.equal(alone[0], drawn[row, :size])


# --------------------------------------------------------------------------------------------------------------- edits


def test_an_edit_leaves_the_tokens_and_frames_outside_as_they_were():
    model, source = pipeline(), walking(62)  # 15 tokens and two frames
    edited = edit(model, source, [(16, 24), (40, 44)], "a person waves", longest=49, sampling=OPTIONS)
    codes = model.tokeniser.encode(((source.double() - model.mean) / model.std)[None])
    outside = torch.tensor([token not in (4, 5, 10) for token in range(15)])
    assert torch.equal(edited.codes[:, outside], codes[:, outside])
    assert not torch.equal(edited.codes[:, ~outside], codes[:, ~outside])

    frames, features = torch.arange(62), edited.features[0]
    near = [(frames >= start - FADE) & (frames < stop + FADE) for start, stop in ((16, 24), (40, 44))]
    kept = ~(near[0] | near[1])
    assert features.shape == (62, 263)
    assert torch.equal(features[kept], source[kept].double())
    assert (edited.weight[kept] == 0).all() and (edited.weight > 0).sum() == (~kept).sum()
    assert (edited.weight == 1).nonzero()[:, 0].tolist() == [*range(16, 24), *range(40, 44)]
    assert (features[16:24] - source[16:24]).abs().max() > 0.01


def test_a_long_section_is_what_its_tokens_decode_to():
    model, source = pipeline(), walking(80)
    edited = edit(model, source, [(16, 64)], "a person waves", longest=49, sampling=OPTIONS)
    decoded, _ = model.features(edited.codes, torch.tensor([20]))
    torch.testing.assert_close(edited.features[:, 16 + FADE : 64 - FADE], decoded[:, 16 + FADE : 64 - FADE])


def test_frames_are_added_before_and_after():
    model, source = pipeline(), walking(40)
    edited = edit(model, source, [], "a person walks", before=12, after=20, longest=49, sampling=OPTIONS)
    codes = model.tokeniser.encode(((source.double() - model.mean) / model.std)[None])
    assert edited.features.shape == (1, 72, 263)
    assert torch.equal(edited.codes[:, 3:13], codes)
    assert torch.equal(edited.features[0, 12 + FADE : 52 - FADE], source[FADE:-FADE].double())
    assert (edited.codes[..., 0] >= 0).all()


def test_takes_differ_and_are_the_same_in_any_batch():
    model, source = pipeline(), walking()
    takes = edit(model, source, [(20, 40)], "a person waves", takes=3, longest=49, first_sample=4, sampling=OPTIONS)
    assert not torch.equal(takes.codes[0], takes.codes[1])
    alone = edit(model, source, [(20, 40)], "a person waves", longest=49, first_sample=6, sampling=OPTIONS)
    assert torch.equal(alone.codes[0], takes.codes[2])
    torch.testing.assert_close(alone.features[0], takes.features[2])


def test_without_text_the_condition_is_that_of_training_without_text():
    model, source = pipeline(), walking()
    silent = edit(model, source, [(12, 48)], longest=49, sampling=OPTIONS)
    unguided = replace(OPTIONS, cond_scale=0, res_cond_scale=0)
    unguided = edit(model, source, [(12, 48)], "a person bows", longest=49, sampling=unguided)
    guided = edit(model, source, [(12, 48)], "a person bows", longest=49, sampling=OPTIONS)
    assert torch.equal(silent.codes, unguided.codes)
    assert not torch.equal(silent.codes, guided.codes)


def test_base_tokens_alone_can_be_edited():
    edited = edit(pipeline(residual=None), walking(), [(20, 40)], longest=49, sampling=OPTIONS)
    assert (edited.codes[:, 5:10, 1:] == -1).all() and (edited.codes[:, :5] >= 0).all()
    assert edited.features.isfinite().all()


def test_a_motion_longer_than_the_transformers_see_is_edited_through_windows(monkeypatch):
    model, source, seen = pipeline(), walking(400), []
    draw = model.draw
    monkeypatch.setattr(model, "draw", lambda *args, **options: seen.append(args[2]) or draw(*args, **options))
    edited = edit(model, source, [(100, 260), (380, 400)], "a person waves", longest=20, sampling=OPTIONS)
    codes = model.tokeniser.encode(((source.double() - model.mean) / model.std)[None])
    outside = torch.tensor([not (25 <= token < 65 or token >= 95) for token in range(100)])
    assert torch.equal(edited.codes[:, outside], codes[:, outside])
    assert (edited.codes[..., 0] >= 0).all() and edited.features.shape == (1, 400, 263)
    assert len(seen) == 4 and all(window.shape[1] <= 20 for window in seen)
    assert all((window[0, :, 0] >= 0).sum() >= CONTEXT for window in seen)


@given(st.lists(st.booleans(), min_size=1, max_size=150).filter(any), st.integers(2 * CONTEXT + 1, 60), st.booleans())
def test_windows_fill_everything_and_see_no_other_holes(wanted, longest, prompted):
    spans, holes = spans_of(wanted, longest), list(wanted)
    windows = windows_around(spans, len(wanted), longest, CONTEXT if prompted else longest)
    assert len(windows) == (1 if len(wanted) <= (CONTEXT if prompted else longest) else len(spans))
    for number, (start, stop) in enumerate(windows):
        assert 0 <= start < stop <= len(wanted) and stop - start <= longest
        if len(windows) == len(spans) > 1:
            first, last = spans[number]
            assert start <= first and last <= stop and not any(holes[start:first] + holes[last:stop])
            assert first - start >= min(CONTEXT, first, longest - (last - first))
            assert not prompted or (first - start <= CONTEXT and stop - last <= CONTEXT)
        holes[start:stop] = [False] * (stop - start)
    assert not any(holes)
