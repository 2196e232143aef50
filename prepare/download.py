"""Download released weights, evaluators and word vectors to the folders where the scripts look for them.

    bash prepare/download_models.sh        # LaMP's and MoMask's models, CLIP's text encoder → checkpoints/
    bash prepare/download_evaluator.sh     # the matching evaluator → checkpoints/
    bash prepare/download_glove.sh         # word vectors of the matching evaluator → glove/

With `--kit`, the files for KIT-ML are downloaded as well. With `--captioner`, LaMP's captioner (a file of 7 GB) is downloaded, too.
Existing files are never overwritten, and interrupted downloads resume. Each file is moved to its final path only after its size,
integrity and content have been checked.
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
OPT_WORDS = "https://huggingface.co/facebook/opt-2.7b/resolve/main/"
DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
CAPTIONER = "lamp_m2t"
RVQ = "rvq_nq6_dc512_nc512_noshare_qdp0.2"
RELEASES = Limits(size=8 << 30)
IGNORED = ("__MACOSX", ".DS_Store")  # names that macOS adds to archives; they are not extracted


@dataclass(frozen=True)
class Weights:
    """A checkpoint file to download, the new folder in which it is stored, its kind of model, and settings for its opt.txt."""

    url: str
    folder: Path  # <checkpoints_dir>/<dataset_name>/<name>
    kind: str
    opt: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Archive:
    """A .zip archive to extract to `folder`. The archive must contain the file `member`, which is a model of the kind `kind`, or no
    model if `kind` is None."""

    url: str
    folder: Path
    member: str
    kind: str | None


@script
def main(argv: list[str] | None = None) -> None:
    config = parse(Download, argv)
    root = Path(config.checkpoints_dir)
    for item in wanted(config, root):
        get_weights(item, root) if isinstance(item, Weights) else get_archive(item, root)
    if config.what == "models":
        get_clip(root)
        if config.captioner:
            get_opt_tokeniser(root)
        for dataset in ("t2m", "kit")[: 1 + config.kit]:
            copy_statistics(root / dataset)


def wanted(config: Download, root: Path) -> list[Weights | Archive]:
    """The checkpoints and archives to download for the given flags. `root` is the checkpoints folder."""
    t2m, kit = root / "t2m", root / "kit"
    lists = {
        "models": (
            [
                Archive(f"{DRIVE}1dtKP2xBk-UjG9o16MVfBJDmGNSI56Dch", t2m, f"{RVQ}/model/net_best_fid.tar", "tokeniser"),
                Weights(f"{LAMP}vq.tar", t2m / "lamp_vq", "tokeniser"),
                Weights(f"{LAMP}h3d-qformer.tar", t2m / "lamp", "lamp"),
                Weights(f"{LAMP}t2m.tar", t2m / "lamp_t2m", "masked", {"vq_name": "lamp_vq", "n_heads": 8}),
                *([Weights(f"{LAMP}m2t.pth", t2m / CAPTIONER, "caption_opt")] if config.captioner else []),
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
    default, kit_files = lists[config.what]
    return default + kit_files * config.kit


def get_weights(item: Weights, root: Path) -> None:
    """Download a checkpoint file. Raises `UserError` if the download fails, or if the file is damaged or of another kind."""
    target = item.folder / "model" / "latest.tar"
    if (item.folder / "model").exists():
        return print(f"{item.folder}: exists already")
    download = root / ".download" / item.url.rpartition("/")[2]
    if not download.is_file():
        fetch(item.url, download)
    if problem := damage(download) or mismatch(download, item.kind):
        reject(download, problem)
    target.parent.mkdir(parents=True, exist_ok=True)
    if item.opt and not (item.folder / "opt.txt").exists():
        (item.folder / "opt.txt").write_text("".join(f"{key}: {value}\n" for key, value in item.opt.items()), encoding="utf-8")
    download.rename(target)
    print(f"{item.folder}: ready")


def get_archive(item: Archive, root: Path) -> None:
    """Download and extract an archive. Raises `UserError` if the download fails, or if the archive is damaged or incomplete."""
    if (item.folder / item.member).exists():
        return print(f"{item.folder / item.member}: exists already")
    download = root / ".download" / f"{item.url.rpartition('=')[2]}.zip"
    if not download.is_file():
        fetch(item.url, download)
    if problem := damage(download) if zipfile.is_zipfile(download) else "is not a .zip archive":
        reject(download, problem)
    unpacked = download.with_suffix("")
    shutil.rmtree(unpacked, ignore_errors=True)  # left by an interrupted extraction
    with zipfile.ZipFile(download) as archive:
        archive.extractall(unpacked)
    member = next((path for path in sorted(unpacked.rglob(Path(item.member).name)) if path.match(f"*/{item.member}")), None)
    if member is None:
        reject(download, f"contains no {item.member}")
    if item.kind and (problem := mismatch(member, item.kind)):
        reject(download, problem)
    content = member.parents[len(Path(item.member).parts) - 1]
    item.folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(content.iterdir()):
        if (item.folder / path.name).exists():
            print(f"{item.folder / path.name}: exists already, not overwritten")
        elif path.name not in IGNORED:
            shutil.move(path, item.folder / path.name)
    shutil.rmtree(unpacked)
    download.unlink()
    print(f"{item.folder}: ready")


def get_clip(root: Path) -> None:
    """Download CLIP, the text encoder of MoMask's models, and compare the hash of the file with the hash in the URL."""
    from models.clip import ADDRESS, FILE, find_clip

    try:
        return print(f"{find_clip(root)}: exists already")
    except UserError:
        download = root / ".download" / FILE
    if not download.is_file():
        fetch(ADDRESS, download)
    if hashlib.sha256(download.read_bytes()).hexdigest() != ADDRESS.split("/")[-2]:
        reject(download, "is not the expected file (wrong hash)")
    (root / "clip").mkdir(exist_ok=True)
    download.rename(root / "clip" / FILE)
    print(f"{root / 'clip' / FILE}: ready")


def get_opt_tokeniser(root: Path) -> None:
    """Download OPT's tokeniser, which LaMP's captioner uses. Raises `UserError` if the download fails or a file is unusable."""
    from models.opt import FOLDER, OPTConfig, read_tokenizer

    folder, download = root / FOLDER, root / ".download" / FOLDER
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return print(f"{folder}: exists already")
    for name in ("vocab.json", "merges.txt"):
        if not (download / name).is_file():
            fetch(f"{OPT_WORDS}{name}", download / name)
    try:
        read_tokenizer(download, OPTConfig.vocab_size)
    except UserError as error:
        shutil.rmtree(download.with_name(f"{download.name}.bad"), ignore_errors=True)
        reject(download, f"is not as expected ({error})")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
        (download / name).rename(folder / name)
    download.rmdir()
    print(f"{folder}: ready")


def copy_statistics(folder: Path) -> None:
    """Copy the feature statistics of MoMask's tokeniser to the folders of LaMP's models.

    LaMP's models need these statistics but are released without them.
    """
    source = next(iter(sorted(folder.glob(f"{RVQ}*/meta"))), None)
    for name in ("lamp_vq", "lamp", CAPTIONER):
        if source and (folder / name).is_dir() and not (folder / name / "meta").exists():
            shutil.copytree(source, folder / name / "meta")
            print(f"{folder / name / 'meta'}: copied from {source}")


def damage(path: Path) -> str:
    """Describe the damage to an archive or to a checkpoint in PyTorch's zip format. Returns "" if no damage is found."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_zip(archive, path, RELEASES)
                if bad := archive.testzip():
                    return f"is damaged at {bad}"
    except (*DAMAGE, UserError) as error:
        return f"is damaged ({error})"
    return ""


def mismatch(path: Path, kind: str) -> str:
    """Describe why a file cannot be loaded as a model of the kind `kind`, such as "tokeniser". Returns "" if it can be loaded."""
    from models.upstream.released import load_released

    try:
        actual = load_released(path)[1]["kind"]
    except UserError as error:
        return f"is not as expected ({error})"
    return "" if actual == kind else f"is a {actual} model, not a {kind} model"


def reject(path: Path, problem: str) -> None:
    """Rename an unusable file and raise `UserError` with the problem. The next call of the script downloads the file again."""
    renamed = path.with_name(f"{path.name}.bad")
    path.rename(renamed)
    raise UserError(f"the download {problem}; it was renamed to {renamed}; run the command again to repeat the download")


if __name__ == "__main__":
    main()
