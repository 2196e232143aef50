"""Ways to damage bytes, texts and values."""

from __future__ import annotations

import random

WORDS = [
    "nan", "inf", "-inf", "1e30", "-1", "0", "99999999999999999999", "9" * 5000, "1e-320", "0x10", "1,5", "NaN", "None", "true",
    "MOTION", "HIERARCHY", "JOINT", "ROOT", "{", "}", "CHANNELS 2147483648", "OFFSET", "End Site", "Frames: -5", "Frame Time: 0",
    "#", "#NA", "\u2028", "\ufeff", "\x1b[31m", "\x00", "\x1a", "\r", "\t", "＃", "日本", "🕺", "../", "/dev/zero", "%s", "' OR 1",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2**31, 2**63, 10**30, 10**5000, 0.5, -0.5, 1e30, float("nan"), float("inf"), 7, 513]
VALUES = [*NUMBERS, "", "x", None, True, [], {}, [1, 2], {"a": 1}, "9" * 3000]


def of_bytes(content: bytes, generator: random.Random) -> bytes:
    """Bytes after up to four changes."""
    data = bytearray(content)
    for _ in range(generator.choice((0, 1, 1, 2, 4))):
        position = generator.randrange(len(data) + 1)
        match generator.randrange(6):
            case 0 if position < len(data):
                data[position] ^= 1 << generator.randrange(8)
            case 1:
                del data[position:]
            case 2:
                data[position:position] = generator.choice(WORDS).encode("utf-8", "surrogatepass")
            case 3:
                stop = min(len(data), position + generator.randrange(1, 2000))
                data[position:stop] = data[position:stop] * 2
            case 4:
                del data[position : position + generator.randrange(1, 200)]
            case _:
                data[position : position + 8] = generator.randbytes(8)
    return bytes(data)


def of_text(text: str, generator: random.Random) -> bytes:
    """A text, after none to six of its words changed, in one of several encodings."""
    words = text.split(" ")
    for _ in range(generator.choice((0, 1, 1, 2, 6))):
        position = generator.randrange(len(words))
        match generator.randrange(4):
            case 0:
                words[position] = generator.choice(WORDS)
            case 1:
                words.insert(position, generator.choice(WORDS))
            case 2:
                words[position] = "".join(generator.sample(words[position], len(words[position])))
            case _:
                del words[position : position + generator.randrange(1, 4)]
        words = words or [""]
    encoding = generator.choice(["utf-8"] * 5 + ["utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252"])
    content = " ".join(words).encode(encoding, errors="replace")
    return of_bytes(content, generator) if generator.random() < 0.3 else content


def of_value(value: object, generator: random.Random) -> object:
    """A table or list with one value changed, anywhere in it; another value in place of a plain one."""
    if isinstance(value, dict) and value and generator.random() < 0.9:
        key = generator.choice(list(value))
        changed = {**value, key: of_value(value[key], generator)}
        if generator.random() < 0.1:
            del changed[key]
        return changed
    if isinstance(value, list) and value and generator.random() < 0.8:
        position = generator.randrange(len(value))
        return [*value[:position], of_value(value[position], generator), *value[position + 1 :]]
    return generator.choice(VALUES)
