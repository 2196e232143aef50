"""Phrases from which captions are composed (`prepare/captions.py`, `prepare/clauses.py`). This module contains only data.

Placeholders in braces: {their} {they_are} {themself}, {side} (left, right), {hand} ("his right arm"), {it} (the hands that the
clause has mentioned), {level} ("above his head"), {leg}, {way}. Endings that start with a comma are appended without a space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Pronouns(NamedTuple):
    """The pronouns for the subject of a caption."""

    their: str
    they_are: str
    themself: str
    they: str
    them: str


THEY = Pronouns("their", "they are", "themselves", "they", "them")
HE = Pronouns("his", "he is", "himself", "he", "him")
SHE = Pronouns("her", "she is", "herself", "she", "her")

# ---------------------------------------------------------------------------------------------------------------- who
SUBJECTS = (
    ("a person", THEY), ("a person", THEY), ("a person", THEY), ("a person", HE), ("a person", HE), ("a person", SHE),
    ("a man", HE), ("a man", HE), ("the man", HE), ("someone", THEY), ("someone", THEY), ("somebody", THEY), ("the person", THEY),
    ("this person", THEY), ("a figure", THEY), ("the figure", THEY), ("person", THEY), ("a human", THEY), ("a woman", SHE),
    ("the woman", SHE), ("a guy", HE), ("the guy", HE), ("he", HE), ("she", SHE), ("man", HE),
)  # fmt: skip
NOUNS = (("person", THEY), ("person", HE), ("person", SHE), ("man", HE), ("figure", THEY))  # used after an adjective


# ---------------------------------------------------------------------------------------------------------------- how
@dataclass(frozen=True)
class Mood:
    """Phrases that express a style. A caption uses one of these phrases."""

    adjectives: tuple[str, ...] = ()  # before the noun of the subject
    adverbs: tuple[str, ...] = ()  # before the verb or at the end
    tails: tuple[str, ...] = ()  # at the end
    subjects: tuple[tuple[str, Pronouns], ...] = ()  # instead of another subject
    who: tuple[Pronouns, ...] = (THEY, HE, SHE)  # pronouns that fit the style


MOODS = {
    "normal": Mood(),
    "active": Mood(
        ("lively", "energetic", "very active"),
        ("energetically", "actively", "vigorously"),
        ("with a lot of energy", "in a lively way", ", full of energy", "in an energetic manner", "with great vigor"),
    ),
    "angry": Mood(
        ("angry", "furious", "very mad"),
        ("angrily", "furiously"),
        ("as if {they_are} angry", "in an angry way", ", upset about something", "like someone in a bad temper", "in anger"),
    ),
    "childish": Mood(
        ("childish", "playful"),
        ("playfully", "childishly"),
        ("like a child", "in a childish way", "the way a little kid would", "as a small child would do it", "like a kid at play"),
        (("a child", THEY), ("a little kid", THEY)),
    ),
    "chimpira": Mood(
        ("cocky", "swaggering", "thuggish"),
        ("arrogantly", "cockily"),
        ("like a thug", "with a swagger", "like a street punk", "in a cocky way", "like a gangster", "with a tough guy attitude"),
        (("a thug", HE), ("a street punk", HE)),
    ),
    "feminine": Mood(
        ("feminine", "ladylike", "graceful"),
        ("gracefully", "daintily"),
        ("in a feminine way", "like a woman", "in a ladylike manner", "with feminine grace", "in a very feminine manner"),
        (("a woman", SHE), ("a lady", SHE), ("a woman", SHE)),
        who=(THEY, SHE),
    ),
    "giant": Mood(
        ("giant", "huge", "gigantic"),
        ("heavily",),
        ("like a giant", "as if {they_are} a giant", ", like someone huge and heavy", "like a big heavy monster"),
        (("a giant", THEY),),
    ),
    "happy": Mood(
        ("happy", "cheerful", "joyful"),
        ("happily", "cheerfully", "joyfully"),
        ("as if {they_are} happy", "in a happy way", ", in a good mood", ", full of joy", "in a cheerful manner"),
    ),
    "masculine": Mood(
        ("masculine", "manly", "macho"),
        (),
        ("in a masculine way", "in a manly way", "like a macho man", "like a tough man", "in a very masculine manner"),
        (("a macho man", HE), ("a tough man", HE)),
        who=(THEY, HE),
    ),
    "musical": Mood(
        (),
        ("rhythmically",),
        ("to the rhythm of music", "as if dancing to music", "to a beat", "as if listening to music", "like in a musical"),
    ),
    "not-confident": Mood(
        ("timid", "nervous", "shy", "insecure"),
        ("timidly", "nervously", "hesitantly", "shyly"),
        ("without confidence", "as if {they_are} unsure of {themself}", "in a shy way", ", lacking confidence", "in an unsure way"),
    ),
    "elderly": Mood(
        ("old", "elderly", "aged"),
        ("feebly", "weakly"),
        ("like an old person", "like an elderly person", "as if {they_are} very old", "in an elderly manner"),
        (("an old man", HE), ("an old woman", SHE), ("an old person", THEY)),
    ),
    "proud": Mood(
        ("proud", "self assured", "confident"),
        ("proudly", "confidently"),
        ("with pride", "in a proud way", "as if {they_are} proud of {themself}", "in a confident manner", ", full of pride"),
    ),
    "sad": Mood(
        ("sad", "gloomy", "unhappy"),
        ("sadly", "gloomily"),
        ("as if {they_are} sad", "in a sad way", "in a depressed manner", ", feeling down", ", full of sorrow"),
    ),
    "exhausted": Mood(
        ("tired", "exhausted", "weary"),
        ("wearily", "tiredly", "sluggishly"),
        ("as if {they_are} exhausted", "in an exhausted way", ", worn out", "like {they_are} very tired", "with no energy at all"),
    ),
    "youthful": Mood(
        ("young", "youthful"),
        (),
        ("like a young person", "in a youthful way", "with youthful energy", "like a teenager", "the way a young person would"),
        (("a young person", THEY), ("a young man", HE), ("a young woman", SHE), ("a teenager", THEY)),
    ),
}  # fmt: skip
SAME_MOOD = {"old": "elderly", "tired": "exhausted", "masculinity": "masculine", "children": "childish"}


# ------------------------------------------------------------------------------------------------- walking and running
@dataclass(frozen=True)
class Gait:
    """Phrases that describe a gait, such as walking or running."""

    limits: tuple[float, float]  # m/s; speed between slow and normal, and speed between normal and fast
    verbs: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # for slow, normal and fast
    paces: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # for slow, normal and fast
    steps: tuple[str, ...]  # phrases that state the number of steps
    bent: tuple[str, ...]  # used if the trunk leans forward
    likes: tuple[str, ...] = ()  # comparisons; if not empty, each clause ends with a comparison


COUNTED = ("{verb} {count} steps {way}", "{verb} {way} for {count} steps")
LEANING = ("leaning forward", "with {their} body bent forward")
GAITS = {
    "walk": Gait(
        (0.75, 1.45),
        (
            ("walks", "walks", "walks", "strolls", "ambles", "moves", "goes"),
            ("walks", "walks", "walks", "walks", "moves", "goes"),
            ("walks", "walks", "walks", "strides", "marches", "hurries"),
        ),
        (("slowly", "at a slow pace"), ("at a steady pace", "at a normal pace"), ("quickly", "at a fast pace", "briskly")),
        ("takes {count} steps {way}", *COUNTED),
        ("hunched over", "with a bent back", "bent forward"),
    ),
    "run": Gait(
        (2.0, 3.3),
        (("jogs", "jogs", "runs", "trots"), ("runs", "runs", "jogs"), ("runs", "runs", "sprints", "races")),
        (("slowly", "at an easy pace"), ("at a steady pace",), ("at full speed", "very fast")),
        COUNTED,
        LEANING,
    ),
    "sneak": Gait(
        (0.3, 1.2),
        (("sneaks", "creeps", "tiptoes", "sneaks", "prowls", "walks stealthily", "walks quietly", "slinks"),) * 3,
        (("slowly", "very slowly"), ("carefully", "quietly", "without a sound"), ("quickly",)),
        ("sneaks {count} steps {way}", "{verb} {way} for {count} steps"),
        ("hunched over", "with a bent back", "bent low"),
    ),
    "zombie": Gait(
        (0.45, 1.2),
        (("walks", "walks", "staggers", "shuffles", "lurches", "stumbles"),) * 3,
        (("slowly",), ("at a steady pace",), ("quickly",)),
        ("takes {count} steps {way}", "{verb} {way} for {count} steps"),
        ("hunched over", "bent forward"),
        ("like a zombie", "like a zombie", "as if {they_are} a zombie", "like the walking dead", "like one of the undead"),
    ),
    "dribble": Gait(
        (0.8, 2.2),
        (("dribbles a basketball", "dribbles a ball", "dribbles", "bounces a ball and moves", "dribbles the ball"),) * 3,
        (("slowly",), ("at a steady pace",), ("quickly", "fast")),
        ("dribbles a ball {way} for {count} steps",),
        ("bent low over the ball", "hunched over"),
    ),
    "dash": Gait(
        (2.0, 2.9),
        (("jogs", "runs"), ("runs", "dashes"), ("dashes", "sprints", "runs")),
        (("slowly", "at an easy pace"), ("quickly", "fast"), ("at full speed", "very fast")),
        COUNTED,
        LEANING,
    ),
}
LEANING_BACK = ("leaning back a little",)
WAYS = {
    "forward": ("forward", "forward", "forwards", "ahead"),
    "straight": ("straight ahead", "in a straight line", "straight forward"),  # forward without a turn
    "backward": ("backwards", "backward", "backwards"),
    "left": ("sideways to {their} left", "to the left", "sideways to the left"),
    "right": ("sideways to {their} right", "to the right", "sideways to the right"),
    "forward left": ("diagonally to the left", "forward and to the left", "diagonally forward to {their} left"),
    "forward right": ("diagonally to the right", "forward and to the right", "diagonally forward to {their} right"),
    "backward left": ("diagonally back to the left", "backwards and to the left"),
    "backward right": ("diagonally back to the right", "backwards and to the right"),
    "in place": ("in place", "on the spot"),
    "": ("around",),
}
LABELLED_WAYS: dict[str, tuple[str, ...]] = {  # pattern of labels → phrases that replace the measured direction after the verb
    r"stride": ("with long strides", "taking big steps", "with big strides"),
    r"90-degree left turns": (
        "and turns left again and again", "forward, turning left several times", "and keeps turning left",
    ),
    r"90-degree right turns": (
        "and turns right again and again", "forward, turning right several times", "and keeps turning right",
    ),
    r"stop run": ("forward, stops and runs on", "forward, stops, then starts running again", "and stops, then runs on"),
    r"figure eight": ("in a figure eight", "in a figure of eight", "along a figure eight"),
    r"in a circle to the left": (
        "in a circle to the left", "in a circle", "around in a left circle", "along a curve to the left",
    ),
    r"in a circle to the right": (
        "in a circle to the right", "in a circle", "around in a right circle", "along a curve to the right",
    ),
    r"side step left": ("and side steps to the left", "and steps to the left"),
    r"side step right": ("and side steps to the right", "and steps to the right"),
}  # fmt: skip
DISTANCES = ("{verb} {way} for about {meters}", "{verb} about {meters} {way}")
TURNS = {  # angle in degrees → phrases; 0: phrases without an angle
    0: ("turns to the {side}", "turns {side}", "turns to {their} {side}", "makes a {side} turn"),
    45: ("turns slightly to the {side}", "turns 45 degrees to the {side}", "turns a little to {their} {side}"),
    90: (
        "turns 90 degrees to the {side}", "makes a quarter turn to the {side}", "turns {side} 90 degrees",
        "makes a 90 degree turn to {their} {side}",
    ),
    135: ("turns 135 degrees to the {side}", "turns far around to the {side}"),
    180: ("turns around to the {side}", "makes a half turn to the {side}", "turns 180 degrees to {their} {side}"),
    225: ("turns 225 degrees to the {side}",),
    270: ("makes a three quarter turn to the {side}", "turns 270 degrees to the {side}"),
    360: (
        "turns in a full circle to the {side}", "turns all the way around to {their} {side}",
        "makes a full turn to the {side}",
    ),
}  # fmt: skip
TURN_JOINS = (" and then ", " then ", " and ", ", then ")
ON_THE_WAY = {"halfway": ("halfway", "halfway through"), "": ("on the way", "along the way")}
TURNS_ABOUT = ("turns several times", "makes several turns", "turns this way and that")  # for four or more turns
GOES_ON = ("keeps going", "continues", "goes on")

# ------------------------------------------------------------------------------------------------------------- gestures
LEVELS = (  # indexed by the level of a hand in motion/facts; {to} is "to" for a movement of the hand, "at" for its position
    ("",), ("{to} waist height", "{to} the waist"),
    ("{to} chest height", "{to} chest level", "in front of {their} chest"),
    ("{to} shoulder height", "{to} shoulder level", "{to} the height of {their} shoulders"),
    ("{to} head height", "{to} the height of {their} head", "{to} the level of the head"),
    ("above {their} head", "over {their} head", "high in the air", "above the head"),
)  # fmt: skip
RAISES = (
    "raises {hand}", "lifts {hand}", "puts {hand} up", "raises {hand} up", "lifts {hand} up", "holds {hand} up",
    "sticks {hand} up", "moves {hand} up", "brings {hand} up", "stretches {hand} up", "puts up {hand}", "lifts up {hand}",
    "raises up {hand}",
)  # fmt: skip
RAISES_TO = (
    "raises {hand} {level}", "lifts {hand} {level}", "brings {hand} up {level}", "puts {hand} up {level}",
    "moves {hand} up {level}",
)  # fmt: skip
RAISE_PACES = {"slow": ("slowly", "with a slow movement"), "fast": ("quickly", "in one quick motion")}
HOLDS = ("holds {it} there for about {count} seconds", "keeps {it} up for about {count} seconds")
LOWERS = ("then lowers {it}", "then puts {it} back down", "brings {it} back down", "lets {it} down again")
WAVES = (
    "waves {hand}", "waves with {hand}", "waves with {hand}", "waves hello with {hand}", "holds up {hand} and waves",
    "waves hi with {hand}", "greets someone by waving {hand}", "says hello by waving {hand}", "raises {hand} and waves",
    "waves at someone with {hand}", "waves to somebody with {hand}", "gives a wave with {hand}", "lifts {hand} to wave",
    "moves {hand} to and fro in a wave",
)  # fmt: skip
BYES = (
    "waves goodbye with {hand}", "waves bye with {hand}", "says goodbye by waving {hand}", "waves {hand} in farewell",
    "waves bye bye with {hand}", "sees someone off by waving {hand}", "raises {hand} to wave goodbye",
    "waves {hand} to say goodbye", "says bye with a wave of {hand}", "waves {hand} at someone who leaves",
    "bids farewell by waving {hand}", "waves someone off with {hand}",
)  # fmt: skip
LITTLE_WAVES = (  # for a hand that hardly moves
    "holds up {hand} and waves slightly", "gives a tiny wave with {hand}", "raises {hand} and barely waves",
    "lifts {hand} and waves only a little", "holds {hand} up in greeting", "raises {hand} to greet someone",
    "waves {hand} with very small motions", "holds up {hand} and hardly waves",
)  # fmt: skip
WAVE_PACES = {"slow": ("slowly", "in slow motions"), "fast": ("quickly", "fast")}
GUIDES = (
    "gestures with {hand} as if showing someone the way", "shows the way with {hand}", "holds out {hand} as if guiding someone",
    "uses {hand} to direct someone", "points the way with {hand}", "moves {hand} as if to say this way please",
)  # fmt: skip
RESPONDS = ("raises {hand} as if answering a question", "puts {hand} up like a student in class", "raises {hand} as if to answer")
CALLS = (
    "leans forward with both hands at {their} mouth and calls out", "bends forward and shouts through cupped hands",
    "cups {their} hands around {their} mouth, leans forward and shouts to someone far away",
    "calls out to somebody, bending forward with {their} hands around {their} mouth",
)  # fmt: skip
SHOUTS = ("calls out to someone", "shouts to somebody far away")
SLASHES = (
    "swings a sword with both hands", "slashes with an imaginary sword held in both hands",
    "strikes down with a sword in both hands", "practices sword swings with both hands",
    "raises both hands high and cuts down as if with a sword",
)  # fmt: skip

# --------------------------------------------------------------------------------------------------------- whole body
BOWS = (
    "bows", "takes a bow", "bows forward", "bends forward in a bow", "bows to someone", "bends at the waist to bow",
    "gives a bow", "makes a bow", "greets someone with a bow", "bends forward to bow", "bows politely",
    "lowers {their} head and upper body in a bow",
)  # fmt: skip
BOWS_TO = ("bows {depth}", "bends forward {depth} to bow", "bows {depth} to someone")
DEPTHS = ((33, ("slightly", "a little")), (50, ("",)), (180, ("deeply", "very low")))  # (upper limit in degrees, phrases)
RISES = ("stands back up", "straightens up again", "comes back up")
PUNCHES = (
    "punches with {hand}", "punches the air with {hand}", "throws punches with {hand}", "boxes with {hand}",
    "strikes with {hand}", "hits out with {hand}", "jabs with {hand}", "fights with {hand}",
)  # fmt: skip
KICKS = (
    "kicks with {leg}", "throws a kick with {leg}", "does a kick with {leg}", "kicks {leg} up", "kicks out with {leg}",
    "swings {leg} up in a kick",
)  # fmt: skip
SPINS = ("spins around and kicks with {leg}", "does a spinning kick with {leg}")
STANCES = ("stands in a fighting stance", "holds a fighting stance", "keeps {their} guard up")
DANCES = (
    "dances", "does a dance", "performs a dance", "dances to music", "dances around", "does some dance moves",
    "shows some dance moves", "does a dance routine", "moves to music", "dances along to a song", "performs a dance routine",
    "busts some dance moves",
)  # fmt: skip
STANDS = ("stands still", "stands in place", "stands there without moving much", "remains standing")
JUMPS = ("jumps {times}", "jumps up and down {times}", "hops {times}")

# ------------------------------------------------------------------------------------------------------------- grammar
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
TIMES = {1: ("once",), 2: ("twice", "two times")}
SEVERAL, MANY = ("several times", "a number of times"), ("many times", "over and over", "again and again")
