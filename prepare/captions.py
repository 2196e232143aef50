"""Captions of a clip: the action (content or label), the style, and facts from its joints (`prepare/facts`).

A clip's name seeds its captions, so they are the same in every run. Sides, counts, angles, heights and distances come from the
joints, never from the label. As in HumanML3D, captions are lower case, with or without a full stop.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from prepare import phrases as say
from prepare import wordings
from prepare.clauses import ACTIONS, Voice
from prepare.everyday import tell
from prepare.facts import Facts, prove
from prepare.grammar import gerund, imperative, progressive
from utils.errors import UserError

__all__ = ["ACTIONS", "FURTHER", "captions", "clauses"]
MOST_WORDS = 18
FURTHER = 8  # captions of a training clip in more wordings, beside the usual ones
BARE = 0.3  # of them without subject
LABEL_MOODS = {"sad": "sad", "sexy": "feminine"}  # words of labels → styles
Clause = Callable[[Voice, bool], str]  # of a voice, plain or rich in facts


def subject_of(rng: random.Random, mood: say.Mood, way: str, wide: bool = False) -> tuple[str, say.Pronouns]:
    """The subject of a caption; a mood may replace it ('a thug') or describe it ('an old man')."""
    if way == "subjects":
        return rng.choice(mood.subjects)
    candidates = say.NOUNS if way == "adjectives" else say.SUBJECTS
    if wide:
        candidates += wordings.NOUNS if way == "adjectives" else wordings.SUBJECTS
    who, pronouns = rng.choice([(who, pronouns) for who, pronouns in candidates if pronouns in mood.who])
    if way == "adjectives":
        adjective = rng.choice(mood.adjectives)
        who = f"{'an' if adjective[0] in 'aeiou' else 'a'} {adjective} {who}"
    return who, pronouns


def compose(rng: random.Random, clause_of: Clause, mood: say.Mood, rich: bool, wide: bool = False) -> tuple[str, str]:
    """A caption of subject, manner and clause, and the clause alone. Rich captions state a number, a height, a distance or a
    pace."""
    ways = [way for way in ("adjectives", "adverbs", "tails", "tails", "subjects") if getattr(mood, way)]
    way = rng.choice(ways) if ways else ""
    voice = Voice(rng, *subject_of(rng, mood, way, wide), wide)
    clause = clause_of(voice, rich)
    verb, _, rest = clause.partition(" ")
    simple = is_simple(clause)
    words = [voice.subject, verb, rest]
    if simple and verb != "is" and voice.chance(0.2):
        words[1:2] = ["is", progressive(verb)]
    if way == "adverbs":
        at_end = simple and len(rest.split()) <= 3 and voice.chance(0.4)
        words.insert(len(words) if at_end else -2, voice.pick(mood.adverbs))
    sentence = " ".join(filter(None, words))
    if way == "tails":
        sentence = add_tail(voice, sentence, mood)
    return (f"{sentence}." if voice.chance(0.4) else sentence), clause


def compose_bare(rng: random.Random, clause_of: Clause, mood: say.Mood, rich: bool) -> tuple[str, str]:
    """A caption without subject, as people type prompts ("sit down on a chair", "walking backwards"), and its clause."""
    request = rng.random() < 0.6
    voice = Voice(rng, "", wordings.YOU if request else rng.choice(mood.who), wide=True)
    clause = clause_of(voice, rich)
    sentence = gerund(clause, wordings.VERBS) if clause.startswith("is ") or not request else imperative(clause, wordings.VERBS)
    return add_tail(voice, sentence, mood) if mood.tails else sentence, clause


def widened(mood: say.Mood) -> say.Mood:
    """A mood with more wordings."""
    more = {name: getattr(mood, name) + wordings.MORE.get(getattr(mood, name), ()) for name in ("adverbs", "tails")}
    return replace(mood, **more)


def is_simple(clause: str) -> bool:
    """Whether a clause has one part."""
    return not any(joint in clause for joint in (" and ", " then ", ", "))


def add_tail(voice: Voice, sentence: str, mood: say.Mood) -> str:
    """A sentence with the mood added at its end. If the sentence contains "as if", the addition does not."""
    tail = voice.pick(tuple(tail for tail in mood.tails if "as if" not in sentence or "as if" not in tail))
    return sentence + (tail if tail.startswith(",") else f" {tail}")


def clause_writer(name: str, content: str, facts: Facts, label: str) -> Clause:
    """The function that writes clauses of a clip, by its label if it has one, else by its content."""
    if label:
        return lambda voice, rich: tell(voice, facts, label, rich)
    if content not in ACTIONS:
        raise UserError(f"{name}: unknown content '{content}'; choose one of {', '.join(ACTIONS)}")
    return lambda voice, rich: ACTIONS[content](voice, facts, rich)


def mood_of(name: str, style: str, label: str) -> say.Mood:
    """The mood that a label or else a style names. Raises `UserError` for an unknown style."""
    named = (mood for word, mood in LABEL_MOODS.items() if re.search(rf"\b{word}", label.lower()))
    style = next(named, say.SAME_MOOD.get(style, style) or "normal")
    if style not in say.MOODS:
        raise UserError(f"{name}: unknown style '{style}'; choose one of {', '.join(say.MOODS)}")
    return say.MOODS[style]


def captions(name: str, content: str, style: str, joints: np.ndarray, label: str = "", further: bool = False) -> list[str]:
    """Different captions of one clip, six by content and style or eight by label: plain, with the style, with a fact, with both.

    The first caption, which retrieval uses, names the style in half of the clips.

    Args:
        name: seeds the choices; the same name gives the same captions.
        content, style: words of Bandai-Namco's file names; style "normal" or "" adds no manner.
        joints: (T, 22, 3), metres, Y up, floor 0, 20 frames a second.
        label: description of the clip in words; replaces `content`.
        further: append eight captions of more wordings (`prepare/wordings.py`), some of them without subject.

    Raises:
        UserError: unknown content or style, or joints of another shape.
    """
    clause_of, mood = clause_writer(name, content, prove(joints), label), mood_of(name, style, label)
    plain = say.Mood(who=mood.who)
    rng = random.Random(name)  # a string seeds by its SHA-512, the same in every process
    manners = [(plain, False), (mood, False), (plain, True), (mood, True), (mood, False), (mood, True)]
    if rng.random() < 0.5:
        manners[:2] = manners[1::-1]
    if label:
        manners += [(plain, False), (plain, True)]
    texts = distinct(manners, lambda manner, rich: compose(rng, clause_of, manner, rich))
    return texts + further_captions(name, clause_of, mood, texts) if further else texts


def further_captions(name: str, clause_of: Clause, mood: say.Mood, texts: list[str]) -> list[str]:
    """More captions of a clip, of at most 18 words, half of them with its style; none of them is among `texts`."""
    rng = random.Random(f"{name} further")
    plain, mood = say.Mood(who=mood.who), widened(mood)

    def write(manner: say.Mood, rich: bool) -> tuple[str, str]:
        if rng.random() < BARE:
            return compose_bare(rng, clause_of, manner, rich)
        return compose(rng, clause_of, manner, rich, wide=True)

    manners = [(plain, False), (mood, False), (plain, True), (mood, True)] * (FURTHER // 4)
    return [text for text in distinct(manners, write, texts) if len(text.split()) <= MOST_WORDS]


def distinct(
    manners: list[tuple[say.Mood, bool]], write: Callable[[say.Mood, bool], tuple[str, str]], taken: Sequence[str] = ()
) -> list[str]:
    """One text per manner, with different clauses as far as possible, and at most 18 words if possible.

    `write` returns a text and its clause; no text is one of those `taken`.
    """
    texts, said = {text.rstrip("."): text for text in taken}, set()
    for manner, rich in manners:
        drafts = []
        for _ in range(20):
            text, clause = write(manner, rich)
            if text.rstrip(".") not in texts:
                drafts.append((len(text.split()) > MOST_WORDS, clause in said, text, clause))
                if drafts[-1][:2] == (False, False):
                    break
        if drafts:
            *_, text, clause = min(drafts, key=lambda draft: draft[:2])  # the first of the best
            texts[text.rstrip(".")] = text
            said.add(clause)
    return list(texts.values())[len(taken) :]


def clauses(
    name: str, content: str, style: str, joints: np.ndarray, label: str = "", pronouns: say.Pronouns = say.THEY, wide: bool = False
) -> list[str]:
    """Different verb phrases for one clip, without subject, mood, full stop ("sits down on a chair"): four plain, four with facts.

    Arguments and errors are those of `captions`; `pronouns` are those of the later subject; `wide`: twice as many, of more
    wordings.
    """
    clause_of = clause_writer(name, content, prove(joints), label)
    mood_of(name, style, label)
    voice = Voice(random.Random(f"{name} further clauses" if wide else f"{name} clauses"), "", pronouns, wide)
    manners = ([(say.MOODS["normal"], False)] * 4 + [(say.MOODS["normal"], True)] * 4) * (2 if wide else 1)
    return distinct(manners, lambda _, rich: (clause_of(voice, rich),) * 2)
