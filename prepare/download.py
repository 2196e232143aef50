"""Download released weights, evaluators and word vectors to the folders where the scripts look for them.

    bash prepare/download_models.sh        # LaMP's and MoMask's models, CLIP's text encoder → checkpoints/
    bash prepare/download_evaluator.sh     # the matching evaluator → checkpoints/
    bash prepare/download_glove.sh         # its word vectors → glove/

`--kit`: KIT-ML's as well. Existing files are never overwritten; interrupted downloads resume. Each file's size, integrity and
content are checked before it is put in place.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

if not __package__:
    raise SystemExit("error: started by its path; run: python -m prepare.download")

from motion.spec import RELEASED_EVALUATOR
from options.cli import parse
from options.prepare import Download
from prepare.fetch import fetch
from utils.archives import DAMAGE, Limits, check_zip
from utils.errors import UserError, script

LAMP = "https://virutalbuy-public.oss-cn-hangzhou.aliyuncs.com/share/aigc3d/lamp/"
DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
RVQ = "rvq_nq6_dc512_nc512_noshare_qdp0.2"
RELEASES = Limits(size=8 << 30)
WASTE = ("__MACOSX", ".DS_Store")


@dataclass(frozen=True)
class Weights:
    """A checkpoint file, which gets its own folder."""

    url: str
    place: Path  # <checkpoints_dir>/<dataset_name>/<name>
    kind: str
    opt: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Archive:
    """A .zip of folders to extract to `place`; `holds` is the path and kind of one of its files, for the check."""

    url: str
    place: Path
    holds: str
    kind: str | None


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(Download, argv)
    root = Path(config.checkpoints_dir)
    for item in wanted(config, root):
        get_weights(item, root) if isinstance(item, Weights) else get_archive(item, root)
    if config.what == "models":
        get_clip(root)
        for dataset in ("t2m", "kit")[: 1 + config.kit]:
            share_statistics(root / dataset)


def wanted(config: Download, root: Path) -> list[Weights | Archive]:
    """The list of downloads; with --kit for both datasets."""
    t2m, kit = root / "t2m", root / "kit"
    lists = {
        "models": (
            [
                Archive(f"{DRIVE}1dtKP2xBk-UjG9o16MVfBJDmGNSI56Dch", t2m, f"{RVQ}/model/net_best_fid.tar", "tokeniser"),
                Weights(f"{LAMP}vq.tar", t2m / "lamp_vq", "tokeniser"),
                Weights(f"{LAMP}h3d-qformer.tar", t2m / "lamp", "lamp"),
                Weights(f"{LAMP}t2m.tar", t2m / "lamp_t2m", "masked", {"vq_name": "lamp_vq", "n_heads": 8}),
            ],
            [
                Archive(f"{DRIVE}1MNMdUdn5QoO8UW1iwTcZ0QNaLSH4A6G9", kit, f"{RVQ}_k/model/net_best_fid.tar", "tokeniser"),
                Weights(f"{LAMP}kit-qformer.tar", kit / "lamp", "lamp"),
            ],
        ),
        "evaluator": (
            [Archive(f"{DRIVE}1oLhSH7zTlYkQdUWPv3-v4opigB7pXkFk", t2m, f"{RELEASED_EVALUATOR}/model/finest.tar", "evaluator")],
            [Archive(f"{DRIVE}115n1ijntyKDDIZZEuA_aBgffyplNE5az", kit, f"{RELEASED_EVALUATOR}/model/finest.tar", "evaluator")],
        ),
        "glove": ([Archive(f"{DRIVE}1cmXKUT31pqd7_XpJAiWEo1K81TMYHA5n", Path(config.glove), "our_vab_data.npy", None)], []),
    }
    usual, kits = lists[config.what]
    return usual + kits * config.kit


def get_weights(item: Weights, root: Path) -> None:
    """Download a weights file. Raises `UserError` if this fails, or if the content is wrong."""
    target = item.place / "model" / "latest.tar"
    if (item.place / "model").exists():
        return print(f"{item.place}: there already")
    came = root / ".download" / item.url.rpartition("/")[2]
    if not came.is_file():
        fetch(item.url, came)
    if why := damage(came) or misfit(came, item.kind):
        reject(came, why)
    target.parent.mkdir(parents=True, exist_ok=True)
    if item.opt and not (item.place / "opt.txt").exists():
        (item.place / "opt.txt").write_text("".join(f"{key}: {value}\n" for key, value in item.opt.items()), encoding="utf-8")
    came.rename(target)
    print(f"{item.place}: ready")


def get_archive(item: Archive, root: Path) -> None:
    """Download and extract an archive. Raises `UserError` if this fails, or if the archive is damaged or incomplete."""
    if (item.place / item.holds).exists():
        return print(f"{item.place / item.holds}: there already")
    came = root / ".download" / f"{item.url.rpartition('=')[2]}.zip"
    if not came.is_file():
        fetch(item.url, came)
    if why := damage(came) if zipfile.is_zipfile(came) else "is no .zip archive":
        reject(came, why)
    unpacked = came.with_suffix("")
    shutil.rmtree(unpacked, ignore_errors=True)  # of an earlier try
    with zipfile.ZipFile(came) as archive:
        archive.extractall(unpacked)
    found = next((path for path in sorted(unpacked.rglob(Path(item.holds).name)) if path.match(f"*/{item.holds}")), None)
    if found is None:
        reject(came, f"holds no {item.holds}")
    if item.kind and (why := misfit(found, item.kind)):
        reject(came, why)
    content = found.parents[len(Path(item.holds).parts) - 1]
    item.place.mkdir(parents=True, exist_ok=True)
    for path in sorted(content.iterdir()):
        if (item.place / path.name).exists():
            print(f"{item.place / path.name}: there already, left as it is")
        elif path.name not in WASTE:
            shutil.move(path, item.place / path.name)
    shutil.rmtree(unpacked)
    came.unlink()
    print(f"{item.place}: ready")


def get_clip(root: Path) -> None:
    """Download CLIP's weights, the text encoder of MoMask's models. The URL contains the file's hash."""
    from models.clip import ADDRESS, FILE, find_clip

    try:
        return print(f"{find_clip(root)}: there already")
    except UserError:
        came = root / ".download" / FILE
    if not came.is_file():
        fetch(ADDRESS, came)
    if hashlib.sha256(came.read_bytes()).hexdigest() != ADDRESS.split("/")[-2]:
        reject(came, "is not the expected file (its hash differs)")
    (root / "clip").mkdir(exist_ok=True)
    came.rename(root / "clip" / FILE)
    print(f"{root / 'clip' / FILE}: ready")


def share_statistics(folder: Path) -> None:
    """Copy the statistics of motions to LaMP's folders, whose files lack them; they are the same as MoMask's."""
    source = next(iter(sorted(folder.glob(f"{RVQ}*/meta"))), None)
    for name in ("lamp_vq", "lamp"):
        if source and (folder / name).is_dir() and not (folder / name / "meta").exists():
            shutil.copytree(source, folder / name / "meta")
            print(f"{folder / name / 'meta'}: copied from {source}")


def damage(path: Path) -> str:
    """What is wrong with an archive or weights file (which is an archive); "" if nothing is."""
    try:
        bad = None
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_zip(archive, path, RELEASES)
                bad = archive.testzip()
    except (*DAMAGE, UserError) as error:
        return f"is damaged ({error})"
    return f"is damaged at {bad}" if bad else ""


def misfit(path: Path, kind: str) -> str:
    """Why a file cannot be loaded as a model of this kind; "" if it can."""
    from models.upstream.released import load_released

    try:
        found = load_released(path)[1]["kind"]
    except UserError as error:
        return f"is not what it should be ({error})"
    return "" if found == kind else f"holds a {found} model, not a {kind} model"


def reject(path: Path, why: str) -> None:
    """Rename a bad download, so that the next run downloads it again, and raise `UserError`."""
    aside = path.with_name(f"{path.name}.bad")
    path.rename(aside)
    raise UserError(f"the download {why}; it is kept as {aside}: run this again to download it once more")


if __name__ == "__main__":
    main()
