"""Further captions of training clips: many wordings, true to the joints; all other captions stay as they were."""

import ast
import hashlib
import inspect
import re
import string

import pytest

from prepare import activities, verbs, wordings
from prepare import phrases as say
from prepare.captions import BARE, FURTHER, captions, clauses
from prepare.compose_captions import together
from prepare.grammar import gerund, imperative
from prepare.sides import swap_sides
from prepare.synthetic import raiser, walker, waver
from tests import performers as people

USUAL = "9bcb58983d0ad113"  # of captions that the evaluator and LaMP of the release were trained on
CLIPS = [
    ("walk", "old", walker(6), ""), ("walk-back", "angry", walker(6, direction=180), ""),
    ("wave-left-hand", "happy", waver("left", 3), ""),
    ("raise-up-right-hand", "normal", raiser("right"), ""), ("", "normal", people.sitter(), "sit on stepstool, stand up"),
    ("", "normal", people.squatter(), "squat, 1 repetition"), ("", "normal", people.kicker(1), "kick"),
    ("", "normal", people.lier(), "lie down on the floor"), ("", "normal", people.crawler(), "crawl low over the floor"),
]  # fmt: skip
EVERY = [phrase for phrases in wordings.MORE.values() for phrase in phrases]
EVERY += [phrase for courses in wordings.COURSES.values() for phrases in courses.values() for phrase in phrases] + [
    *wordings.RAISES_HIGH
]


def usual_and_further(name, content, style, joints, label):
    usual = captions(name, content, style, joints, label=label)
    both = captions(name, content, style, joints, label=label, further=True)
    assert both[: len(usual)] == usual
    return usual, both[len(usual) :]


def test_the_usual_captions_are_byte_identical():
    texts = [text for number in range(3) for clip in CLIPS for text in captions(f"clip {number}", *clip[:3], label=clip[3])]
    texts += [text for clip in CLIPS for text in clauses("clip", *clip[:3], label=clip[3])]
    assert hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16] == USUAL


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip[3] or clip[0])
def test_further_captions_are_new_short_and_complete(clip):
    bare = 0
    for number in range(6):
        usual, further = usual_and_further(f"clip {number}", *clip)
        assert len(further) == FURTHER and further == usual_and_further(f"clip {number}", *clip)[1]
        assert len({text.rstrip(".") for text in usual + further}) == len(usual) + FURTHER
        for text in further:
            assert re.fullmatch(r"[a-zA-Z0-9', ]+\.?", text) and not re.search(r"  | ,|,,", text) and len(text.split()) <= 18, text
        bare += sum(is_bare(text) for text in further)
    assert 0 < bare / (6 * FURTHER) < 2.2 * BARE


def is_bare(text):
    first = text.split()[0]
    return first.endswith("ing") or f"{first}s" in wordings.VERBS or f"{first}es" in wordings.VERBS


VERBS = {
    phrase.split()[0]
    for tables in (vars(verbs), vars(activities))
    for phrase in [*EVERY, *(text for table in tables.values() if isinstance(table, tuple) for text in table)]
}


@pytest.mark.parametrize(
    ("content", "label", "make"),
    [
        ("wave-left-hand", "", waver), ("raise-up-left-hand", "", raiser),
        ("", "kick", lambda side: people.kicker(int(side == "right"))),
        ("", "balance on one leg", lambda side: people.balancer(int(side == "right"))),
    ],
)  # fmt: skip
def test_sides_are_those_of_the_joints_also_in_the_mirror(content, label, make):
    """Captions of a left-hand clip never say right; those of its mirror image never say left."""
    for side, other in (("left", "right"), ("right", "left")):
        joints, name = make(side), content if side == "left" else swap_sides(content)
        texts = [text for number in range(8) for text in usual_and_further(f"clip {number}", name, "normal", joints, label)[1]]
        assert sum(side in text for text in texts) >= 8
        if "balance" not in label:  # there the other leg is lifted, and said to be
            assert not any(re.search(rf"\b{other}\b", text) for text in texts)


def test_about_half_of_the_captions_name_the_style():
    words = "old|elderly|aged|age|senior|feebly|weakly|grandparent"
    texts = [text for number in range(8) for text in usual_and_further(f"B2_walk_old_{number}", "walk", "old", walker(5), "")[1]]
    assert 0.4 <= sum(bool(re.search(rf"\b({words})\b", text)) for text in texts) / len(texts) <= 0.6


def test_tables_and_braces_fit():
    tree = ast.parse(inspect.getsource(wordings))
    keys = next(node.value.keys for node in tree.body if isinstance(node, ast.AnnAssign) and node.target.id == "MORE")
    assert len(keys) == len(wordings.MORE)  # no table twice
    for table, more in wordings.MORE.items():
        fields = {field for phrase in table for _, field, *_ in string.Formatter().parse(phrase) if field}
        for phrase in more:
            used = {field for _, field, *_ in string.Formatter().parse(phrase) if field}
            counted = {"count"} if "times" in fields else set()
            assert used <= fields | counted | {"their", "they", "they_are", "themself"}, phrase
        assert not set(table) & set(more) and len(set(more)) == len(more), more


def test_no_wording_names_a_side_that_joints_do_not_prove():
    of_a_side = {*say.WAYS.values(), *say.LABELLED_WAYS.values()}
    for table, more in wordings.MORE.items():
        assert table in of_a_side or not any(re.search(r"\b(left|right)\b", phrase) for phrase in more)


def test_every_wording_becomes_a_request_and_a_participle():
    assert imperative("sits down and crosses your legs", wordings.VERBS) == "sit down and cross your legs"
    assert imperative("goes forward, then does a jump", wordings.VERBS) == "go forward, then do a jump"
    for phrase in EVERY:
        if re.match(r"(?!as\b|this\b|sideways\b)[a-z]+s\b", phrase):
            assert re.match(r"[a-z]{2,}ing\b", gerund(phrase, wordings.VERBS)), phrase
            assert not re.match(r"[a-z]*[^s]s\b", imperative(phrase, wordings.VERBS)), phrase


def test_compositions_have_more_captions():
    import random

    below, above = ["walks forward"], ["waves with their left hand", "says hi with their left hand"]
    usual = together(random.Random(0), below, above)
    further = together(random.Random(1), below, above, existing=usual)
    assert len(further) == FURTHER and not {text.rstrip(".") for text in usual} & {text.rstrip(".") for text in further}
    assert all("left" in text and re.search("walk", text) and len(text.split()) <= 18 for text in further)
    assert not any(re.search(r"[{}]|your .*(while|as) (he|she)", text) for text in further)
