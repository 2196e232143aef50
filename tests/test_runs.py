"""Which run a script uses: named, the only one, downloaded, embedded; several and damaged ones are errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.runs import CAPTIONER, EMBEDDED_DIR, EVALUATOR, LAMP, MASKED, MissingRun, resolve, resolve_generator, runs_in
from utils.checkpoint import save_weights
from utils.errors import UserError


def write_run(root: Path, name: str, kind: str, dataset: str = "open", tag: str = "latest", **metadata) -> Path:
    path = root / dataset / name / "model" / f"{tag}.safetensors"
    save_weights(path, {"w": torch.zeros(1)}, {"kind": kind, "config": {}, **metadata})
    return path


def test_the_only_run_of_a_kind_is_used_and_others_do_not_count(tmp_path):
    write_run(tmp_path, "mine", "lamp")
    write_run(tmp_path, "masked", "masked")
    (tmp_path / "open" / "begun" / "model").mkdir(parents=True)
    (tmp_path / "open" / "begun" / "model" / "resume.previous.pt").touch()
    assert resolve(LAMP, tmp_path, "open").name == "mine"
    assert resolve(LAMP, tmp_path).dataset_name == "open"
    assert resolve(LAMP, tmp_path, "open", "masked").name == "masked"  # whether it fits is for the loader to say


@pytest.mark.parametrize("kind", [LAMP, CAPTIONER, MASKED], ids=lambda kind: kind.title)
def test_where_nothing_else_is_the_embedded_run_is_used(tmp_path, kind):
    run = resolve(kind, tmp_path)
    assert run.embedded and run.checkpoints_dir == EMBEDDED_DIR and "(embedded weights; --name selects others)" in str(run)
    write_run(tmp_path, "mine", kind.kinds[0])
    assert resolve(kind, tmp_path).name == "mine"
    assert resolve(kind, tmp_path, name="embedded") == run
    with pytest.raises(MissingRun, match=rf"no {kind.title} in .*kit; train one"):
        resolve(kind, tmp_path, "kit")


def test_several_runs_are_listed(tmp_path):
    write_run(tmp_path, "one", "lamp")
    write_run(tmp_path, "two", "lamp", "t2m")
    with pytest.raises(UserError, match=r"2 LaMP runs in .*\(t2m/two, open/one\); --lamp_name and --dataset_name select one"):
        resolve(LAMP, tmp_path)
    assert resolve(LAMP, tmp_path, "t2m").name == "two"
    with pytest.raises(MissingRun, match=r"no LaMP run 'three' in .*open; available: one"):
        resolve(LAMP, tmp_path, "open", "three")


def test_a_damaged_run_is_not_a_missing_one(tmp_path, capsys):
    write_run(tmp_path, "masked", "masked").write_bytes(b"damaged")
    path = write_run(tmp_path, "lamp", "lamp")
    assert resolve(LAMP, tmp_path, "open").name == "lamp"
    assert "warning: " in (stderr := capsys.readouterr().err) and "masked" in stderr
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="not a readable safetensors file") as error:
        resolve(LAMP, tmp_path, "open")
    assert not isinstance(error.value, MissingRun)


def test_a_damaged_download_is_not_a_missing_one(tmp_path):
    path = tmp_path / "t2m" / "lamp_t2m" / "model" / "latest.tar"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match=r"latest\.tar: not a readable checkpoint"):
        resolve(MASKED, tmp_path, "t2m")
    torch.save({"some": "thing"}, path)  # of another project
    with pytest.raises(MissingRun):
        resolve(MASKED, tmp_path, "t2m")


def test_a_damaged_best_file_beside_a_readable_one_tells_the_kind(tmp_path):
    write_run(tmp_path, "vq", "tokeniser")
    write_run(tmp_path, "vq", "tokeniser", tag="net_best_mpjpe").write_bytes(b"damaged")
    assert resolve(LAMP, tmp_path, "open").embedded  # a damaged tokeniser is no candidate for LaMP
    with pytest.raises(UserError, match="net_best_mpjpe"):
        runs_in(tmp_path, "open", ("tokeniser",))


def test_the_released_evaluator_comes_before_one_of_ours(tmp_path):
    write_run(tmp_path, "evaluator", "evaluator")
    write_run(tmp_path, "text_mot_match", "evaluator")
    assert resolve(EVALUATOR, tmp_path, "open").name == "text_mot_match"
    assert resolve(EVALUATOR, tmp_path, "open", "evaluator").name == "evaluator"


def test_a_path_names_a_run_too(tmp_path):
    path = write_run(tmp_path, "m2t", "caption_gpt")
    for name in (path, path.parent.parent):
        run = resolve(CAPTIONER, "elsewhere", None, str(name))
        assert (run.checkpoints_dir, run.dataset_name, run.name, run.weights()) == (tmp_path, "open", "m2t", path)


def test_results_of_an_embedded_run_are_not_written_into_the_project(tmp_path):
    run = resolve(LAMP, tmp_path)
    assert run.results(tmp_path) == tmp_path / "open" / "embedded_lamp" / "eval"
    write_run(tmp_path, "mine", "lamp")
    assert resolve(LAMP, tmp_path).results(tmp_path) == tmp_path / "open" / "mine" / "eval"


def test_companions_share_the_tokeniser(tmp_path):
    write_run(tmp_path, "masked", "masked", vq_name="vq", text_encoder="lamp", lamp_name="lamp")
    assert resolve_generator(tmp_path) == resolve_generator(tmp_path, res_name="", length_name="")
    assert resolve_generator(tmp_path).res_name == ""
    write_run(tmp_path, "other", "residual", vq_name="other", text_encoder="lamp", lamp_name="lamp")
    write_run(tmp_path, "res", "residual", vq_name="vq", text_encoder="lamp", lamp_name="lamp")
    write_run(tmp_path, "length", "length", vq_name="vq", text_encoder="sentence")
    runs = resolve_generator(tmp_path)
    assert (runs.masked.name, runs.res_name, runs.length_name) == ("masked", "res", "length")
    assert resolve_generator(tmp_path, name="masked").res_name == ""  # a run that is named takes what is named
    assert resolve_generator(tmp_path, res_name="other").res_name == "other"
    write_run(tmp_path, "res2", "residual", vq_name="vq", text_encoder="lamp", lamp_name="lamp")
    with pytest.raises(UserError, match=r"2 residual models .*\(res, res2\); --res_name selects one"):
        resolve_generator(tmp_path)


def test_a_model_that_fills_gaps_is_a_companion_and_no_candidate(tmp_path):
    write_run(tmp_path, "masked", "masked", vq_name="vq")
    write_run(tmp_path, "fill", "masked", vq_name="vq", config={"infill": 0.5})
    runs = resolve_generator(tmp_path)
    assert (runs.masked.name, runs.fill_name) == ("masked", "fill")
    assert resolve_generator(tmp_path, name="fill").masked.name == "fill"


def test_a_model_that_fills_gaps_generates_too_if_it_is_alone(tmp_path):
    write_run(tmp_path, "masked", "masked", vq_name="vq", config={"infill": 0.3})
    runs = resolve_generator(tmp_path)
    assert (runs.masked.name, runs.fill_name) == ("masked", "")


def test_the_embedded_models_find_each_other(tmp_path):
    runs = resolve_generator(tmp_path)
    assert runs.masked.embedded and runs.res_name and runs.length_name
