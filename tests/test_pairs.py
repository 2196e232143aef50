"""Batches for language-motion pretraining: latents, codes and captions that belong together, cached latents, no clip twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.encoded import cached_tokens
from data.pairs import CaptionedLatents, cached_latents
from tests.numbered import numbered_clips
from utils.errors import UserError

STRIDE = 4


def latent(motion, lengths):
    """Latents (B, L, 3) that contain the token's first frame, its clip, and 0.5."""
    tokens = motion[:, : motion.shape[1] // STRIDE * STRIDE : STRIDE, :3].clone()
    tokens[..., 2] = 0.5
    return tokens


def code(motion, lengths):
    """Codes (B, L, 2) whose two layers are the token's clip and its frame."""
    return latent(motion, lengths)[..., [1, 0]].long()


@pytest.fixture
def clips(tmp_path):
    return numbered_clips(tmp_path)


def pairs(clips, **options) -> CaptionedLatents:
    """A clip's captions have the ids [number + 1, 7] and [number + 1, 7, 7]."""
    captioned, normaliser = clips
    known = (captioned.clips, normaliser, STRIDE, "weights")
    store = cached_tokens(known[0], code, *known[1:])
    latents = cached_latents(known[0], latent, *known[1:])
    ids = [[int(caption.text.split()[1]) + 1, *([7] * (1 + caption.text.endswith("again")))] for caption in captioned.captions]
    return CaptionedLatents(captioned, store, latents, ids, **{"batch_size": 5, "seed": 1, **options})


def clips_of(batch) -> list[int]:
    return batch["latents"][:, 0, 1].long().tolist()


def test_latents_codes_and_captions_of_a_sample_belong_together(clips):
    data = pairs(clips)
    for index in range(40):
        batch = data.batch(index)
        valid = torch.arange(batch["latents"].shape[1]) < batch["lengths"][:, None]
        clip = batch["latents"][:, 0, 1]
        assert batch["latents"].dtype == torch.float32
        assert batch["latents"].shape == (5, int(batch["lengths"].max()), 3)
        assert (batch["latents"][~valid] == 0).all()
        assert (batch["codes"][~valid] == -1).all()
        assert torch.equal(batch["codes"][valid], clip[:, None].expand_as(valid)[valid].long())
        assert (batch["latents"][valid][:, 2] == 0.5).all()
        frames = batch["latents"][..., 0]
        assert (frames[:, 1:] - frames[:, :-1] == STRIDE)[valid[:, 1:]].all()
        assert torch.equal(batch["ids"][:, 0], clip.long() + 1)
        text_valid = torch.arange(batch["ids"].shape[1]) < batch["text_lengths"][:, None]
        assert torch.equal(batch["ids"] != 0, text_valid)
        assert batch["ids"].shape[1] == batch["text_lengths"].max()


def test_equal_captions_have_equal_numbers_and_others_do_not(clips):
    captioned, _ = clips
    data = pairs(clips)
    same = CaptionedLatents(captioned, data.store, data.latents, [[1, 2], [1, 3]] * len(captioned), batch_size=5)
    for index in range(10):
        batch = same.batch(index)
        assert torch.equal(batch["caption"][:, None] == batch["caption"], batch["ids"][:, None, 1] == batch["ids"][:, 1])
    assert data.numbers.unique().numel() == len(captioned.captions)


def test_a_batch_is_a_function_of_its_index(clips):
    first, second = pairs(clips), pairs(clips)
    second.batch(3)
    for index in (0, 17):
        a, b = first.batch(index), second.batch(index)
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(first.batch(0)["latents"], pairs(clips, seed=2).batch(0)["latents"])


@pytest.mark.parametrize("size", [3, 5, 7, 11, 13, 23, 24])
def test_an_epoch_holds_every_clip_and_a_batch_none_twice(clips, size):
    data = pairs(clips, batch_size=size)
    for epoch in range(3):
        steps = [clips_of(data.batch(epoch * data.steps_per_epoch + step)) for step in range(data.steps_per_epoch)]
        assert all(len(set(step)) == size for step in steps)
        assert set().union(*steps) == set(range(24))


def test_processes_share_a_step_without_meeting(clips):
    ranks = [pairs(clips, batch_size=7, rank=rank, world=2) for rank in range(2)]
    for step in range(ranks[0].steps_per_epoch):
        assert len(set(clips_of(ranks[0].batch(step)) + clips_of(ranks[1].batch(step)))) == 14


def test_ids_of_captions_can_be_compared_across_processes(clips):
    ranks = [pairs(clips, rank=rank, world=2) for rank in range(2)]
    for index in range(4):
        first, second = (data.batch(index)["caption"] for data in ranks)
        assert not (first[:, None] == second).any()  # the processes share no clip, and clips share no caption
    captioned, _ = clips
    captioned.captions[:] = [replace(caption, text="clip 0") for caption in captioned.captions]
    first, second = (pairs(clips, rank=rank, world=2).batch(0)["caption"] for rank in range(2))
    assert (first[:, None] == second).all()


def test_captions_of_like_length_share_a_batch(clips):
    data = pairs(clips)
    mixed = sum(len(data.batch(step)["text_lengths"].unique()) > 1 for step in range(data.steps_per_epoch))
    assert mixed <= 1


def test_fewer_clips_than_a_batch_are_refused(clips):
    with pytest.raises(UserError, match="--batch_size 25"):
        pairs(clips, batch_size=25)
    with pytest.raises(UserError, match="only 24"):
        pairs(clips, batch_size=13, world=2)


def test_latents_are_computed_once_and_mapped(clips):
    captioned, normaliser = clips
    calls = []

    def counted(motion, lengths):
        calls.append(len(motion))
        return latent(motion, lengths)

    known = (captioned.clips, counted, normaliser, STRIDE)
    first = cached_latents(*known, "weights")
    again = cached_latents(*known, "weights")
    assert sum(calls) == STRIDE * 24
    assert isinstance(again, np.memmap)
    assert first.dtype == np.float16
    assert np.array_equal(first, again)
    cached_latents(*known, "other weights")
    assert sum(calls) == 2 * STRIDE * 24


def test_a_damaged_cache_is_made_again(clips, tmp_path, capsys):
    captioned, normaliser = clips
    whole = np.array(cached_latents(captioned.clips, latent, normaliser, STRIDE, "weights"))
    (file,) = tmp_path.glob("latents_*.npy")
    file.write_bytes(file.read_bytes()[:-100])
    assert np.array_equal(cached_latents(captioned.clips, latent, normaliser, STRIDE, "weights"), whole)
    assert "rebuilt" in capsys.readouterr().err


def test_nothing_is_left_of_an_interrupted_cache(clips, tmp_path):
    captioned, normaliser = clips

    def broken(motion, lengths):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_latents(captioned.clips, broken, normaliser, STRIDE, "weights")
    assert not list(tmp_path.glob("*latents_*"))
