"""Words for a made-up answer: what a prompt is about, and copy about it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

NOTHING_IN_PARTICULAR = "everyday essentials"
"""What a prompt without a telling word is about."""

LONGEST = 48
MOST_WORDS = 5
READ = 2_000
"""Characters of a prompt that are looked at."""

MARKER = re.compile(r"\bdemo:([a-z]+)")
_LABELLED = re.compile(
    r"\b(?:product|title|item|name|topic|niche|keyword|brand)s?[\"'*]*\s*[:=]\s*[\"'*]*([^\n\"'{}\[\]*:,.;!?]+)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"(?<!\w)[\"'“«]([^\"'“”«»\n]{2,60})[\"'”»](?!\w)")
_AFTER = re.compile(
    r"\b(?:for|about|selling|sell|promoting|promote|advertising|advertise|describing|describe|launching|launch"
    r"|reviewing|review|called|regarding|of|on)\s+"
    r"(?:(?:a|an|the|our|my|your|this|these|new|some|following|product)\s+)*(?=([^\n\"'.,:;!?(){}\[\]<>]+))",
    re.IGNORECASE,
)
_ENDS = re.compile(
    r"\s+(?:in|with|that|which|who|to|for|as|on|at|from|by|under|using|and|or|is|are|our|your|of|please|so|than)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_WORD = re.compile(r"[^\W_][\w'\u2019-]*")
_DULL = frozenset(
    (  # noqa: SIM905 (quotes round each word would hide them)
        "a about above ad ads all also an and answer any are article as at audience be below best blog brief "
        "but by can caption captions content copy could create customer customers describe description "
        "descriptions do each email every five for four friendly from generate give great hashtags have "
        "headline headlines help hello how i ideas in instagram into is it its json keywords like list "
        "listing long make marketing me more most my name new of on one only or our page paragraph please "
        "post posts product products prompt put question return say schema sentence sentences seo short "
        "should shop social some store suggest summarise summarize summary tags tell ten text that the their "
        "them these this three title titles to tone two us use user using want was we what when which who "
        "will with word words would write you your"
    ).split()
)


class Dice:
    """Chance that falls the same way each time for the same start."""

    __slots__ = ("_state",)

    def __init__(self, start: str, seed: int = 0) -> None:
        self._state = crc32(start.encode("utf-8", "replace")) ^ (seed * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
        self.below(1)

    def below(self, end: int) -> int:
        """A whole number from 0, less than `end`."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (self._state >> 24) % end

    def pick(self, among: Sequence[T]) -> T:
        """One of them."""
        return among[self.below(len(among))]


def product(text: str) -> str:
    """What a prompt is about: what it names, else its telling words. The name of a product is about itself."""
    return _product(text[:READ])


@lru_cache(maxsize=512)
def _product(text: str) -> str:
    found = named(text)
    if found:
        return found
    words = _WORD.findall(MARKER.sub(" ", text))
    telling = [word for word in words if len(word) > 1 and not _dull(word)]
    if telling and len(words) <= MOST_WORDS and not any(word.lower() in _DULL for word in words):
        telling = words
    if len(telling) > MOST_WORDS:
        longest = sorted(dict.fromkeys(telling), key=len, reverse=True)[:2]
        telling = sorted(longest, key=telling.index)
    return _tidy(" ".join(telling)) or NOTHING_IN_PARTICULAR


def named(text: str) -> str:
    """What a prompt calls a product, quotes, or names after "for" or "about"; `""` for nothing of the kind."""
    words = MARKER.sub(" ", text[:READ])
    for pattern in (_LABELLED, _QUOTED, _AFTER):
        for match in pattern.finditer(words):
            found = _tidy(_ENDS.sub("", match.group(1)))
            if not all(map(_dull, found.split())):
                return found
    return ""


def _dull(word: str) -> bool:
    return word.lower() in _DULL or word.isdigit()


def _tidy(found: str) -> str:
    kept = ""
    for word in _WORD.findall(found)[:MOST_WORDS]:
        if len(kept) + len(word) >= LONGEST:
            break
        kept = f"{kept} {word}".strip()
    return kept


def sentences(about: str, *, seed: int, words: int) -> str:
    """Plausible copy about what a prompt is about, of about so many words; the same for the same seed."""
    it = product(about)
    its = it[:1].upper() + it[1:]
    own = it.count(" ") + 1
    if words < SHORTEST:
        return f"{its} {PHRASES[seed % len(PHRASES)]}" if words > own else " ".join(its.split()[:words])
    turn = crc32(it.encode("utf-8", "replace")) + seed
    # The first names it; then none comes twice before all have been.
    template, length = NAMING[turn % len(NAMING)]
    said, count = [template], length + own
    turn, stride = turn // len(NAMING), STRIDES[turn % len(STRIDES)]
    while count < words:
        template, length = SENTENCES[turn % len(SENTENCES)]
        turn += stride
        length += own * template.count("{")
        if count + length - words > words - count:
            break
        if template != said[0] or len(said) > len(SENTENCES):
            said.append(template)
            count += length
    return " ".join(said).replace("{it}", it).replace("{It}", its)


PHRASES = ("made simple", "you will love", "done right", "worth having", "that lasts", "for real life")
SHORTEST = 6

SENTENCES = tuple(
    (text, len(text.split()) - text.count("{"))
    for text in (
        "Meet the {it} that you will want to use every day.",
        "Made with care and built to last, it feels right from the first minute.",
        "Take the {it} along: light to carry, strong enough to keep.",
        "Our customers tell us that they use it far more often than they expected.",
        "At home or on the way, you can count on the {it}.",
        "It arrives ready to use, so there is nothing to set up and nothing to learn.",
        "{It} lovers know the difference after one try.",
        "Every detail has been thought through, from the materials to the packaging.",
        "Thousands of people already start their day with the {it}.",
        "You get quality that you can feel at a price that makes sense.",
        "With the {it}, less really is more.",
        "We ship within two days and take it back within thirty, no questions asked.",
        "Our {it}: for people who want things done right.",
        "Choose the colour that suits you and make it yours.",
        "Once you have tried our {it}, you will not go back.",
        "It makes a gift that people keep and talk about.",
        "{It}: small enough for a shelf, good enough for years.",
        "If you have been waiting for the right moment, this is it.",
        "Good days begin with the right {it}.",
        "Simple to clean, simple to store and simply a pleasure to own.",
        "Try it for a week and see what changes.",
        "It was tested by people who are hard to please.",
        "Ask anybody who owns one.",
    )
)
"""Each with how many words it has beside what it is about."""

NAMING = tuple(each for each in SENTENCES if "{" in each[0])
STRIDES = (1, 3, 5, 7, 11, 13, 17)
"""None shares a factor with the number of sentences."""
