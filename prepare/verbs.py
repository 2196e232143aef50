"""Verb phrases for `prepare/everyday_parts.py`: walking, standing, and actions that are detected in the joints.

This module contains only data: about a dozen phrases per action, in the third person, without subject. Each phrase must be true of
every clip for which its table is used. `prepare/activities.py` contains the phrases of other activities. The phrases contain these
placeholders in braces: {their} {themself}, {side} (left, right), {on} and {onto} (" on a chair", or nothing), {times} ("twice"),
{count} ("three"), {way} (" forward", or nothing), {hand} ("their right hand"), {limb}, {how}.
"""

from __future__ import annotations

Phrases = tuple[str, ...]

SEATS = {  # kind of seat in facts.postures → nouns
    "floor": ("the floor", "the ground"),
    "low": ("a low seat", "something low"),
    "chair": ("a chair", "a chair", "a stool"),
    "high": ("a high stool", "a tall stool", "a bar stool"),
}
SIT_DOWN: Phrases = (
    "sits down{on}", "sits down{on}", "takes a seat{on}", "has a seat{on}", "lowers {themself}{onto}", "goes to sit down{on}",
    "seats {themself}{on}", "sits{on}", "settles down{on}", "bends {their} knees and sits down{on}", "eases down{onto}",
    "moves from standing to sitting{on}", "gets seated{on}", "goes down to sit{on}",
)  # fmt: skip
SIT: Phrases = (
    "sits{on}", "stays seated{on}", "keeps sitting{on}", "rests{on}", "sits still{on}", "remains seated{on}", "sits there{on}",
    "sits around{on}", "is sitting{on}", "is seated{on}", "holds a seated position{on}", "waits while sitting{on}",
)  # fmt: skip
STAND_UP: Phrases = (
    "stands up", "stands up", "gets up", "rises to {their} feet", "gets up{off}", "stands back up", "rises{off}",
    "stands up{off}", "gets to {their} feet", "pushes {themself} up to stand", "comes up to standing",
    "moves from sitting to standing", "gets back on {their} feet", "rises from {their} seat",
)  # fmt: skip
LIE_DOWN: Phrases = (
    "lies down", "lies down on the floor", "lies down on the ground", "lays down on the floor",
    "gets down and lies on {their} {part}", "goes down to the floor and lies down", "stretches out on the floor",
    "lowers {themself} to the floor and lies flat", "goes from standing to lying down", "lies down on {their} {part}",
    "gets down on the floor and lies on {their} {part}", "lays {themself} down on the ground",
    "moves down to lie on the floor", "lies down flat on the floor",
)  # fmt: skip
LIE: Phrases = (
    "lies on the floor", "lies on {their} {part}", "lies on the ground", "stays down on the floor", "lies flat on {their} {part}",
    "lies there on the floor", "remains lying down", "rests on the floor", "lies stretched out", "keeps lying on the ground",
    "is lying down", "is lying on {their} {part}",
)  # fmt: skip
GET_UP: Phrases = (
    "gets up from the floor", "gets up off the floor", "gets up off the ground", "stands up from the floor",
    "rises from the ground", "stands up from lying down", "picks {themself} up off the floor",
    "pushes {themself} up off the ground and stands", "gets back to {their} feet from the floor",
    "goes from lying on {their} {part} to standing", "comes up from the floor", "gets up after lying on {their} {part}",
    "rises from lying on {their} {part} to standing", "climbs to {their} feet",
)  # fmt: skip
CRAWL: Phrases = (
    "crawls{way}", "crawls on the floor", "crawls across the floor", "crawls on {their} hands and knees",
    "moves{way} on all fours", "crawls along the ground", "crawls{way} on hands and feet", "goes{way} on all fours",
    "crawls low over the floor", "gets down low and crawls{way}", "creeps along the floor on all fours",
    "makes {their} way{way} by crawling",
)  # fmt: skip
SQUAT: Phrases = (
    "squats", "squats down", "does a squat", "performs a squat", "squats down and stands back up", "goes down into a squat",
    "bends {their} knees and squats", "drops into a squat and comes back up", "crouches down and rises again", "does a knee bend",
    "lowers {themself} into a squat", "gets down into a squat and stands up again", "dips down into a squat", "does one squat",
)  # fmt: skip
SQUATS: Phrases = (
    "does {count} squats", "squats {times}", "performs {count} squats", "squats down and up {times}",
    "does {count} knee bends", "does squats, {count} of them", "goes down into a squat {times}",
    "bends {their} knees and squats {times}", "does some squats", "drops into a squat {times}",
    "squats and stands back up {times}", "crouches down and rises {times}", "squats up and down",
)  # fmt: skip
JUMP: Phrases = (
    "jumps", "jumps up", "jumps into the air", "jumps up in the air", "leaps up", "leaps into the air", "springs up into the air",
    "takes a jump", "does a jump", "jumps off the ground", "jumps up once", "bends {their} knees and jumps", "jumps straight up",
    "crouches and jumps up", "jumps on the spot", "makes a jump", "does a vertical jump",
)  # fmt: skip
READY_TO_JUMP: Phrases = (
    "gets ready to jump", "prepares to jump", "bends {their} knees, ready to jump", "stands and gets ready for a jump",
    "swings {their} arms back to jump", "goes down to jump", "crouches to jump", "is about to jump",
)  # fmt: skip
HIGH_JUMP: Phrases = (
    "jumps high", "jumps up high into the air", "jumps as high as {they} can", "leaps high into the air", "does a high jump",
)  # fmt: skip
JUMP_FORWARD: Phrases = (
    "jumps forward", "leaps forward", "takes a leap forward", "jumps ahead", "does a forward jump", "makes a jump forward",
    "springs forward", "bounds forward", "takes a jump forward", "leaps ahead", "jumps forward once", "does a long jump",
    "swings {their} arms and jumps forward", "bends {their} knees and jumps forward", "jumps a good way forward",
)  # fmt: skip
JUMPS: Phrases = (
    "jumps up and down", "jumps up and down {times}", "jumps {times}", "jumps on the spot {times}", "keeps jumping up and down",
    "bounces up and down", "leaps into the air {times}", "does {count} jumps", "jumps up {times}", "jumps into the air {times}",
    "makes {count} jumps", "jumps again and again", "jumps up and down in place",
)  # fmt: skip
JUMPS_FORWARD: Phrases = (
    "jumps forward {times}", "makes {count} jumps forward", "keeps jumping forward", "jumps ahead {times}",
    "leaps forward {times}", "jumps forward again and again", "does {count} forward jumps", "jumps along",
    "moves forward by jumping", "takes {count} jumps forward",
)  # fmt: skip
JUMP_OVER: Phrases = (
    "runs and jumps over something", "leaps over something while running", "runs up and jumps over an obstacle",
    "hurdles an obstacle", "takes a running jump over something", "jumps over something on the run",
    "runs forward, leaps and keeps running", "runs and clears something with a jump", "sprints and leaps over a hurdle",
    "runs and makes a big leap", "leaps forward at a run", "does a running leap", "runs forward and jumps over an obstacle",
)  # fmt: skip
HOP_BOTH: Phrases = (
    "hops{way}", "hops{way} on both legs", "hops{way} with both feet", "does a hop{way}", "makes a small jump{way}",
    "takes a hop{way}", "hops{way} with both feet together", "jumps{way} with both feet together", "hops{way} like a bunny",
    "gives a hop{way}", "bounces{way} on both feet", "jumps{way} on both legs", "hops on two legs",
)  # fmt: skip
HOPS_BOTH: Phrases = (
    "hops{way} {times}", "hops {times} on both legs", "hops{way} with both feet {times}", "does {count} hops{way}",
    "hops up and down {times}", "makes {count} hops on both legs", "hops{way} like a bunny {times}",
    "takes {count} small jumps{way}", "jumps{way} with both feet {times}", "hops again and again",
    "keeps hopping{way} on both feet", "bounces{way} on both feet {times}", "hops up and down",
)  # fmt: skip
HOPS_ONE: Phrases = (
    "hops on one leg", "hops on {their} {side} leg", "hops on one foot", "hops {times} on {their} {side} foot",
    "hops on {their} {side} foot", "jumps up and down on one leg", "bounces on one foot", "bounces on {their} {side} leg",
    "hops around on one leg", "keeps hopping on one foot", "jumps on {their} {side} leg", "does hops on one foot",
    "hops up and down on one foot",
)  # fmt: skip
JACKS: Phrases = (
    "does jumping jacks", "does {count} jumping jacks", "performs jumping jacks", "does some jumping jacks",
    "does star jumps", "jumps, spreading {their} arms and legs", "exercises with jumping jacks",
    "does a set of jumping jacks", "does jumping jacks {times}",
    "jumps {their} feet apart while raising {their} arms, again and again", "is busy doing jumping jacks",
    "starts doing jumping jacks", "jumps up and down with {their} arms and legs going in and out",
)  # fmt: skip
KICK: Phrases = (
    "kicks with {limb}", "kicks", "throws a kick", "does a kick", "kicks with {limb}", "gives a kick with {limb}",
    "throws a kick with {limb}", "does a kick with {limb}", "kicks out with {limb}", "swings {limb} up in a kick",
    "lifts {limb} and kicks", "makes a kick with {limb}", "kicks the air with {limb}", "kicks {limb} out",
    "performs a kick with {limb}",
)  # fmt: skip
KICK_WAYS: dict[str, Phrases] = {
    "front": (
        "kicks forward with {limb}", "does a front kick with {limb}", "kicks straight ahead with {limb}",
        "throws a front kick",
    ),
    "high": ("kicks high with {limb}", "does a high kick with {limb}", "kicks up high", "throws a high kick with {limb}"),
    "low": ("kicks low with {limb}", "does a low kick with {limb}", "kicks something low with {limb}"),
    "spin": (
        "does a spinning kick", "spins around and kicks", "turns and kicks in one move", "does a spin kick",
        "whirls around with a kick",
    ),
    "jump": ("does a jump kick", "jumps and kicks", "leaps up and kicks", "does a flying kick", "kicks in mid air"),
}  # fmt: skip
KICKS: Phrases = (
    "kicks {times}", "throws {count} kicks", "does {count} kicks", "kicks {times} with {limb}", "kicks again and again",
    "keeps kicking", "practices kicks", "throws kicks with {limb}", "does one kick after another",
    "kicks with {limb} {times}", "throws several kicks", "practices kicking with {limb}",
)  # fmt: skip
SOCCER: Phrases = (
    "kicks a ball", "kicks a soccer ball", "kicks a ball with {limb}", "runs up and kicks a ball",
    "steps up and kicks a soccer ball", "takes a shot with a soccer ball", "kicks a football",
    "plays soccer and kicks the ball", "shoots a soccer ball", "walks up to a ball and kicks it", "kicks an imaginary ball",
    "takes a few steps and kicks a ball", "passes a soccer ball",
)  # fmt: skip
PUNCH: Phrases = (
    "punches", "throws a punch", "throws a punch with {limb}", "punches with {limb}", "strikes with {limb}",
    "hits out with {limb}", "punches the air", "jabs with {limb}", "swings {limb} in a punch", "delivers a punch",
    "hits something with {limb}", "strikes out with {limb}", "gives a punch with {limb}",
)  # fmt: skip
PUNCHES: Phrases = (
    "throws punches", "boxes", "punches {times}", "throws {count} punches", "punches with {limb} {times}",
    "boxes with an unseen opponent", "does some shadow boxing", "practices punching", "fights with {their} fists",
    "throws jabs and punches", "punches the air {times}", "hits the air with {their} fists", "spars like a boxer",
    "throws punches with {limb}",
)  # fmt: skip
SLOW_PUNCHES: Phrases = (
    "throws punches", "practices punching", "punches again and again", "strikes out again and again", "punches the air",
    "practices strikes", "hits out several times", "throws punches at nobody", "strikes with {their} fists", "delivers punches",
    "fights with {their} fists", "trains punches",
)  # fmt: skip
KARATE: Phrases = (
    "does karate", "practices karate", "performs karate moves", "does a martial arts move", "practices martial arts",
    "goes through a karate form", "does karate strikes and blocks", "performs a martial arts routine", "trains karate",
    "shows karate moves", "does a karate kata", "makes martial arts moves", "performs karate techniques",
)  # fmt: skip
KARATE_MOVES: dict[str, Phrases] = {
    "empi": ("strikes with {their} elbow like in karate", "does karate elbow strikes", "practices elbow strikes"),
    "gedanbarai": ("does low karate blocks", "practices a low block", "blocks low with {their} arms like in karate"),
    "oiduki": ("steps forward with a karate punch", "does karate punches", "practices lunge punches"),
    "syutouuke": ("does karate knife hand blocks", "blocks with open hands like in karate", "practices karate blocks"),
    "mawashigeri": ("does roundhouse kicks", "kicks in a half circle like in karate", "practices karate kicks"),
    "yokogeri": ("does side kicks", "kicks sideways like in karate", "practices karate side kicks"),
    "front kick": ("does front kicks like in karate", "practices front kicks", "does karate kicks"),
    "heian": ("performs a karate kata", "goes through a karate form", "does a series of karate moves"),
}
PICK_UP: Phrases = (
    "picks something up", "picks something up off the floor", "grabs something off the floor",
    "picks up something from the ground", "lifts something off the floor", "reaches down and picks something up",
    "takes something from the floor", "picks up {thing}", "gets something from the floor", "bends down to pick something up",
    "bends down and picks up {thing}", "reaches down for {thing}", "gathers something up from the ground",
    "lifts {thing} from the ground", "scoops something up", "picks {thing} up with {hand}",
)  # fmt: skip
PICK_WAYS: dict[str, Phrases] = {
    "knees": ("squats down and picks up {thing}", "crouches to pick something up", "bends {their} knees and lifts {thing}"),
    "waist": ("bends over and picks up {thing}", "leans down and picks something up", "bends at the waist to lift {thing}"),
}
PUT_DOWN: Phrases = (
    "puts something down", "puts something on the floor", "sets something down", "places something on the floor",
    "lays something on the ground", "bends down and puts something on the floor", "bends down to put something down",
    "sets something on the ground with {hand}", "puts {thing} down on the floor", "lowers something to the floor",
    "places {thing} on the ground", "leaves something on the floor", "reaches down and sets something on the floor",
    "drops something off on the floor", "puts something down with {hand}",
)  # fmt: skip
PUT_WAYS: dict[str, Phrases] = {
    "knees": (
        "squats down and puts something on the floor", "crouches to set something down",
        "bends {their} knees and puts something down",
    ),
    "waist": (
        "bends over and puts something on the floor", "leans down and sets something on the ground",
        "stoops to put something down",
    ),
}  # fmt: skip
CARRY: Phrases = ("carries it back", "takes it along", "walks away with it", "brings it back")
REACH_UP: Phrases = (
    "reaches up", "reaches up with {hand}", "reaches up and grabs something", "reaches for something high up",
    "grabs something from above", "grabs something high with {hand}", "takes something off a high shelf",
    "stretches up to get something", "reaches high with {hand}", "gets something down from a shelf",
    "reaches overhead and takes something", "stretches {hand} up to grab something", "picks something from high up",
    "reaches up to a shelf with {hand}",
)  # fmt: skip
JUMP_GRAB: Phrases = (
    "jumps up to grab something", "jumps and reaches up", "jumps up to catch hold of something high",
    "leaps up with {their} arms reaching high", "jumps to reach something above", "reaches up and jumps",
    "tries to grab something high by jumping", "jumps up to get something overhead", "jumps with {their} hands up high",
    "jumps up, reaching for something", "leaps up to touch something high", "jumps to grab something off the ceiling",
)  # fmt: skip
STRETCH_UP: Phrases = (
    "reaches up high", "stretches {their} arms up", "stands on tiptoe and reaches up", "reaches for something high up",
    "stretches up with both arms", "reaches up with {their} arms", "tries to reach something high",
)  # fmt: skip
CLIMB_LADDER: dict[str, Phrases] = {
    "up": (
        "climbs a ladder", "climbs up a ladder", "goes up a ladder", "climbs the rungs of a ladder", "steps up a ladder",
        "gets up on a ladder", "makes {their} way up a ladder", "mounts a ladder", "uses a ladder to climb up",
        "moves up a ladder rung by rung", "scales a ladder", "heads up a ladder",
    ),
    "down": (
        "climbs down a ladder", "goes down a ladder", "comes down from a ladder", "steps down a ladder",
        "climbs back down a ladder", "gets off a ladder", "descends a ladder", "makes {their} way down a ladder",
        "moves down a ladder rung by rung",
    ),
    "both": (
        "climbs up and down a ladder", "goes up a ladder and comes back down", "climbs a ladder, then climbs down again",
        "climbs up a ladder and back down", "goes up and down a ladder", "steps up a ladder and down again",
        "uses a ladder to go up and down",
    ),
}  # fmt: skip
CLIMB_STEPS: dict[str, Phrases] = {
    "up": (
        "walks up some steps", "climbs some steps", "goes up the stairs", "walks up the stairs", "climbs stairs",
        "steps up a few stairs", "walks upstairs", "goes up a few steps", "climbs three steps", "takes the stairs up",
        "heads up the stairs", "steps up onto a platform", "ascends a few steps",
    ),
    "down": (
        "walks down some steps", "goes down the stairs", "climbs down the steps", "walks down the stairs",
        "comes down a few steps", "walks downstairs", "steps down a few stairs", "descends some steps",
        "takes the stairs down", "heads down the stairs",
    ),
    "both": (
        "walks up and down some steps", "goes up a few stairs and comes back down",
        "climbs some steps, then walks down again", "goes up and down the stairs", "climbs three steps and goes down again",
        "walks up the stairs and back down", "climbs up and down a few stairs",
    ),
}  # fmt: skip
ELBOW_KNEE: Phrases = (
    "touches {their} {side} elbow to {their} {other} knee", "brings {their} {side} elbow to {their} {other} knee",
    "lifts {their} {other} knee to {their} {side} elbow", "raises a knee to the opposite elbow",
    "touches an elbow to the opposite knee", "brings elbow and knee together", "lifts {their} knee up to {their} elbow",
    "does a standing crunch, elbow to knee", "exercises by touching elbow to knee",
    "pulls {their} {other} knee up to meet {their} {side} elbow", "does a standing elbow to knee crunch",
    "twists and touches {their} {side} elbow to the {other} knee", "bends so that elbow and knee meet",
)  # fmt: skip
ARM_CIRCLES: Phrases = (
    "circles {their} arms", "swings {their} arms in a circle", "rotates both arms", "circles {limb}{how}",
    "rotates {limb}{how}", "swings {limb} around{how}", "does arm circles", "makes big circles with {limb}",
    "spins {their} arms around", "does a windmill with {limb}", "moves {limb} in a full circle",
    "turns {limb} in big circles{how}", "windmills {their} arms{how}",
)  # fmt: skip
CARTWHEEL: Phrases = (
    "does a cartwheel", "performs a cartwheel", "turns a cartwheel", "cartwheels", "does a cartwheel to the side",
    "goes into a cartwheel", "throws a cartwheel", "does a sideways handspring", "makes a cartwheel",
    "puts both hands on the floor and does a cartwheel", "turns over sideways in a cartwheel",
    "flips over sideways on {their} hands", "shows a cartwheel",
)  # fmt: skip
CARTWHEELS: Phrases = (
    "does {count} cartwheels", "does cartwheels", "turns {count} cartwheels", "performs {count} cartwheels in a row",
    "cartwheels {times}",
)  # fmt: skip
FLIPS: dict[str, Phrases] = {
    "backward": (
        "does a backflip", "does a back flip", "flips backwards", "performs a backflip", "jumps up and flips over backwards",
        "does a backward somersault in the air", "jumps into a backflip", "throws a backflip",
        "turns over backwards in the air", "does a back tuck", "does a flip backwards", "lands a backflip",
    ),
    "sideways": (
        "does a side flip", "flips sideways", "performs a side flip", "jumps up and flips over to the side",
        "does a sideways somersault in the air", "throws a side flip", "turns over sideways in the air", "does an aerial",
        "flips through the air", "does a flip to the side", "jumps into a side flip", "lands a side flip",
    ),
    "handspring": (
        "does a handspring", "does a front handspring", "flips over {their} hands", "performs a handspring",
        "springs over {their} hands", "flips forward over {their} hands", "does a flip with {their} hands on the floor",
        "throws a handspring", "goes into a handspring", "puts {their} hands on the floor and flips over",
        "does a forward handspring", "lands a handspring",
    ),
    "forward": (
        "does a front flip", "flips forward", "performs a front flip", "does a forward flip", "jumps up and flips forward",
    ),
}  # fmt: skip
ROLL: Phrases = (
    "rolls forward over the floor", "does a forward roll", "rolls over the floor", "does a somersault on the floor",
    "rolls on the ground", "tumbles forward", "does a roll", "tucks in and rolls forward", "rolls over {their} shoulders",
    "goes into a forward roll", "performs a forward roll", "somersaults forward on the ground", "rolls over and gets back up",
)  # fmt: skip
DIVE_ROLL: Phrases = (
    "runs, dives and rolls over the floor", "dives over something and rolls", "runs and does a dive roll",
    "runs into a diving roll", "dives forward and rolls back onto {their} feet", "does a dive roll and keeps running",
    "runs and rolls over the ground", "jumps into a forward roll while running", "runs, rolls over and runs on",
)  # fmt: skip
BALANCE: Phrases = (
    "balances on one leg", "stands on one leg", "balances on one foot", "stands on {their} {side} leg",
    "balances on {their} {side} leg", "keeps {their} balance on one leg", "stands on one foot",
    "balances on {their} {side} foot", "lifts one leg and balances", "holds {their} balance on one foot",
    "raises {their} {other} leg and balances", "stays balanced on one leg",
)  # fmt: skip
ONE_LEG: Phrases = ("balances on one leg", "balances on one foot", "keeps {their} balance on one leg", "stands on one leg")
WAVE: Phrases = (
    "waves", "waves hello", "waves at someone", "waves {hand}", "waves with {hand}", "gives a wave", "waves hi",
    "greets someone with a wave", "says hello with a wave", "waves to somebody", "raises {hand} and waves",
    "moves {hand} from side to side to greet someone",
)  # fmt: skip
IDLE: Phrases = (
    "stands still", "stands in place", "stands there", "stands and waits", "waits", "stands idle",
    "stands around", "stays where {they_are}", "remains standing", "stands without doing much", "does nothing but stand",
    "waits around",
)  # fmt: skip
SHIFTS: Phrases = (
    "stands and shifts {their} weight", "stands, moving a little", "waits and fidgets",
    "stands around, shifting from foot to foot",
)  # fmt: skip
STOP: Phrases = ("stops", "comes to a stop", "halts", "stops and stands still", "comes to a halt")
QUICK_STOP: Phrases = ("stops suddenly", "comes to a sudden stop", "stops abruptly", "stops short")
WALKS_OVER: Phrases = ("walks over to a seat", "walks", "takes some steps", "walks a few steps", "walks up")
UNEVEN: Phrases = (
    "walks over uneven ground", "walks on rough ground", "steps over uneven terrain", "walks carefully over rough terrain",
    "climbs over uneven ground", "makes {their} way over rough ground", "walks on bumpy ground",
    "picks {their} way over uneven terrain", "walks up and down over bumps",
)  # fmt: skip
VEERS: Phrases = ("veers to the {side}", "curves to the {side}", "bears {side}", "bends off to the {side}")
