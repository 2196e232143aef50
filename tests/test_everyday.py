"""Captions of everyday labels say what joints prove, in many ways; and the table of actions."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from prepare import activities, phrases, verbs
from prepare.actions import ACTIONS, CONTENTS, actions_in
from prepare.captions import captions, clauses
from prepare.everyday import WITHIN, WRITERS
from prepare.grammar import gerund, progressive
from prepare.synthetic import raiser, walker
from tests import performers as people

CLIPS = Path(__file__).parents[2] / "shared/data/everyday/clips.csv"
NAMES = [f"clip_{number}" for number in range(6)]
NUMBERS = {word: number for number, word in enumerate(phrases.NUMBERS)} | {"once": 1, "twice": 2}


def said(label, joints):
    return [caption for name in NAMES for caption in captions(name, "", "normal", joints, label=label)]


def numbers(texts):
    """The numbers in captions that state how often something is done."""
    pattern = r"\b(once|twice)\b|\b(\w+) (?:times|squats|knee bends|jumps|hops|kicks|punches|jumping jacks|cartwheels)"
    return {NUMBERS[word] for text in texts for matches in re.findall(pattern, text) for word in matches if word in NUMBERS}


# -------------------------------------------------------------------------------------------------------------- actions
@pytest.mark.parametrize(
    ("label", "source", "actions"),
    [
        ("walk-turn-left", "bandai 2", ("walk", "turn")),
        ("sit on high stool, stand up", "cmu", ("sit down", "stand up")),
        ("SadWalk", "cmu", ("walk",)),
        ("jumping jacks, jog, squats, side twists, stretches", "cmu", ("jumping jacks", "squat", "stretch", "run")),
        ("dance - cartwheel-like start, pirouettes, jete", "cmu", ("dance",)),
        ("chicken (human subject)", "cmu", ("act as an animal",)),
        ("walk up to object, squat, pick up object, set down in another place", "cmu", ("pick up", "put down", "squat", "walk")),
        ("spinning kick", "deepmimic", ("kick",)),
        ("walk like a zombie", "deepmimic", ("walk like a zombie",)),
        ("a person sits down on a chair", "cmu", ("sit down",)),
        ("plays the violin", "cmu", ()),
    ],
)
def test_a_label_names_its_actions_the_main_one_first(label, source, actions):
    assert actions_in(label, source) == actions


def test_every_action_is_written_by_label_or_by_content():
    within = {action_name for included in WITHIN.values() for action_name in included}
    by_content = {action for actions in CONTENTS.values() for action in actions}
    assert set(ACTIONS) - set(WRITERS) - within <= by_content
    assert set(WRITERS) <= set(ACTIONS)


@pytest.mark.skipif(not CLIPS.exists(), reason="the list of everyday clips is not here")
def test_every_label_of_the_everyday_clips_has_an_action_and_captions():
    labels = {(row["label"], row["source"]) for row in csv.DictReader(CLIPS.open())}
    for label, source in sorted(labels):
        assert actions_in(label, source), label
        check(captions("clip", "", "normal", raiser("both"), label=label))


def check(texts):
    assert len(texts) >= 6 and len({text.rstrip(".") for text in texts}) == len(texts)
    for text in texts:
        assert re.fullmatch(r"[a-zI', ]+[a-z0-9 ,]*\.?", text) and not re.search(r"\{|\}|  | ,|,,|human subject", text), text
    assert sum(len(text.split()) > 18 for text in texts) <= 1, texts


# ------------------------------------------------------------------------------------------------------------- captions
@pytest.mark.parametrize(
    ("label", "joints", "words"),
    [
        ("sit on stepstool, stand up", people.sitter(rises=False), "sit|seat|chair|stool"),
        ("sit on stepstool, stand up", people.sitter(), "(sit|seat|chair|stool).*(stand|rise|gets|up|feet)"),
        ("squat, 1 repetition", people.squatter(), "squat|knee|crouch"),
        ("lie down on the floor", people.lier(), "lie|lay|lying|stretch"),
        ("get up from lying on the back", people.lier(rises=True)[60:], "up|rise|feet|standing|stand"),
        ("crawl low over the floor", people.crawler(), "crawl|all fours|creep"),
        ("forward jump", people.jumper(0.3, forward=0.8), "forward|ahead|long jump"),
        ("kick to the front with the left foot", people.kicker(0), "kick"),
        ("climb 3 steps", people.climber(), "up|climb|ascend"),
        ("climb 3 steps", people.climber(up=False), "down|descend"),
        ("cartwheel", people.tumbler(2, True), "cartwheel|sideways"),
        ("throw a basketball", raiser("both"), "throw|toss|shoot|shot"),
        ("walk like a zombie", walker(6), "zombie|dead"),
    ],
)
def test_captions_say_what_is_done(label, joints, words):
    texts = said(label, joints)
    for text in texts:
        assert re.search(words, text), text
    check(captions("clip", "", "normal", joints, label=label))


@pytest.mark.parametrize(
    "label", ["sit on high stool, stand up", "squat, 1 repetition", "cartwheel", "climb ladder", "lie down on the floor"]
)
def test_what_a_piece_does_not_show_is_not_said(label):
    wrong = "sit|seat|stool|squat|crouch|cartwheel|climb|ladder|lie|floor"
    for text in said(label, walker(6)):
        assert not re.search(wrong, text) and re.search("walk|stroll|step|move|moving|go|strid|stride|march|hurr", text), text


@pytest.mark.parametrize("times", [2, 3, 5])
def test_counts_are_right(times):
    for label, joints in (("squat, 1 repetition", people.squatter(0.45, times)), ("jump", people.jumper(0.25, times))):
        assert numbers(said(label, joints)) == {times}, label
    hops = people.jumper(0.07, times)
    assert numbers(said(f"hop on both legs, {times} hops", hops)) == {times}


@pytest.mark.parametrize(("side", "name", "other"), [(0, "left", "right"), (1, "right", "left")])
def test_sides_are_right(side, name, other):
    texts = said("kick", people.kicker(side))
    assert any(name in text for text in texts) and not any(other in text for text in texts)


def test_moods_of_labels_are_said():
    assert not any("sad" in text for text in said("dance - glissade devant", walker(6)))
    assert any(re.search("sad|gloomy|unhappy|depressed|down|sorrow|gloomily", text) for text in said("SadWalk", walker(6)))


def test_captions_are_many_and_the_same_each_time():
    joints = people.sitter(rises=False)
    assert captions("clip", "", "normal", joints, label="sit") == captions("clip", "", "normal", joints, label="sit")
    predicates = {re.sub(r"^(a |the |this )?\w+ (is )?", "", text.rstrip(".")) for text in said("sit on stepstool", joints)}
    assert len(predicates) >= 12


# -------------------------------------------------------------------------------------------------------------- clauses
def test_clauses_have_no_subject_and_become_participles():
    kick_clauses = clauses("clip", "", "normal", people.kicker(1), label="kick")
    assert len(kick_clauses) >= 6 and len(set(kick_clauses)) == len(kick_clauses)
    for clause in kick_clauses:
        assert not clause.endswith(".") and re.match(r"\w+s\b", clause) and re.match(r"\w+ing\b", gerund(clause)), clause
    assert all(
        clause.startswith("walks") or "forward" in clause or "ahead" in clause for clause in clauses("w", "walk", "old", walker(5))
    )
    assert any("their right" in clause for clause in kick_clauses)


@pytest.mark.parametrize(
    ("clause", "participle"),
    [
        ("sits down and crosses their legs", "sitting down and crosses their legs"),
        ("runs, dives and rolls over the floor", "running, diving and rolling over the floor"),
        ("is sitting on a chair", "sitting on a chair"),
        ("lies down, then gets up", "lying down, then getting up"),
        ("swings a sword", "swinging a sword"),
        ("does karate strikes and blocks", "doing karate strikes and blocks"),
    ],
)
def test_participles(clause, participle):
    assert gerund(clause) == participle


def test_progressive_forms_are_spelled():
    forms = {"passes": "passing", "tries": "trying", "hops": "hopping", "boxes": "boxing", "takes": "taking", "mimics": "mimicking"}
    assert {verb: progressive(verb) for verb in forms} == forms


def test_main_actions_are_said_in_a_dozen_ways():
    tables = (
        "SIT_DOWN STAND_UP LIE_DOWN GET_UP CRAWL SQUAT JUMP JUMP_FORWARD HOP_BOTH HOPS_ONE JACKS KICK PUNCH KARATE SWORD THROW "
        "DRIBBLE PICK_UP PUT_DOWN REACH_UP ELBOW_KNEE ARM_CIRCLES CARTWHEEL ROLL DUCK BALANCE STRETCH WASH_SELF MOP DRINK LAUGH "
        "POINT WAVE MIME SPIN IDLE DANCE"
    )
    for table in tables.split():
        assert len(set(getattr(verbs, table, None) or getattr(activities, table))) >= 12, table


def test_phrases_begin_with_a_verb_and_fill_in():
    words = {
        "their": "x",
        "themself": "x",
        "they_are": "x",
        "they": "x",
        "them": "x",
        "on": "",
        "onto": "",
        "off": "",
        "times": "x",
    }
    words |= dict.fromkeys(("count", "way", "hand", "limb", "how", "side", "other", "part", "thing", "animal"), "")
    for name, table in (vars(verbs) | vars(activities)).items():
        groups = table.values() if isinstance(table, dict) else [table] if isinstance(table, tuple) else []
        for phrase in [phrase for group in groups for phrase in group] if name != "SEATS" and name.isupper() else []:
            assert re.match(r"[a-z]+s\b", phrase.format(**words)), phrase


def test_facts_need_no_label():
    joints = np.repeat(walker()[:1], 40, axis=0)
    assert all(re.search("stand|stay|wait|remain|nothing", text) for text in said("stand idle, acted", joints))
