"""Download of one file from a URL: resumes, retries, and detects web pages sent instead of the file."""

from __future__ import annotations

import html
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from tqdm import tqdm

from utils.errors import UserError

ATTEMPTS = 6  # without a byte of progress between them
PAUSE = 2.0  # seconds before the second one, then twice as long each time
TIMEOUT = 60.0  # seconds without a byte
CHUNK = 1 << 20
AGENT = "Mozilla/5.0"  # some servers send nothing to Python's own


class WebPage(Exception):
    """The server sent a web page; holds its text."""


def fetch(url: str, path: Path) -> None:
    """Download to `path`, resuming what `<path>.part` already holds.

    Raises `UserError` if the server refuses, sends a web page, or does not answer, and if the file cannot be written; the part
    received so far is kept.
    """
    part = path.with_name(f"{path.name}.part")
    failures, asked = 0, False
    while True:
        before = _size(part)
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            _receive(url, part)
            part.replace(path)
            return
        except WebPage as page:
            # Google Drive asks whether a file that it cannot scan for viruses is wanted all the same.
            confirmed = None if asked else _confirmed(url, str(page))
            if confirmed is None:
                raise UserError(f"{url}: sends a web page, not the file; open it in a browser, save the file as {path}") from None
            url, asked = confirmed, True
        except urllib.error.HTTPError as error:
            if error.code not in (408, 429) and error.code < 500:
                raise UserError(f"{url}: refused ({error.code} {error.reason}); open it in a browser, or try again later") from None
            reason = f"{error.code} {error.reason}"
        except (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
        except OSError as error:
            raise UserError(f"{part}: cannot be written ({error.strerror or error}); free space, or change the folder") from None
        else:
            continue
        failures = 1 if _size(part) > before else failures + 1
        if failures >= ATTEMPTS:
            raise UserError(f"{url}: {reason}; {_size(part)} bytes came and are kept: run this again to go on")
        time.sleep(PAUSE * 2 ** (failures - 1))


def _receive(url: str, part: Path) -> None:
    """Append what is missing to `part`, or download it again if the server cannot resume. Returns when it is complete."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": AGENT} | ({"Range": f"bytes={have}-"} if have else {}))
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is left to send
            raise
        if _total(error.headers.get("Content-Range")) != have:
            part.unlink()  # it belongs to another file
            raise ConnectionError("another file is there now") from None
        return
    with response:
        if "text/html" in response.headers.get("Content-Type", ""):
            raise WebPage(response.read(CHUNK).decode(errors="replace"))
        goes_on = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status == 206 and not goes_on:
            raise ConnectionError(f"asked for bytes from {have}, got {response.headers.get('Content-Range')}")
        _save(response, part, have if goes_on else 0)


def _save(response: HTTPResponse, part: Path, have: int) -> None:
    length = response.headers.get("Content-Length")
    total = have + int(length) if length else None
    bar = tqdm(desc=part.stem, initial=have, total=total, unit="B", unit_scale=True, disable=None)
    with bar, part.open("ab" if have else "wb") as file:
        while chunk := response.read1(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and _size(part) != total:
        raise ConnectionError(f"the connection ended after {_size(part)} of {total} bytes")


def _confirmed(url: str, page: str) -> str | None:
    """The download URL in Google Drive's confirmation page; None for any other page."""
    fields = dict(re.findall(r'<input[^>]*name="(\w+)"[^>]*value="([^"]*)"', page))
    if not {"id", "confirm"} <= fields.keys():
        return None
    return f"{url.split('?')[0]}?{urllib.parse.urlencode({name: html.unescape(value) for name, value in fields.items()})}"


def _total(content_range: str | None) -> int | None:
    found = re.search(r"/(\d+)$", content_range or "")
    return int(found[1]) if found else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
