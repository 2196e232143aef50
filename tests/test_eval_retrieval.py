"""Retrieval as a user runs it: the report over a split, and the search in a dataset and in a folder of motions."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import eval_retrieval
from benchmarks.open_retrieval import action_and_mood, cmu_clips, fraction_correct
from data.store import MotionStore, Normaliser
from data.text import CaptionedClips
from evaluation.metrics.retrieval import PROTOCOLS, rank
from evaluation.retrieval import Gallery, one_caption_each, whole_clips
from motion.files.export import export
from motion.files.read import InputOptions, read_motion
from motion.skeleton import HUMANML3D
from motion.spec import get_spec
from pipelines import search
from pipelines.language_motion import LanguageMotion
from pipelines.search import open_index
from prepare.synthetic import write_synthetic
from tests.small_lamp import write_lamp


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> SimpleNamespace:
    """A dataset of 40 clips, 5 of them with the same caption, and an untrained LaMP."""
    root = tmp_path_factory.mktemp("retrieval")
    with redirect_stdout(io.StringIO()):
        write_synthetic(root / "data", clips=40, seed=0)
    names = (root / "data" / "all.txt").read_text().split()
    (root / "data" / "test.txt").write_text("\n".join(names[:36]))
    for name in names[:5]:
        (root / "data" / "texts" / f"{name}.txt").write_text(f"a person{' ' * (name == names[1])} walks#a/DET#0.0#0.0\n")
    write_lamp(root / "runs", "synthetic")
    folder_flags = ["--dataset_name", "synthetic", "--data_root", str(root / "data"), "--checkpoints_dir", str(root / "runs")]
    model = LanguageMotion.load(root / "runs", "synthetic")
    spec = get_spec("synthetic", root / "data")
    return SimpleNamespace(
        data=root / "data", folder=root / "runs" / "synthetic" / "lamp", flags=[*folder_flags, "--gpu_id", "-1"], names=names,
        model=model, spec=spec, clips=CaptionedClips(spec, "test", MotionStore(spec)),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def motions(run, tmp_path) -> Path:
    """Eight motions as features, joints or BVH, one of them long, and two files that hold none."""
    folder = tmp_path / "motions"
    (folder / "more").mkdir(parents=True)
    for name in run.names[:4]:
        shutil.copy(run.data / "new_joint_vecs" / f"{name}.npy", folder)
    shutil.copy(run.data / "new_joints" / f"{run.names[4]}.npy", folder / "more")
    for name in run.names[5:7]:
        export(folder / f"{name}.bvh", np.load(run.data / "new_joints" / f"{name}.npy"), "", 20)
    np.save(folder / "long.npy", np.concatenate([np.load(run.data / "new_joint_vecs" / f"{name}.npy") for name in run.names[:6]]))
    np.save(folder / "numbers.npy", np.arange(5))
    (folder / "broken.bvh").write_text("HIERARCHY")
    (folder / f"{run.names[0]}.txt").write_text("someone strolls\n")
    return folder


def output(argv: list[str], capsys) -> str:
    eval_retrieval.main(argv)
    return capsys.readouterr().out


# The report


def test_report_has_every_protocol_both_ways(run, capsys):
    printed = output(run.flags, capsys)
    results = json.loads((run.folder / "eval" / "retrieval.json").read_text())
    assert (run.folder / "eval" / "retrieval.log").read_text() == printed
    assert list(results["protocols"]) == list(PROTOCOLS)
    assert (results["split"], results["clips"], results["pool"], results["rerank"]) == ("test", 36, "max", 0)
    sizes = {name: (entry["galleries"], entry["clips"]) for name, entry in results["protocols"].items()}
    assert sizes == {"all": (1, 36), "threshold": (1, 36), "dissimilar": (1, results["captions"]), "batches": (1, 32)}
    for name, entry in results["protocols"].items():
        assert f"{name}: " in printed
        for direction in ("text_to_motion", "motion_to_text", "ceiling", "chance"):
            recalls = [entry[direction][f"R@{k}"] for k in (1, 2, 3, 5, 10)]
            assert recalls == sorted(recalls)
            assert all(0 <= recall <= 1 for recall in recalls)
            assert 1 <= entry[direction]["median_rank"] <= entry["clips"]
    whole, lenient = results["protocols"]["all"], results["protocols"]["threshold"]
    assert whole["chance"]["R@1"] == pytest.approx(1 / 36)
    assert whole["ceiling"]["R@1"] < 1
    assert lenient["ceiling"]["R@1"] == 1
    assert lenient["text_to_motion"]["R@1"] >= whole["text_to_motion"]["R@1"]
    assert "uncertain" in printed  # 36 clips are few


def test_flags_choose_protocols_pool_and_files(run, capsys):
    flags = ["--lamp_name", "lamp", "--protocol", "batches", "--pool", "mean", "--rerank", "3", "--ext", "x", "--table", "markdown"]
    printed = output([*run.flags, *flags], capsys)
    results = json.loads((run.folder / "eval" / "x.json").read_text())
    assert list(results["protocols"]) == ["batches"]
    assert "mean over a motion's queries, top 3 re-ranked by the matching head" in printed
    table = (run.folder / "eval" / "x.md").read_text()
    assert table in printed and "| batches, text to motion | lamp | " in table and "re-ranked by the matching head" in table


def test_caption_of_a_clip_is_the_first_or_as_asked_for(run):
    clip_captions = [[caption.text for caption in run.clips.captions_of(index)] for index in range(36)]
    assert {len(captions) for captions in clip_captions} == {1, 6}
    assert one_caption_each(run.clips) == [captions[0] for captions in clip_captions]
    assert one_caption_each(run.clips, 4) == [captions[min(3, len(captions) - 1)] for captions in clip_captions]
    drawn = [one_caption_each(run.clips, 0, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(caption in captions for caption, captions in zip(drawn[0], clip_captions))


def test_clips_are_whole_and_in_whole_tokens(run):
    clips = run.clips.clips
    cut = whole_clips(clips, 60, 4)
    assert cut.names == clips.names
    assert (cut.starts == clips.starts).all()
    assert (cut.lengths == np.minimum(clips.lengths, 60) // 4 * 4).all()


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_scores_are_lamps_similarity_of_each_pair(run, pool):
    gallery = Gallery.of_split(run.model, run.clips, pool)
    to_motion, to_text = gallery.scores(torch.arange(36))
    assert torch.equal(to_motion, to_text.T)
    normaliser = Normaliser(run.model.mean, run.model.std)
    for index in (0, 7, 35):
        motion = torch.from_numpy(normaliser.normalise(gallery.clips[index]))[None]
        feature = run.model.motion_features(motion, torch.tensor([len(motion[0])]))
        texts = run.model.embed_texts([run.clips.captions_of(clip)[0].text for clip in range(36)])
        assert torch.allclose(to_text[index], run.model.lamp.similarity(feature, texts, pool)[0], atol=1e-5)


def test_equal_captions_tie_to_the_last_bit(run):
    gallery = Gallery.of_split(run.model, run.clips)
    to_motion, to_text = gallery.scores(torch.arange(36))
    assert gallery.captions[:5] == ["a person walks"] * 5  # case and spaces do not count
    assert (to_text[:, :5] == to_text[:, :1]).all()
    assert (to_motion[:5] == to_motion[:1]).all()
    assert (rank(to_text).tied[:5] == 5).all()


def test_reranking_everything_is_the_matching_head_alone(run):
    gallery = Gallery.of_split(run.model, run.clips)
    normaliser = Normaliser(run.model.mean, run.model.std)
    odds = torch.empty(36, len(gallery.texts))
    for index in range(36):
        motion = torch.from_numpy(normaliser.normalise(gallery.clips[index])).expand(len(gallery.texts), -1, -1)
        odds[index] = run.model.match(gallery.texts, motion, torch.full((len(motion),), motion.shape[1]))
    odds = odds[:, gallery.which].double()
    for scores, expected in zip(gallery.scores(torch.arange(36), rerank=100), (odds.T, odds)):
        assert torch.allclose(scores, expected, atol=1e-4)


def test_reranking_keeps_the_most_similar_captions_first(run):
    """The three most similar captions of each motion stay the first three; a caption shared by many clips counts once."""
    gallery = Gallery.of_split(run.model, run.clips)
    positions = torch.arange(0, 36, 2)
    texts = gallery.which[positions]
    plain, reranked = (gallery.scores(positions, rerank)[1] for rerank in (0, 3))
    for before, after in zip(plain, reranked):
        if len(set(texts[before >= before.unique()[-3]].tolist())) > 3:
            continue  # two captions of equal token ids: either may be among the first three
        assert set(texts[before >= before.unique()[-3]].tolist()) == set(texts[after >= after.unique()[-3]].tolist())
        rest = before < before.unique()[-3]
        assert torch.equal(before[rest].argsort(stable=True), after[rest].argsort(stable=True))


# The search


def test_search_finds_the_nearest_motions(run, motions, capsys):
    argv = [*run.flags, "--query", "a person bows", "--motions", str(motions), "--top", "4"]
    eval_retrieval.main(argv)
    printed, error = capsys.readouterr()
    assert re.search(r"skipped 2 of 10 files: .*broken\.bvh.*numbers\.npy", error)
    index = open_index(run.model, run.spec, motions)
    scores = run.model.lamp.similarity(index.features.float(), run.model.embed_texts(["a person bows"]))[:, 0]
    lines = printed.splitlines()[1:]
    assert len(lines) == 4
    for position, (line, best) in enumerate(zip(lines, scores.sort(descending=True).values), start=1):
        assert line.split()[0] == str(position)
        assert float(line.split()[1]) == pytest.approx(best.item(), abs=2e-3)
        assert Path(line.split()[2]).is_file()


def test_long_motion_is_searched_in_pieces(run, motions, capsys):
    index = open_index(run.model, run.spec, motions)
    capsys.readouterr()
    frames = len(np.load(motions / "long.npy"))
    is_long = index.owners == index.files.index(motions / "long.npy")
    assert is_long.sum() > 1
    assert index.starts[is_long].tolist() == list(range(0, frames - 23, 196))
    assert (index.lengths[is_long][:-1] == 196).all()
    hits = index.search(run.model.embed_texts(["a person bows"])[0], top=99)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(hits) == len(index.lengths)
    for hit in hits:
        assert hit.whole == (hit.file.name != "long.npy")
        assert 0 <= hit.start < hit.end


def test_features_joints_and_bvh_of_a_motion_are_found_alike(run, tmp_path):
    """A BVH file and joints contain the same motion as the features, except for rounding and the last frame."""
    name = run.names[8]
    kinds = ("features", "joints", "bvh")
    for folder in kinds:
        (tmp_path / folder).mkdir()
    shutil.copy(run.data / "new_joint_vecs" / f"{name}.npy", tmp_path / "features")
    shutil.copy(run.data / "new_joints" / f"{name}.npy", tmp_path / "joints")
    export(tmp_path / "bvh" / f"{name}.bvh", np.load(run.data / "new_joints" / f"{name}.npy"), "", 20)
    truth, *alternatives = (open_index(run.model, run.spec, tmp_path / folder).features.float() for folder in kinds)
    for features in alternatives:
        assert torch.nn.functional.cosine_similarity(features, truth, dim=-1).min() > 0.98


def test_a_joint_map_names_the_joints_of_the_motions_searched(run, tmp_path, capsys):
    export(tmp_path / "known" / "walk.bvh", np.load(run.data / "new_joints" / f"{run.names[8]}.npy"), "", 20)
    (tmp_path / "unknown").mkdir()
    content = (tmp_path / "known" / "walk.bvh").read_text()
    (tmp_path / "unknown" / "walk.bvh").write_text(re.sub(r"(ROOT|JOINT) (\S+)", r"\1 no_\2_name", content))
    joint_map = tmp_path / "map.json"
    joint_map.write_text(json.dumps({bone: f"no_{bone}_name" for bone in HUMANML3D.bones}))
    flags = [*run.flags, "--query", "a person walks", "--motions", str(tmp_path / "unknown"), "--ext", "found", "--formats", "npy"]
    with pytest.raises(SystemExit):
        eval_retrieval.main(flags)
    assert "--joint_map" in capsys.readouterr().err
    printed = output([*flags, "--joint_map", str(joint_map), "--output_dir", str(tmp_path)], capsys)
    assert "best matches of 1 motions" in printed and (tmp_path / "found" / "1_walk.npy").is_file()
    mapped = open_index(run.model, run.spec, tmp_path / "unknown", InputOptions(joint_map=joint_map))
    plain = open_index(run.model, run.spec, tmp_path / "known")
    assert torch.equal(mapped.features, plain.features)


def test_a_search_takes_the_flags_of_motion_files(run, tmp_path, capsys):
    joints = np.load(run.data / "new_joints" / f"{run.names[8]}.npy")[:60]
    (tmp_path / "odd").mkdir()
    turned = np.stack((joints[..., 0], -joints[..., 2], joints[..., 1]), axis=-1) / 0.0254  # inches, Z up
    np.save(tmp_path / "odd" / "walk.npy", np.concatenate((turned[:5], turned)).astype(np.float32))
    flags = [*run.flags, "--query", "a person walks", "--motions", str(tmp_path / "odd"), "--output_dir", str(tmp_path)]
    read = "--input_unit in --input_up z --input_fps 10 --skip_frames 5"
    written = "--formats npy bvh --ext found --fps 30 --unit m --up z --bone_names plain"
    assert "best matches of 1 motions" in output([*flags, *read.split(), *written.split()], capsys)
    np.testing.assert_allclose(np.load(tmp_path / "found" / "1_walk.npy"), joints[:59], atol=1e-5)  # whole tokens
    bvh = (tmp_path / "found" / "1_walk.bvh").read_text()
    assert "Frames: 175" in bvh and "ROOT pelvis" in bvh and "Frame Time: 0.0333" in bvh
    written = read_motion(tmp_path / "found" / "1_walk.bvh", InputOptions(unit="m"))
    assert written.up == "z" and np.abs(written.joints[::3] - joints[:59]).max() < 0.03


def test_index_is_kept_and_made_again_when_files_change(run, motions, cache, capsys):
    def index_file() -> Path:
        (path,) = cache.rglob("lamp_*.safetensors")
        return path

    first = open_index(run.model, run.spec, motions)
    written = index_file().stat().st_mtime_ns
    again = open_index(run.model, run.spec, Path(os.path.relpath(motions)))  # the same folder, named in another way
    assert index_file().stat().st_mtime_ns == written
    assert torch.equal(first.features, again.features)
    assert first.features.dtype == torch.float16
    (motions / f"{run.names[0]}.npy").unlink()
    assert len(open_index(run.model, run.spec, motions).files) == len(first.files) - 1
    index_file().write_bytes(b"not an index")
    assert len(open_index(run.model, run.spec, motions).files) == len(first.files) - 1
    assert "skipped 2 of 9 files" in capsys.readouterr().err


def test_an_interrupted_index_goes_on_where_it_was(run, tmp_path, cache, monkeypatch, capsys):
    (tmp_path / "many").mkdir()
    for name in run.names[:9]:
        shutil.copy(run.data / "new_joint_vecs" / f"{name}.npy", tmp_path / "many")
    (tmp_path / "many" / "A.npy").write_bytes(b"no motion")
    whole = open_index(run.model, run.spec, tmp_path / "many")
    shutil.rmtree(cache)
    embedded, embed = [], search.embed

    def counted(model, spec, motions, number):
        embedded.append(len(motions))
        if len(embedded) == 4:
            raise KeyboardInterrupt
        return embed(model, spec, motions, number)

    monkeypatch.setattr(search, "embed", counted)
    monkeypatch.setattr(search, "READ_AT_ONCE", 2)
    monkeypatch.setattr(search, "SAVE_EVERY", 2)
    with pytest.raises(KeyboardInterrupt):
        open_index(run.model, run.spec, tmp_path / "many")
    capsys.readouterr()
    index = open_index(run.model, run.spec, tmp_path / "many")
    assert embedded == [1, 2, 2, 2, 2, 2, 2]  # the third block was not written down
    assert "skipped 1 of 10 files" in capsys.readouterr().err
    assert index.files == whole.files and torch.equal(index.owners, whole.owners)
    torch.testing.assert_close(index.features, whole.features, atol=2e-3, rtol=0)
    assert not list(cache.rglob("*.partial.*"))


def test_nothing_is_written_into_a_folder_of_motions(run, motions, tmp_path, cache, capsys):
    before = sorted(motions.rglob("*"))
    open_index(run.model, run.spec, motions)
    assert sorted(motions.rglob("*")) == before
    (path,) = cache.rglob("lamp_*.safetensors")
    assert f"note: the index is saved in {path}" in capsys.readouterr().err
    open_index(run.model, replace(run.spec, cache_dir=tmp_path / "mine"), motions)
    assert len(list((tmp_path / "mine").rglob("lamp_*.safetensors"))) == 1


def test_dataset_is_searched_with_its_captions(run, tmp_path, capsys):
    argv = [*run.flags, "--query", "a person walks", "--top", "40"]
    lines = output(argv, capsys).splitlines()[1:]
    assert len(lines) == 40
    assert sum(line.endswith("a person walks") for line in lines) == 4
    folder = [*run.flags, "--query", "a person walks", "--top", "40", "--motions", str(run.data)]
    assert output(folder, capsys).splitlines()[1:] == lines


def test_without_a_run_the_embedded_lamp_searches(run, motions, tmp_path, capsys):
    words = ["--query", "a person walks", "--motions", str(motions), "--checkpoints_dir", str(tmp_path / "none"), "--gpu_id", "-1"]
    eval_retrieval.main([*words, "--top", "3"])
    written = capsys.readouterr()
    assert "(embedded weights" in written.err and len(written.out.splitlines()) == 4


def test_found_motions_are_written(run, motions, tmp_path, capsys):
    argv = [*run.flags, "--query", "a person walks", "--motions", str(motions), "--top", "2", "--formats", "html", "npy", "bvh"]
    printed = output([*argv, "--output_dir", str(tmp_path / "out"), "--ext", "walks"], capsys)
    written = sorted(path.name for path in (tmp_path / "out" / "walks").iterdir())
    assert len(written) == 5
    assert "found.html" in written
    page = (tmp_path / "out" / "walks" / "found.html").read_text(encoding="utf-8")
    assert "a person walks" in page
    for line in printed.splitlines()[1:3]:
        position, _, file = line.split()[:3]
        joints = np.load(tmp_path / "out" / "walks" / f"{position}_{Path(file).stem}.npy")
        assert joints.shape[1:] == (22, 3)


# Names that say action and mood


def test_actions_and_moods_are_read_from_names():
    assert action_and_mood("B2_walk-turn-left_normal_017") == ("walk-turn-left", "normal")
    assert action_and_mood("MB2_walk-turn-left_elderly_017") == ("walk-turn-right", "elderly")
    assert action_and_mood("MB1_walk_old_001b") == ("walk", "elderly")  # one mood, named in two ways
    assert action_and_mood("000327") is None


def test_only_listed_clips_count_as_cmu_clips_with_human_captions(tmp_path):
    names = ["B1_walk_old_001", "000327", "my_dance", "M000327"]  # a user's own motions are in `test`, too
    assert cmu_clips(names, tmp_path) == []
    (tmp_path / "test_cmu.txt").write_text("000327\nM000327\n")
    assert cmu_clips(names, tmp_path) == [1, 3]


def test_best_captions_that_tie_share_the_answer():
    scores = torch.tensor([[0.9, 0.9, 0.1], [0.2, 0.1, 0.3], [0.5, 0.4, 0.5]])
    assert fraction_correct(scores, ["walk", "run", "walk"], [True, True, False]).tolist() == [0.5, 0]
    assert fraction_correct(scores, ["walk", None, "walk"], [True, False, True]).tolist() == [0.5, 1]


# Bad input


def test_bad_input_is_turned_down(run, motions, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "words").mkdir()
    np.save(tmp_path / "words" / "a.npy", np.zeros(3))
    query = ["--query", "a person bows"]
    for argv, words in (
        ([*run.flags, "--name", "nobody"], "no LaMP run 'nobody'"),
        ([*run.flags, "--name", "vq"], "lamp is needed"),
        ([*run.flags, "--which_epoch", "net_best_fid"], "net_best_r1"),
        ([*run.flags, "--split", "tset"], "test"),
        ([*run.flags, "--ext", "../x"], "--ext '../x'"),
        ([*run.flags, "--rerank", "-1"], "--rerank -1"),
        ([*run.flags, "--caption", "-1"], "--caption -1"),
        ([*run.flags, *query, "--top", "0"], "--top 0"),
        ([*run.flags, *query, "--table", "csv"], "--table csv"),
        ([*run.flags, "--query", "  "], "--query is missing"),
        ([*run.flags, "--motions", str(motions)], "--query is missing"),
        ([*run.flags, *query, "--motions", str(tmp_path / "nowhere")], "no such folder"),
        ([*run.flags, *query, "--motions", str(empty)], "no .npy, .npz, .bvh, .amc, .glb or .gltf file"),
        ([*run.flags, *query, "--motions", str(tmp_path / "words")], "none of its files"),
    ):
        with pytest.raises(SystemExit) as end:
            eval_retrieval.main(argv)
        assert end.value.code == 2
        error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(error) == 1
        assert words in error[0]
    assert not list((tmp_path / "words").glob("lamp_*"))
