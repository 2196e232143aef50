"""Facts that are derived from synthetic people whose motion is known, and captions that state only these facts."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.pos_tags import tag
from motion.facts import AT_HEAD, CHEST, DIRECTIONS, DOWN, OVERHEAD, SHOULDER, prove
from motion.skeleton import HUMANML3D
from prepare import phrases
from prepare.captions import ACTIONS, captions
from prepare.synthetic import HANDS, HEIGHTS, bower, raiser, walker, waver
from utils.errors import UserError

LEVELS = {"chest": CHEST, "shoulder": SHOULDER, "head": AT_HEAD, "above the head": OVERHEAD}
NAMES = [f"B2_walk_normal_{number:03d}" for number in range(8)]
STYLES = [*phrases.MOODS, *phrases.SAME_MOOD]
NUMBERS = {word: number for number, word in enumerate(phrases.NUMBERS)} | {"once": 1, "twice": 2}


def mirrored(joints):
    return joints[:, list(HUMANML3D.mirror)] * np.float32([-1, 1, 1])


def swapped(text):
    return re.sub("left|right", lambda side: "right" if side[0] == "left" else "left", text)


def said(content, joints, style="normal"):
    """All captions of many clips of this motion, in one list."""
    return [caption for name in NAMES for caption in captions(name, content, style, joints)]


def counts(texts, noun):
    """The numbers before a noun in captions, such as 'four steps'."""
    return [NUMBERS[word] for text in texts for word in re.findall(rf"(\w+) {noun}\b", text) if word in NUMBERS]


# --------------------------------------------------------------------------------------------------------------- facts
@settings(max_examples=25, deadline=None)
@given(
    steps=st.integers(5, 10), stride=st.floats(0.35, 0.7), pace=st.floats(1.4, 2.2),
    direction=st.sampled_from([0, 45, 90, 135, 180, -135, -90, -45]), turn=st.sampled_from([0, 45, -45, 90, -90, 135]),
)  # fmt: skip
def test_a_walk_is_proven(steps, stride, pace, direction, turn):
    facts = prove(walker(steps, stride=stride, pace=pace, direction=direction, turn=turn))
    assert facts.steps == steps
    assert facts.direction == DIRECTIONS[round(direction / 45) % 8]
    assert [fact.degrees for fact in facts.turns] == pytest.approx([turn] if turn else [], abs=6)
    assert facts.distance == pytest.approx((steps - 1) * stride, rel=0.1)
    assert facts.speed == pytest.approx(stride * pace, rel=0.3)
    assert not facts.bows and not facts.jumps and not any(facts.pair("kick")) and not any(facts.pair("punch"))


@settings(max_examples=10, deadline=None)
@given(steps=st.integers(4, 12), stride=st.floats(0.8, 1.1), pace=st.floats(2.4, 3.0))
def test_a_run_is_proven(steps, stride, pace):
    facts = prove(walker(steps, stride=stride, pace=pace, run=True))
    assert facts.steps == steps and facts.direction == "forward"
    assert facts.distance == pytest.approx((steps - 1) * stride, rel=0.05)


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("times", [1, 2])
def test_raised_hands_are_proven(hand, height, times):
    facts = prove(raiser(hand, height=height, times=times, hold=1.5))
    for side, proven in enumerate(facts.hands):
        if side in HANDS[hand]:
            assert (proven.level, proven.raises, proven.lowered, proven.waves) == (LEVELS[height], times, True, 0)
            assert proven.held == pytest.approx(2.0 * times, abs=0.4)
        else:
            assert (proven.level, proven.raises, proven.waves) == (DOWN, 0, 0)


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("waves", [2, 3, 5, 7])
def test_waves_are_counted(hand, waves):
    facts = prove(waver(hand, waves))
    assert [proven.waves for proven in facts.hands] == [waves if side in HANDS[hand] else 0 for side in (0, 1)]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_bows_are_counted_and_measured(times):
    facts = prove(bower(40, times))
    assert facts.bows == times and facts.bow_depth == pytest.approx(40, abs=4)


def test_facts_of_the_mirror_image_are_mirrored():
    for joints in (walker(5, turn=90, direction=45), waver("left", 4), raiser("right", height="head"), bower()):
        facts, mirror = prove(joints), prove(mirrored(joints))
        assert [turn.degrees for turn in mirror.turns] == pytest.approx([-turn.degrees for turn in facts.turns])
        assert mirror.steps == facts.steps
        assert mirror.hands == pytest.approx(facts.hands[::-1]) and mirror.direction == swapped(facts.direction)


def test_bad_joints_are_refused():
    with pytest.raises(UserError, match=r"\(30, 21, 3\)"):
        prove(np.zeros((30, 21, 3)))
    with pytest.raises(UserError, match="NaN"):
        prove(np.full((30, 22, 3), np.nan))


# ------------------------------------------------------------------------------------------------------------ captions
@pytest.mark.parametrize("steps", [6, 9])
@pytest.mark.parametrize("turn", [0, 45, -90, 90, 180])
def test_every_number_and_side_of_a_walk_is_right(steps, turn):
    texts = said("walk-turn-left", walker(steps, stride=0.5, turn=turn))  # the label's side is not to be trusted
    captioned_steps = counts(texts, "steps")
    assert captioned_steps and set(captioned_steps) == {steps}
    wrong, right = ("right", "left") if turn > 0 else ("left", "right")
    assert not any(wrong in text for text in texts)
    assert all(right in text for text in texts) if turn else not any("turn" in text for text in texts)
    angles = {int(angle) for text in texts for angle in re.findall(r"(\d+) degree", text)}
    angles |= {angle for text in texts for words, angle in (("quarter turn", 90), ("half turn", 180)) if words in text}
    assert angles == ({abs(turn)} if turn else set())
    metres = {NUMBERS[whole] + 0.5 * bool(half) for text in texts for whole, half in re.findall(r"(\w+)( and a half)? meter", text)}
    assert metres == {(steps - 1) * 0.5}


@pytest.mark.parametrize("direction", [90, -90, 180, 0])
def test_the_direction_of_a_walk_is_right(direction):
    texts = said("walk", walker(6, direction=direction))
    words = {0: "forward|ahead|straight", 180: "backward", 90: "left", -90: "right"}
    for text in texts:
        assert {way for way, pattern in words.items() if re.search(pattern, text)} == {direction}, text


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("waves", [3, 5])
def test_hands_and_waves_are_right(hand, waves):
    texts = said("wave-right-hand", waver(hand, waves))
    for text in texts:
        assert {word for word in HANDS if re.search(rf"\b{word}\b", text)} == {hand}, text
        assert not re.search("shoulder|chest|waist", text), text
    assert set(counts(texts, "times")) == {waves}


@pytest.mark.parametrize("height", HEIGHTS)
def test_heights_of_raised_hands_are_right(height):
    texts = said("raise-up-both-hands", raiser("left", height=height))
    words = {"chest": "chest", "shoulder": "shoulder", "head": "head height|of (the|their|his|her) head"}
    words["above the head"] = "above|over|in the air"
    for text in texts:
        assert {level for level, pattern in words.items() if re.search(pattern, text)} <= {height}, text
        assert "left" in text and not re.search("right|both", text)
    assert any(re.search(words[height], text) for text in texts)


def test_two_turns_are_captioned_in_their_order():
    there, back = walker(6, turn=90), walker(6, turn=-135)
    quarter = np.float32([[0, 0, -1], [0, 1, 0], [1, 0, 0]])  # row vectors turned 90° to the left
    back = back @ quarter + there[-1, 0] * np.float32([1, 0, 1])
    joints = np.concatenate([there, back])
    assert [turn.degrees for turn in prove(joints).turns] == pytest.approx([90, -135], abs=8)
    for text in said("walk", joints):
        assert text.index("left") < text.index("right") and "steps" not in text and "meter" not in text, text


def test_captions_state_only_what_the_joints_show():
    for content in ("wave-left-hand", "raise-up-both-hands", "bow", "bye", "dance-short"):
        for text in said(content, np.repeat(waver()[:1], 40, axis=0)):
            assert re.search("stand", text), text


@settings(max_examples=20, deadline=None)
@given(content=st.sampled_from(list(ACTIONS)), style=st.sampled_from(STYLES), number=st.integers(0, 999))
def test_captions_of_the_mirror_image_are_mirrored(content, style, number):
    joints = walker(5, turn=90) if number % 2 else waver("left", 4)
    name = f"B1_{content}_{style}_{number:03d}"
    assert captions(name, content, style, mirrored(joints)) == [swapped(text) for text in captions(name, content, style, joints)]


@settings(max_examples=40, deadline=None)
@given(content=st.sampled_from(list(ACTIONS)), style=st.sampled_from(STYLES), number=st.integers(0, 999))
def test_captions_are_several_different_clean_and_lower_case(content, style, number):
    motions = (walker(4, turn=-45), waver("right", 3), raiser("both"), bower(30, 2), walker(6, stride=0.9, pace=2.6, run=True))
    texts = captions(f"B1_{content}_{style}_{number:03d}", content, style, motions[number % len(motions)])
    assert 4 <= len(texts) == len({text.rstrip(".") for text in texts})
    for text in texts:
        assert re.fullmatch(r"[a-z0-9, ]+\.?", text), text
        assert not re.search(r"bandai|dataset|chimpira|masculinity|byebye|dash-|\{|\}|  | ,|,,|\b0\d+|one seconds", text), text
        assert f"{number:03d}" not in text and len(text.split()) <= 30, text


@pytest.mark.parametrize("style", [style for style in STYLES if style != "normal"])
def test_the_first_or_the_second_caption_names_the_style(style):
    mood = phrases.MOODS[phrases.SAME_MOOD.get(style, style)]
    named = [*mood.adjectives, *mood.adverbs, *(who for who, _ in mood.subjects)]
    named += [max(re.split(r"\{\w+\}", tail), key=len).strip(", ") for tail in mood.tails]
    first = [name_style(captions(name, "walk", style, walker(4))[:2], named) for name in NAMES]
    assert True in first and False in first


def name_style(pair, named):
    """Whether the first of two captions names the style; exactly one of them does, and both are short."""
    styled = [any(words in text for words in named) for text in pair]
    assert sorted(styled) == [False, True], pair
    assert len(pair[styled.index(False)].split()) <= 10
    return styled[0]


def test_the_same_name_gives_the_same_captions_in_every_process(tmp_path):
    joints = walker(5)
    np.save(tmp_path / "joints.npy", joints)
    code = "import numpy, sys, prepare.captions as c; print(c.captions('A_1', 'walk', 'old', numpy.load(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(tmp_path / "joints.npy")]
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[1])}
    elsewhere = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert elsewhere == f"{captions('A_1', 'walk', 'old', joints)}\n"
    assert captions("A_1", "walk", "old", joints) != captions("A_2", "walk", "old", joints)


def test_unknown_words_are_named_with_the_known_ones():
    with pytest.raises(UserError, match=r"clip7: unknown content 'swim'.*walk"):
        captions("clip7", "swim", "normal", walker())
    with pytest.raises(UserError, match=r"clip7: unknown style 'bored'.*exhausted"):
        captions("clip7", "walk", "bored", walker())


# -------------------------------------------------------------------------------------------------------------- tokens
def test_tokens_follow_humanml3ds_rule():
    turning = "a person walks 45 degrees to their left."
    lines = tag([turning, "someone side-steps, then waves", turning])
    assert lines[0] == lines[2] == "a/DET person/NOUN walk/VERB degree/NOUN to/ADP their/DET left/NOUN"
    words = [token.split("/")[0] for token in lines[1].split()]
    assert words[0] == "someone" and words[1].startswith("sidestep") and words[2:] == ["then", "wave"]
