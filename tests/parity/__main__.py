"""`python -m tests.parity DIR…`: a line for each output of each fixture; exit code 1 if any fails, 2 if a folder is no fixture."""

from __future__ import annotations

import sys

from utils.errors import UserError, script


@script
def main(argv: list[str] | None = None) -> None:
    folders = sys.argv[1:] if argv is None else argv
    if not folders or folders[0].startswith("-"):
        raise UserError("no fixture given; usage: python -m tests.parity DIR…")
    from tests.parity.fixture import check

    failures = total = 0
    for folder in folders:
        print(folder)
        for result in check(folder):
            print(result, flush=True)
            failures += not result.passed
            total += 1
    print(f"{total - failures} of {total} outputs agree")
    if failures or not total:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
