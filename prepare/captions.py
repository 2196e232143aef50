"""Generate captions of a clip from its action (content or label), its style, and facts measured on its joints (`motion/facts`).

The random seed is the name of the clip, so every build generates the same captions for this clip. Sides, counts, angles, heights
and distances are measured, never taken from the label. As in HumanML3D, captions are in lower case, with or without a full stop. If
the argument `wide` of a function is true, the function also uses the additional phrases of `prepare/wordings.py`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from motion.facts import Facts, prove
from prepare import phrases, wordings
from prepare.clauses import ACTIONS, Voice
from prepare.everyday import write_clause
from prepare.grammar import gerund, imperative, progressive
from utils.errors import UserError

MAX_WORDS = 18  # captions with more words are used only if no shorter caption is drawn
FURTHER = 8  # number of additional captions of a training clip; these captions use a larger set of phrases
BARE = 0.3  # fraction of the additional captions that have no subject
LABEL_MOODS = {"sad": "sad", "sexy": "feminine"}  # words of labels → styles
Clause = Callable[[Voice, bool], str]  # (voice, whether to state measured details) → clause


def subject_of(rng: random.Random, mood: phrases.Mood, placement: str, wide: bool = False) -> tuple[str, phrases.Pronouns]:
    """Return a random subject of a caption, such as 'a man', and its pronouns.

    `mood` contains phrases that express the style of a motion. `placement` is the part of the caption that expresses the style:
    "subjects" selects a subject of the mood ('a thug'), and "adjectives" adds an adjective ('an old man'). Other placements do not
    change the subject.
    """
    if placement == "subjects":
        return rng.choice(mood.subjects)
    candidates = phrases.NOUNS if placement == "adjectives" else phrases.SUBJECTS
    if wide:
        candidates += wordings.NOUNS if placement == "adjectives" else wordings.SUBJECTS
    who, pronouns = rng.choice([(who, pronouns) for who, pronouns in candidates if pronouns in mood.who])
    if placement == "adjectives":
        adjective = rng.choice(mood.adjectives)
        who = f"{'an' if adjective[0] in 'aeiou' else 'a'} {adjective} {who}"
    return who, pronouns


def compose(rng: random.Random, clause_of: Clause, mood: phrases.Mood, rich: bool, wide: bool = False) -> tuple[str, str]:
    """Write a caption that consists of a subject, a clause and a phrase of the mood. Returns the caption and its clause.

    `clause_of` writes the clause. If `rich`, the clause states a measured detail, such as a count. `mood` contains phrases that
    express the style of the motion. If it contains none, the caption has no such phrase.
    """
    placements = [name for name in ("adjectives", "adverbs", "tails", "tails", "subjects") if getattr(mood, name)]
    placement = rng.choice(placements) if placements else ""
    voice = Voice(rng, *subject_of(rng, mood, placement, wide), wide)
    clause = clause_of(voice, rich)
    verb, _, remainder = clause.partition(" ")
    simple = is_simple(clause)
    words = [voice.subject, verb, remainder]
    if simple and verb != "is" and voice.chance(0.2):
        words[1:2] = ["is", progressive(verb)]
    if placement == "adverbs":
        at_end = simple and len(remainder.split()) <= 3 and voice.chance(0.4)
        words.insert(len(words) if at_end else -2, voice.pick(mood.adverbs))
    sentence = " ".join(filter(None, words))
    if placement == "tails":
        sentence = add_tail(voice, sentence, mood)
    return (f"{sentence}." if voice.chance(0.4) else sentence), clause


def compose_bare(rng: random.Random, clause_of: Clause, mood: phrases.Mood, rich: bool) -> tuple[str, str]:
    """Return a caption without subject, such as "sit down on a chair" or "walking backwards", and its clause before the
    verb was changed. The arguments are those of `compose`."""
    request = rng.random() < 0.6
    voice = Voice(rng, "", wordings.YOU if request else rng.choice(mood.who), wide=True)
    clause = clause_of(voice, rich)
    sentence = gerund(clause, wordings.VERBS) if clause.startswith("is ") or not request else imperative(clause, wordings.VERBS)
    return add_tail(voice, sentence, mood) if mood.tails else sentence, clause


def widened(mood: phrases.Mood) -> phrases.Mood:
    """A copy of a mood (phrases that express a style) to which the additional phrases of `prepare/wordings.py` are added."""
    extended = {name: getattr(mood, name) + wordings.MORE.get(getattr(mood, name), ()) for name in ("adverbs", "tails")}
    return replace(mood, **extended)


def is_simple(clause: str) -> bool:
    """Whether a clause has a single part, without "and", "then" or a comma."""
    return not any(conjunction in clause for conjunction in (" and ", " then ", ", "))


def add_tail(voice: Voice, sentence: str, mood: phrases.Mood) -> str:
    """Append a phrase of the mood, such as "as if they are angry", to a sentence. No sentence contains "as if" twice."""
    tail = voice.pick(tuple(tail for tail in mood.tails if "as if" not in sentence or "as if" not in tail))
    return sentence + (tail if tail.startswith(",") else f" {tail}")


def clause_writer(name: str, content: str, facts: Facts, label: str) -> Clause:
    """Return a function that writes clauses about a clip from `facts` and from its label or, if the label is empty, its content.

    `label` describes the clip in words. `content` is the action in a Bandai-Namco file name. Raises `UserError` if the label is
    empty and the content is unknown.
    """
    if label:
        return lambda voice, rich: write_clause(voice, facts, label, rich)
    if content not in ACTIONS:
        raise UserError(f"{name}: unknown content '{content}'; choose one of {', '.join(ACTIONS)}")
    return lambda voice, rich: ACTIONS[content](voice, facts, rich)


def mood_of(name: str, style: str, label: str) -> phrases.Mood:
    """Return phrases for the mood that the label names or, if the label names no mood, for the style in a Bandai-Namco file name.

    Raises `UserError` if this style is unknown.
    """
    moods = (mood for word, mood in LABEL_MOODS.items() if re.search(rf"\b{word}", label.lower()))
    style = next(moods, phrases.SAME_MOOD.get(style, style) or "normal")
    if style not in phrases.MOODS:
        raise UserError(f"{name}: unknown style '{style}'; choose one of {', '.join(phrases.MOODS)}")
    return phrases.MOODS[style]


def captions(name: str, content: str, style: str, joints: np.ndarray, label: str = "", further: bool = False) -> list[str]:
    """Return different captions of one clip. A caption may express the style, state measured details, do both, or do neither.

    A clip with a content has up to six captions, and a clip with a label has up to eight captions. For half of the clips, the first
    caption expresses the style. Retrieval metrics use the first caption.

    Args:
        name: name of the clip, used as random seed.
        content, style: action and style in Bandai-Namco's file names. Captions do not express the styles "normal" and "".
        joints: (T, 22, 3), metres, Y up, floor at 0, 20 frames per second.
        label: description of the clip in words. If it is not empty, `content` is ignored.
        further: whether to append up to eight captions that also use the additional phrases of `prepare/wordings.py`.

    Raises:
        UserError: unknown content or style, or joints with another shape, with fewer than 12 frames, or with NaN or infinity.
    """
    clause_of, mood = clause_writer(name, content, prove(joints), label), mood_of(name, style, label)
    plain = phrases.Mood(who=mood.who)
    rng = random.Random(name)  # a string as seed gives the same sequence in every process
    variants = [(plain, False), (mood, False), (plain, True), (mood, True), (mood, False), (mood, True)]
    if rng.random() < 0.5:
        variants[:2] = variants[1::-1]
    if label:
        variants += [(plain, False), (plain, True)]
    texts = distinct(variants, lambda mood, rich: compose(rng, clause_of, mood, rich))
    return texts + further_captions(name, clause_of, mood, texts) if further else texts


def further_captions(name: str, clause_of: Clause, mood: phrases.Mood, texts: list[str]) -> list[str]:
    """Return up to eight more captions of a clip, with at most 18 words each and different from `texts`.

    They also use the phrases of `prepare/wordings.py`. `clause_of` writes clauses. Half of the captions express the style (`mood`).
    """
    rng = random.Random(f"{name} further")
    plain, mood = phrases.Mood(who=mood.who), widened(mood)

    def write(mood: phrases.Mood, rich: bool) -> tuple[str, str]:
        if rng.random() < BARE:
            return compose_bare(rng, clause_of, mood, rich)
        return compose(rng, clause_of, mood, rich, wide=True)

    variants = [(plain, False), (mood, False), (plain, True), (mood, True)] * (FURTHER // 4)
    return [text for text in distinct(variants, write, texts) if len(text.split()) <= MAX_WORDS]


def distinct(
    variants: list[tuple[phrases.Mood, bool]], write: Callable[[phrases.Mood, bool], tuple[str, str]], existing: Sequence[str] = ()
) -> list[str]:
    """Return one text for each pair (mood, rich) in `variants`. All texts differ from each other and from `existing`.

    A mood contains phrases that express a style; `rich` states whether the text contains a measured detail. `write(mood, rich)`
    drafts a text and returns this text and its clause. For each pair, a draft is preferred if it has at most 18 words and if its
    clause is not in an earlier text. If 20 drafts for a pair all repeat other texts, the pair gets no text.
    """
    texts, used = {text.rstrip("."): text for text in existing}, set()
    for mood, rich in variants:
        drafts = []
        for _ in range(20):
            text, clause = write(mood, rich)
            if text.rstrip(".") not in texts:
                drafts.append((len(text.split()) > MAX_WORDS, clause in used, text, clause))
                if drafts[-1][:2] == (False, False):
                    break
        if drafts:
            *_, text, clause = min(drafts, key=lambda draft: draft[:2])  # `min` returns the first of equally good drafts
            texts[text.rstrip(".")] = text
            used.add(clause)
    return list(texts.values())[len(existing) :]


def clauses(name: str, content: str, style: str, joints: np.ndarray, label: str = "", wide: bool = False) -> list[str]:
    """Return different verb phrases for one clip, without subject, mood and full stop ("sits down on a chair").

    Up to four phrases state no measured details, and up to four do. If `wide` is true, there are up to eight of each kind. For the
    other arguments and the errors, see `captions`.
    """
    clause_of = clause_writer(name, content, prove(joints), label)
    mood_of(name, style, label)  # raises `UserError` for an unknown style
    voice = Voice(random.Random(f"{name} further clauses" if wide else f"{name} clauses"), "", phrases.THEY, wide)
    variants = ([(phrases.MOODS["normal"], False)] * 4 + [(phrases.MOODS["normal"], True)] * 4) * (2 if wide else 1)
    return distinct(variants, lambda _, rich: (clause_of(voice, rich),) * 2)
