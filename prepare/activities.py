"""Verb phrases for `prepare/everyday.py`: activities that the label of a clip names, but that cannot be detected in its joints.

This module contains only data, in the format of `prepare/verbs.py`. The placeholder {animal} stands for an animal and its article.
"""

from __future__ import annotations

from prepare.verbs import Phrases

SWORD: Phrases = (
    "swings a sword", "fights with a sword", "practices with a sword", "does some swordplay", "slashes with a sword", "fences",
    "swings an imaginary sword", "wields a sword", "strikes with a sword", "attacks with a sword", "swings a sword around",
    "cuts the air with a sword", "swings a blade",
)  # fmt: skip
THROW: Phrases = (
    "throws a ball", "throws something", "tosses a ball", "throws a basketball", "shoots a basketball",
    "throws a ball with both hands", "takes a shot at the basket", "tosses something up and forward",
    "throws a ball up and forward", "makes a basketball shot", "lifts a ball and throws it", "throws the ball at the hoop",
    "shoots a hoop", "tosses a basketball",
)  # fmt: skip
DRIBBLE: Phrases = (
    "dribbles a basketball", "plays basketball", "dribbles a ball", "bounces a ball", "dribbles", "plays with a basketball",
    "bounces a basketball", "dribbles the ball", "practices dribbling", "handles a basketball", "keeps bouncing a basketball",
    "dribbles a ball like a basketball player", "shows some basketball dribbling",
)  # fmt: skip
SHOOT: Phrases = (
    "dribbles and shoots a basketball", "bounces a basketball and takes a shot", "plays basketball and shoots",
    "shoots a basketball", "dribbles, then throws the ball at the basket", "dribbles a ball and throws it",
)  # fmt: skip
PLAYGROUND: Phrases = (
    "climbs on a playground", "climbs around on playground equipment", "plays on a playground", "climbs on a jungle gym",
    "climbs around", "clambers over climbing bars", "climbs about on a climbing frame", "plays on a climbing frame",
    "moves around on monkey bars", "climbs over playground bars", "uses the equipment of a playground", "climbs on some bars",
)  # fmt: skip
DUCK: Phrases = (
    "runs and ducks under something", "ducks under something while running", "ducks while running",
    "runs in a crouch under an obstacle", "runs forward and ducks", "runs and bends down to get under something",
    "ducks under a bar on the run", "runs low to pass under something", "ducks down and runs through",
    "runs, stoops under something and goes on", "runs hunched under an obstacle", "runs and dips under something",
)  # fmt: skip
STRETCH: Phrases = (
    "stretches", "does some stretches", "exercises", "warms up", "does warm up exercises", "stretches {their} body", "loosens up",
    "does stretching exercises", "works out", "limbers up", "stretches {their} muscles", "does gymnastics", "does some exercises",
)  # fmt: skip
TWIST: Phrases = (
    "twists from side to side", "does side twists", "turns {their} upper body from side to side", "twists at the waist",
)  # fmt: skip
RANGE_OF_MOTION: Phrases = (
    "moves all {their} joints one by one", "moves {their} arms and legs through their full range",
    "stretches arms and legs in turn",
)  # fmt: skip
WASH_SELF: Phrases = (
    "washes {themself}", "washes {their} body", "takes a shower", "scrubs {themself}", "washes up", "rubs {themself} clean",
    "cleans {themself}", "acts out taking a shower", "soaps {themself}", "washes {their} arms and body",
    "scrubs {their} body", "has a wash",
)  # fmt: skip
WASH_WINDOWS: Phrases = (
    "washes a window", "cleans a window", "wipes a window", "washes windows", "wipes a wall", "cleans the windows",
    "scrubs a window", "wipes the glass in front of {them}", "polishes a window", "rubs a window clean",
    "wipes something in front of {them}", "cleans glass",
)  # fmt: skip
MOP: Phrases = (
    "mops the floor", "cleans the floor with a mop", "mops", "pushes a mop over the floor", "washes the floor",
    "sweeps the floor with a mop", "wipes the floor with a mop", "cleans the floor", "scrubs the floor with a mop",
    "moves a mop back and forth", "does the mopping", "swabs the floor",
)  # fmt: skip
DRINK: Phrases = (
    "drinks", "takes a drink", "drinks from a bottle", "drinks a soda", "takes a sip", "lifts a bottle and drinks",
    "has a drink", "drinks something", "raises a drink to {their} mouth", "brings a bottle to {their} mouth",
    "sips from a bottle", "gulps down a drink",
)  # fmt: skip
DRINK_COFFEE: Phrases = (
    "drinks from a mug", "drinks coffee", "takes a mug and drinks", "sips from a coffee mug", "has some coffee", "drinks",
    "takes a sip", "raises a mug to {their} mouth", "has a drink",
)  # fmt: skip
UNSCREW: Phrases = (
    "opens a bottle and drinks", "unscrews a bottle cap and drinks", "twists a bottle open and takes a drink",
    "opens a soda and drinks it",
)  # fmt: skip
LAUGH: Phrases = (
    "laughs", "laughs hard", "laughs out loud", "bursts out laughing", "has a good laugh", "cracks up laughing",
    "shakes with laughter", "laughs at something", "laughs and laughs", "giggles", "has a laughing fit",
    "finds something very funny and laughs",
)  # fmt: skip
POINT: Phrases = (
    "directs traffic", "points and gives signals", "points with {their} arms", "gives hand signals", "waves traffic along",
    "points the way", "points in different directions", "signals with {their} arms", "points at something",
    "directs cars like a traffic cop", "makes arm signals", "gestures to direct traffic",
)  # fmt: skip
SIGNALS: Phrases = (
    "makes the signals of a referee", "gives basketball signals", "signals like a basketball referee", "makes arm signals",
    "gives hand signals", "signals with {their} arms", "makes signs with {their} hands and arms", "acts like a referee",
    "shows referee signals",
)  # fmt: skip
MIME: Phrases = (
    "tells a story with {their} hands", "acts something out with gestures", "gestures while telling a story", "mimes a story",
    "performs a pantomime", "acts out a scene", "tells something with {their} whole body", "makes expressive gestures",
    "mimes something", "plays charades", "acts something out", "moves {their} arms to tell a story",
)  # fmt: skip
TEAPOT: Phrases = (
    "acts out a nursery rhyme", "pretends to be a teapot", "does the little teapot song", "acts out a children's song",
)  # fmt: skip
SPIN: Phrases = (
    "spins around", "turns around and around", "spins in place", "twirls", "twirls around", "spins", "turns in circles",
    "whirls around", "spins on the spot", "turns around on the spot", "rotates in place", "does a spin",
    "goes round and round",
)  # fmt: skip
ROPES: Phrases = (
    "spins and swings on ropes", "does acrobatics on ropes", "twirls while hanging on ropes", "hangs on ropes and spins",
)  # fmt: skip
POSE: Phrases = ("holds a pose", "stands in a fixed pose", "keeps still in a pose", "stands with {their} arms out", "poses")
DANCE: Phrases = (
    "dances", "does a dance", "performs a dance", "dances around", "dances to music", "does some dance moves",
    "shows some dance moves", "moves in a dance", "is dancing", "does a dance routine", "performs a dance routine",
    "dances freely",
)  # fmt: skip
DANCE_WAYS: dict[str, Phrases] = {  # word of the label → phrases
    "indian": (
        "does an Indian dance", "performs a traditional Indian dance", "dances an Indian dance", "dances in the Indian style",
    ),
    "arabesque": (
        "dances ballet", "does a ballet dance", "dances like a ballerina", "performs ballet moves",
        "dances with one leg lifted behind",
    ),
    "jete": (
        "dances ballet and leaps", "does a ballet dance", "dances like a ballerina", "performs ballet moves",
        "does ballet jumps",
    ),
    "pirouette": (
        "does a pirouette", "dances ballet and spins", "dances like a ballerina", "spins on one leg like a ballet dancer",
    ),
    "retire": ("dances ballet", "does a ballet dance", "performs ballet moves"),
    "coupe": ("dances ballet", "does a ballet dance", "dances like a ballerina"),
    "glissade": ("dances ballet", "does a ballet dance", "glides through a ballet dance"),
    "arms held high": ("dances with {their} arms held high", "dances ballet with raised arms", "does a slow graceful dance"),
    "fold": ("does a modern dance", "dances and curls inward", "bends and curls in a slow dance"),
    "static": ("holds a dance pose", "stands in a folded dance pose", "poses like a dancer, folded in"),
    "lean": ("does a modern dance", "does a slow dance", "leans and sways in a dance"),
    "whirl": ("dances and whirls around", "spins around while dancing", "dances in whirls"),
    "dab": ("does a dab", "dabs", "does the dab dance move"),
}  # fmt: skip
ANIMALS: Phrases = (
    "acts like {animal}", "imitates {animal}", "pretends to be {animal}", "moves like {animal}",
    "does an impression of {animal}", "behaves like {animal}", "plays {animal}", "mimics {animal}", "acts as {animal}",
    "copies the moves of {animal}", "plays at being {animal}", "impersonates {animal}",
)  # fmt: skip
