"""Exchange left and right in texts, for mirror images."""

from __future__ import annotations

import re

OPPOSITE = {"left": "right", "right": "left", "clockwise": "counterclockwise"}
OPPOSITE |= dict.fromkeys(("counterclockwise", "anticlockwise"), "clockwise")
SIDES = r"\b(?:left|right|(?:counter-?|anti-?)?clockwise)(?![a-z])"


def swap_sides(words: str) -> str:
    """The text with the sides exchanged: walk-turn-left -> walk-turn-right, clockwise -> counterclockwise."""
    return re.sub(SIDES, lambda side: OPPOSITE[side[0].lower().replace("-", "")], words, flags=re.IGNORECASE)
