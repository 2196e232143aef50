"""The prompts, each with its action, its split, and the condition that a generated motion must satisfy.

Weights are selected on the split `val`, and results are reported on `test`. The conditions are not tuned on generated motion.
Paraphrases avoid the words of the templates from which the training captions are written.
"""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.obedience.judges import (
    Condition,
    all_of,
    begins,
    does,
    ends,
    in_order,
    mostly,
    resting,
    times,
    together,
    upright,
    without,
)  # fmt: skip
from benchmarks.obedience.postures import lying, seated


class Prompt(NamedTuple):
    """A prompt, and a function `obeys` that checks whether a motion generated from it does what the prompt says.

    `action` is the name of an action in prepare/actions.py. `kind` is action (a single action), sequence, or together (simultaneous
    actions). `paraphrase` states whether the prompt avoids the words of the caption templates.
    """

    text: str
    action: str
    split: str
    kind: str
    paraphrase: bool
    obeys: Condition


# actions with fewer than 3 takes and less than 20 s of motion in the training data
THIN = ("crawl", "get up from the floor", "balance on one leg")

FORWARD = all_of(mostly("walk"), without("run", "turn left", "turn right", "jump", "sneak"))
SITS = all_of(does("sit"), ends(seated))
STANDS_UP = all_of(begins(seated), does("stand up"), ends(upright))
LIES = all_of(does("lie down"), ends(lying))
GETS_UP = all_of(does("get up"), ends(upright))
JUMPS = all_of(does("jump"), ends(upright), without("hop", "flip", "run"))
KICKS_LEFT, KICKS_RIGHT = all_of(does("kick left"), without("kick right")), all_of(does("kick right"), without("kick left"))
WAVES_LEFT, WAVES_RIGHT = all_of(does("wave left"), without("raise right")), all_of(does("wave right"), without("raise left"))
RAISES_LEFT, RAISES_RIGHT = all_of(does("raise left"), without("raise right")), all_of(does("raise right"), without("raise left"))
BOWS = all_of(does("bow"), ends(upright), without("walk", "run"))
PICKS_UP = all_of(does("reach the floor"), ends(upright), without("sit", "lie down", "run"))
JACKS = all_of(does("jumping jacks"), without("walk", "run"))
BALANCES = all_of(does("balance"), without("walk", "run", "kick"))
STILL = all_of(does("stand"), without("walk", "run"))
DANCES = all_of(does("dance"), without("sit", "lie down", "crawl", "run"))
MOPS = all_of(does("mop"), without("run", "sit"))
DRINKS = all_of(does("drink"), without("wave", "run"))
WASHES = all_of(does("wash"), without("walk", "run", "sit"))
POINTS = all_of(does("point"), without("run", "wave"))


def pair(
    action: str, template: str, paraphrase: str, condition: Condition, other: Condition | None = None
) -> tuple[Prompt, Prompt]:
    """Return a prompt in the words of the training captions, and a paraphrase for the same action. Their splits are set later.

    `condition` checks a motion generated from the prompt; `other` does so for the paraphrase, if given.
    """
    return (
        Prompt(template, action, "", "action", False, condition),
        Prompt(paraphrase, action, "", "action", True, other or condition),
    )


PAIRS = (
    pair("walk", "a person walks forward", "someone strolls straight ahead", FORWARD),
    pair("walk", "a person walks backwards", "a man backs away a few paces", all_of(does("walk backward"), without("walk", "run"))),
    pair("turn", "a person walks forward and turns left", "she heads off and veers to her right",
         all_of(does("walk", "turn left"), without("run")), all_of(does("walk", "turn right"), without("run"))),
    pair("run", "a person runs forward", "somebody sprints ahead at full tilt", mostly("run", 0.4)),
    pair("run", "a person jogs in a circle to the left", "someone jogs round in a bend, leftwards", does("circle left")),
    pair("wave", "a person waves with the left hand", "the woman says hi, her right hand waggling overhead",
         WAVES_LEFT, WAVES_RIGHT),
    pair("wave", "a person waves with both hands", "somebody waves hello with the two arms at once",
         does("wave left", "wave right")),
    pair("raise an arm", "a person raises the left hand", "he sticks his right hand up", RAISES_LEFT, RAISES_RIGHT),
    pair("raise an arm", "a person raises both hands", "someone throws both arms up in the air", does("raise left", "raise right")),
    pair("bow", "a person bows", "he bends from the hips to greet someone politely", BOWS),
    pair("sit down", "a person sits down on a chair", "someone takes a seat", SITS),
    pair("stand up", "a person stands up from a chair", "she rises from her seat", STANDS_UP),
    pair("squat", "a person does a squat", "someone drops into a deep knee bend and comes back up",
         all_of(does("squat"), ends(upright))),
    pair("lie down", "a person lies down on the floor", "a man stretches himself out flat on the ground", LIES),
    pair("get up from the floor", "a person gets up from the floor", "someone sprawled on the ground scrambles to their feet",
         GETS_UP),
    pair("crawl", "a person crawls on the floor", "somebody moves along on hands and knees", does("crawl")),
    pair("jump", "a person jumps up", "someone leaps into the air", JUMPS),
    pair("jump", "a person jumps forward", "a man springs ahead, both feet together", all_of(does("jump forward"), ends(upright))),
    pair("hop", "a person hops on one leg", "somebody bounces about on a single foot", does("hop")),
    pair("jumping jacks", "a person does jumping jacks", "someone warms up with star jumps", JACKS),
    pair("kick", "a person kicks with the left leg", "the man lashes out with his right foot", KICKS_LEFT, KICKS_RIGHT),
    pair("soccer", "a person kicks a ball", "somebody boots a football away", does("kick a ball")),
    pair("punch", "a person throws a punch", "someone jabs at an invisible opponent",
         all_of(does("punch"), without("walk", "kick"))),
    pair("throw", "a person throws a basketball", "somebody tosses a ball up with two hands", does("throw")),
    pair("basketball", "a person dribbles a basketball", "someone keeps bouncing a ball beside them", does("dribble")),
    pair("pick up", "a person picks something up from the floor", "someone grabs a thing off the ground", PICKS_UP),
    pair("put down", "a person puts something down on the floor", "he stoops to leave an item at his feet", PICKS_UP),
    pair("reach up", "a person reaches up and grabs something with the right hand", "somebody takes a book from a high shelf",
         all_of(does("reach up right"), without("wave", "sit")), all_of(does("reach up"), without("wave", "sit"))),
    pair("climb steps", "a person climbs up the steps", "she goes upstairs", does("climb steps")),
    pair("climb a ladder", "a person climbs a ladder", "somebody clambers up rung by rung", does("climb a ladder")),
    pair("cartwheel", "a person does a cartwheel", "someone wheels sideways over their hands, legs flying", does("cartwheel")),
    pair("flip", "a person does a backflip", "a man somersaults backwards through the air", does("flip")),
    pair("roll", "a person rolls forward over the floor", "someone tumbles head first along the ground", does("roll")),
    pair("balance on one leg", "a person balances on one leg", "someone stays on a single foot like a flamingo", BALANCES),
    pair("touch elbow to knee", "a person lifts the knee to the elbow of the other side",
         "somebody crunches an elbow towards the opposite knee", does("elbow to knee")),
    pair("circle the arms", "a person rotates both arms backward", "someone windmills with both arms", does("circle the arms")),
    pair("wash", "a person washes a window", "someone wipes a pane of glass clean", WASHES),
    pair("mop", "a person mops the floor", "she swabs the ground with a long handled mop", MOPS),
    pair("drink", "a person drinks from a bottle", "someone takes a sip", DRINKS),
    pair("dance", "a person dances", "she grooves to the music", DANCES),
    pair("walk like a zombie", "a person walks like a zombie", "somebody staggers along, arms held out like the undead",
         does("zombie")),
    pair("sneak", "a person sneaks forward", "someone creeps along without a sound", does("sneak")),
    pair("idle", "a person stands still", "he hangs around, hardly moving", STILL),
    pair("point", "a person directs traffic", "someone sticks out an arm to show the way", POINTS),
    pair("duck", "a person runs and ducks under something", "somebody dashes beneath a low bar, crouching", does("duck")),
)  # fmt: skip

WAVES_STANDING = all_of(in_order("walk", "wave left"), ends(resting), without("wave right"))
STOPS = all_of(in_order("run", "stand"), ends(resting))


def both_arms(gait: str, gesture: str) -> Condition:
    """Return a function that checks whether both arms make the gesture, such as "wave", during the gait, such as "walk"."""
    return all_of(together(gait, f"{gesture} left"), together(gait, f"{gesture} right"))


def combined(kind: str, *rows: tuple[str, str, str, Condition]) -> tuple[Prompt, ...]:
    """Return prompts of one kind, such as "sequence", from rows (split, action, text, condition). "~" marks paraphrases."""
    return tuple(
        Prompt(text.removeprefix("~"), action, split, kind, text.startswith("~"), condition)
        for split, action, text, condition in rows
    )


SEQUENCES = combined(
    "sequence",
    ("val", "wave", "a person walks forward, then stops and waves with the left hand", WAVES_STANDING),
    ("test", "sit down", "a person walks forward and then sits down", all_of(in_order("walk", "sit"), ends(seated))),
    ("val", "pick up", "~someone takes a few paces and grabs a thing off the ground", in_order("walk", "reach the floor")),
    ("test", "bow", "a person jumps, then bows", in_order("jump", "bow")),
    ("val", "stand up", "a person stands up and then walks forward", in_order("stand up", "walk")),
    ("test", "jump", "~after a short sprint he leaps into the air", in_order("run", "jump")),
    ("val", "squat", "a person squats and then jumps", in_order("squat", "jump")),
    ("test", "kick", "a person kicks with the right leg, then throws a punch", in_order("kick right", "punch")),
    ("val", "bow", "~first she bends to greet someone, afterwards she waggles her right hand", in_order("bow", "wave right")),
    ("test", "stop", "a person runs forward and then stops", STOPS),
    ("test", "wave", "~having waved with the two arms, somebody strolls off", in_order("wave", "walk")),
    ("val", "squat", "a person raises both hands and then does a squat", in_order("raise", "squat")),
)
SIMULTANEOUS = combined(
    "together",
    ("val", "wave", "a person walks forward while waving with the right hand", together("walk", "wave right")),
    ("test", "drink", "~someone has a drink as they stroll along", together("walk", "drink", 0.5)),
    ("test", "raise an arm", "a person runs forward with both hands raised", both_arms("run", "raise")),
    ("val", "raise an arm", "~she ambles along with her left hand up in the air", together("walk", "raise left")),
    ("val", "wave", "a person walks backwards while waving with both hands", both_arms("walk backward", "wave")),
    ("test", "point", "~somebody points the way while on the march", together("walk", "point", 0.4)),
)
COUNTS = combined(
    "action",
    ("test", "jump", "a person jumps twice", times("jump", 2)),
    ("val", "squat", "~someone does three deep knee bends in a row", times("squat", 3)),
    ("test", "kick", "a person kicks twice with the left leg", times("kick left", 2)),
    ("val", "bow", "~he bends to greet people two times", times("bow", 2)),
)


def with_splits() -> tuple[Prompt, ...]:
    """Return all prompts, sorted by split.

    `PAIRS` has two prompts per action: one in the words of the training captions, and a paraphrase. One of them is in val, and the
    other is in test. The first prompt is in val if the index of the pair is even, and in test if the index is odd.
    """
    prompts = []
    for number, (template, paraphrase) in enumerate(PAIRS):
        splits = ("val", "test") if number % 2 == 0 else ("test", "val")
        prompts += [template._replace(split=splits[0]), paraphrase._replace(split=splits[1])]
    return tuple(sorted((*prompts, *SEQUENCES, *SIMULTANEOUS, *COUNTS), key=lambda prompt: prompt.split))


PROMPTS = with_splits()
