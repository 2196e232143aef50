"""Download one file from a URL: resume and retry the download, and detect a web page that the server sends instead of the file."""

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

ATTEMPTS = 6  # maximum number of consecutive attempts that receive no byte
PAUSE = 2.0  # seconds before the second attempt; doubles with each further attempt
TIMEOUT = 60.0  # seconds; an attempt fails if it receives no byte for this long
CHUNK = 1 << 20
AGENT = "Mozilla/5.0"  # some servers refuse Python's default user agent


class WebPage(Exception):
    """Raised if the server sends a web page instead of the requested file. The argument is the text of the page."""


def fetch(url: str, path: Path) -> None:
    """Download a URL to `path`. If the file `<path>.part` exists, resume this interrupted download.

    Raises `UserError` if the server refuses the download, sends a web page or does not answer, or if the file cannot be written.
    The bytes received before an error are kept.
    """
    part = path.with_name(f"{path.name}.part")
    failures, confirmation_sent = 0, False
    while True:
        before = _size(part)
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            _receive(url, part)
            part.replace(path)
            return
        except WebPage as page:
            # Google Drive asks for confirmation before it sends a file that it cannot scan for viruses.
            confirmed = None if confirmation_sent else _confirmed(url, str(page))
            if confirmed is None:
                problem = "the server sends a web page instead of the file"
                raise UserError(f"{url}: {problem}; open the URL in a browser and save the file as {path}") from None
            url, confirmation_sent = confirmed, True
        except urllib.error.HTTPError as error:
            if error.code not in (408, 429) and error.code < 500:
                problem = f"the server refuses the download ({error.code} {error.reason})"
                raise UserError(f"{url}: {problem}; open the URL in a browser, or try again later") from None
            reason = f"{error.code} {error.reason}"
        except (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{part}: cannot be written ({reason}); free disk space, or choose another folder") from None
        else:
            continue
        failures = 1 if _size(part) > before else failures + 1
        if failures >= ATTEMPTS:
            raise UserError(f"{url}: {reason}; {_size(part)} bytes were downloaded and are kept; run the command again to resume")
        time.sleep(PAUSE * 2 ** (failures - 1))


def _receive(url: str, part: Path) -> None:
    """Append the missing bytes to `part`. If the server cannot resume a download, download all bytes again."""
    received = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": AGENT} | ({"Range": f"bytes={received}-"} if received else {}))
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: there are no bytes after `received`
            raise
        if _total(error.headers.get("Content-Range")) != received:
            part.unlink()  # it contains a part of an older file
            raise ConnectionError("the file on the server has changed") from None
        return
    with response:
        if "text/html" in response.headers.get("Content-Type", ""):
            raise WebPage(response.read(CHUNK).decode(errors="replace"))
        resumes = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {received}-")
        if response.status == 206 and not resumes:
            raise ConnectionError(f"requested bytes from {received}, received {response.headers.get('Content-Range')}")
        _save(response, part, received if resumes else 0)


def _save(response: HTTPResponse, part: Path, received: int) -> None:
    """Append a response to `part`, which has `received` bytes. If `received` is 0, overwrite `part`."""
    length = response.headers.get("Content-Length")
    total = received + int(length) if length else None
    bar = tqdm(desc=part.stem, initial=received, total=total, unit="B", unit_scale=True, disable=None)
    with bar, part.open("ab" if received else "wb") as file:
        while chunk := response.read1(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and _size(part) != total:
        raise ConnectionError(f"the connection ended after {_size(part)} of {total} bytes")


def _confirmed(url: str, page: str) -> str | None:
    """Return the download URL that Google Drive's confirmation page contains, or None if `page` is any other page."""
    fields = dict(re.findall(r'<input[^>]*name="(\w+)"[^>]*value="([^"]*)"', page))
    if not {"id", "confirm"} <= fields.keys():
        return None
    return f"{url.split('?')[0]}?{urllib.parse.urlencode({name: html.unescape(value) for name, value in fields.items()})}"


def _total(content_range: str | None) -> int | None:
    match = re.search(r"/(\d+)$", content_range or "")
    return int(match[1]) if match else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
