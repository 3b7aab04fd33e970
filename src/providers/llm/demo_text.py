"""Words, codes and numbers that a field of a given name may hold."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import lru_cache
from typing import TYPE_CHECKING
from uuid import UUID

from providers.llm.demo_words import PHRASES, sentences

if TYPE_CHECKING:
    from collections.abc import Callable

    from providers.llm.demo_words import Dice

SENTENCES_FOR = {
    "description": 34, "body": 60, "copy": 40, "content": 60, "text": 24, "summary": 22, "caption": 18, "message": 20,
    "paragraph": 40, "intro": 22, "introduction": 22, "conclusion": 22, "outro": 18, "reason": 14, "reasoning": 24,
    "explanation": 22, "rationale": 18, "comment": 14, "note": 14, "notes": 20, "answer": 18, "reply": 18, "bio": 18,
    "details": 24, "detail": 16, "excerpt": 20, "post": 24, "script": 40, "story": 40, "recommendation": 14,
    "suggestion": 14, "analysis": 30, "insight": 14, "review": 20, "about": 20, "preview": 12, "preheader": 10,
}  # fmt: skip
"""The last word of a field's name -> how many words its copy has."""

CHOICES: dict[str, tuple[str, ...]] = {
    "headline": ("Meet the {it}", "The {it}, made simple", "Your new favourite: {it}", "{It}: small change, big day"),
    "title": ("{It} for every day", "The {it} guide", "{It}: what you need to know", "Why people love the {it}"),
    "heading": ("Why the {it}", "What makes it different", "How to use the {it}", "Before you buy"),
    "subject": ("Your {it} is waiting", "A closer look at the {it}", "New: the {it}", "Made for you: {it}"),
    "subtitle": ("Made simple, made to last", "Everything you need, nothing more", "For real life"),
    "hook": ("Still looking for the right {it}?", "Nobody told you this about the {it}", "One {it}, a better day"),
    "slogan": ("{It}, done right.", "Less fuss. More {it}.", "The {it} you keep."),
    "cta": ("Shop now", "See the {it}", "Get yours today", "Learn more"),
    "question": ("What makes the {it} different?", "How long does the {it} last?", "Is the {it} right for me?"),
    "keyword": ("{it}", "best {it}", "{it} review", "buy {it} online", "{it} gift", "affordable {it}", "{it} ideas"),
    "tag": ("new", "bestseller", "gift", "everyday", "quality", "home", "sale", "trending"),
    "hashtag": ("#{one}", "#{one}love", "#shop{one}", "#new{one}", "#{one}oftheday", "#smallbusiness", "#musthave"),
    "color": ("sage green", "midnight blue", "sand", "charcoal", "coral", "ivory", "black"),
    "size": ("S", "M", "L", "XL", "one size"),
    "material": ("cotton", "bamboo", "stainless steel", "cork", "recycled polyester"),
    "category": ("Home & Living", "Sports & Outdoors", "Beauty", "Kitchen", "Accessories"),
    "brand": ("Northfield", "Lumen & Co", "Alder", "Fernway", "Halden"),
    "feature": ("Ready to use", "Easy to clean", "Made to last", "Light to carry", "Thirty days to return it"),
    "persona": ("Ana, 34, shops on her way to work", "Ben, 27, reads every review", "Cay, 45, buys gifts early"),
    "audience": ("busy parents", "people who work from home", "students", "gift buyers", "outdoor fans"),
    "tone": ("friendly", "confident", "playful", "warm", "expert"),
    "sentiment": ("positive", "neutral", "mixed"),
    "currency": ("USD", "EUR", "GBP"),
    "country": ("US", "DE", "GB", "FR"),
    "language": ("en", "de", "fr", "es"),
    "locale": ("en-US", "de-DE", "fr-FR"),
    "city": ("Berlin", "Austin", "Leeds", "Lyon"),
    "platform": ("instagram", "facebook", "tiktok", "pinterest"),
    "emoji": ("✨", "🎉", "💚", "🛒"),
    "status": ("active", "draft", "ready"),
    "unit": ("piece", "set", "pack"),
    "author": ("Ana Lopez", "Ben Carter", "Mia Weber", "Tom Evans"),
    "username": ("ana.lopez", "ben_carter", "mia.weber"),
    "firstname": ("Ana", "Ben", "Mia", "Tom"),
    "lastname": ("Lopez", "Carter", "Weber", "Evans"),
    "name": ("{It}", "{It} Classic", "{It} Plus", "{It} Set"),
    "phone": ("+12025550123", "+447700900456"),
    "zip": ("10115", "78701", "69001"),
    "address": ("12 Mill Lane, Leeds", "4 Alder Street, Austin"),
    "key": ("color", "material", "size", "weight", "origin", "care"),
    "email": ("ana@example.com", "ben@example.com", "mia@example.com"),
    "url": ("https://shop.example.com/{slug}", "https://shop.example.com/{slug}?ref=demo"),
    "slug": ("{slug}", "{slug}-guide", "best-{slug}"),
    "image": ("https://shop.example.com/images/{slug}.jpg",),
    "sku": ("{CODE}-001", "{CODE}-002", "{CODE}-014", "{CODE}-120"),
    "price": ("$24.90", "$39.00", "$14.50"),
    "date": ("2026-11-12", "2026-10-03", "2026-09-21"),
    "time": ("09:00", "12:30", "18:45"),
    "": ("{It} {phrase}", "{It}: {phrase}", "{It}, {phrase}"),
}
"""The last word of a field's name -> what it may hold."""

SAME = {
    "colour": "color", "link": "url", "href": "url", "website": "url", "uri": "url", "photo": "image",
    "picture": "image", "thumbnail": "image", "h1": "headline", "h2": "heading", "section": "heading",
    "tagline": "slogan", "motto": "slogan", "button": "cta", "action": "cta", "topic": "title", "label": "tag",
    "benefit": "feature", "bullet": "feature", "point": "feature", "highlight": "feature", "strength": "feature",
    "segment": "audience", "customer": "author", "person": "author", "seller": "brand", "vendor": "brand",
    "supplier": "brand", "manufacturer": "brand", "mail": "email", "query": "keyword", "term": "keyword",
    "product": "name", "item": "name", "handle": "slug", "code": "sku", "mood": "tone", "style": "tone",
    "state": "status", "channel": "platform", "network": "platform", "type": "category", "industry": "category",
    "niche": "category", "region": "country", "market": "country", "telephone": "phone", "mobile": "phone",
    "postal": "zip", "postcode": "zip", "street": "address", "cost": "price", "day": "date", "faq": "question",
}  # fmt: skip

PEOPLE = frozenset({"customer", "author", "person", "user", "contact", "buyer", "reviewer", "full", "sender"})
"""Whose name is not the product's."""

NUMBERS: dict[str, tuple[float, float]] = {
    "price": (9, 60), "cost": (4, 30), "amount": (10, 90), "budget": (50, 500), "total": (20, 200),
    "revenue": (500, 9000), "fee": (1, 9), "shipping": (3, 9), "score": (0, 1), "confidence": (0, 1),
    "probability": (0, 1), "relevance": (0, 1), "likelihood": (0, 1), "ratio": (0, 1), "similarity": (0, 1),
    "rating": (1, 5), "stars": (1, 5), "star": (1, 5), "percent": (5, 40), "percentage": (5, 40), "discount": (5, 40),
    "margin": (10, 45), "quantity": (1, 20), "count": (1, 50), "stock": (5, 200), "rank": (1, 20), "position": (1, 20),
    "priority": (1, 5), "level": (1, 5), "age": (18, 65), "year": (2020, 2026), "month": (1, 12), "day": (1, 28),
    "hour": (0, 23), "weight": (0.2, 5), "length": (10, 120), "width": (10, 80), "height": (2, 60),
    "volume": (100, 9000), "searches": (100, 9000), "views": (100, 9000), "words": (20, 400), "minutes": (2, 30),
    "days": (2, 14), "lat": (30, 55), "lon": (-5, 15),
}  # fmt: skip
"""The last word of a field's name -> the numbers it usually holds."""

USUAL = (1, 100)
_BREAKS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^a-zA-Z0-9]+")


@lru_cache(maxsize=1024)
def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _BREAKS.split(name) if word)


@lru_cache(maxsize=1024)
def _role(name: str) -> str:
    """Which of the tables' words a name is about: all of it, its last word that is known, or its first."""
    words = _words(name)
    for word in ("".join(words), *reversed(words)):
        for form in (word, word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s")):
            known = SAME.get(form, form)
            if known in SENTENCES_FOR or known in CHOICES:
                return "author" if known == "name" and PEOPLE.intersection(words) else known
    return ""


def about(name: str, it: str, dice: Dice) -> str:
    """What a text field of this name says about a product."""
    role = _role(name)
    if role in SENTENCES_FOR:
        return sentences(it, seed=dice.below(1_000_000), words=SENTENCES_FOR[role])
    chosen = dice.pick(CHOICES[role])
    if "{" not in chosen:
        return chosen
    letters = re.sub(r"[^a-z0-9]+", "-", it.lower()).strip("-") or "product"
    return (
        chosen.replace("{it}", it)
        .replace("{It}", it[:1].upper() + it[1:])
        .replace("{one}", letters.replace("-", ""))
        .replace("{slug}", letters)
        .replace("{CODE}", letters.replace("-", "")[:4].upper())
        .replace("{phrase}", dice.pick(PHRASES))
    )


def key(name: str, number: int) -> str:
    """A name in a mapping that says nothing of its names: digits, which are a word and a number alike.

    In one of attributes and the like they are words.
    """
    words = CHOICES["key"] if WORDED & {*_words(name)} else tuple[str, ...]()
    return words[number] if number < len(words) else str(number + 1)


def usual(name: str, *, whole: bool) -> tuple[float, float]:
    """From where to where numbers of this name are, usually."""
    for word in reversed(_words(name)):
        found = NUMBERS.get(word, NUMBERS.get(word.removesuffix("s")))
        if found is not None:
            # A whole score is one of a hundred.
            return USUAL if whole and found[1] <= 1 else found
    return USUAL


def fitted(text: str, least: int, most: int | None) -> str:
    """The text, cut at a word where that is enough, or with more of it."""
    text = text or "a"
    while len(text) < least:
        text = f"{text} {text}"
    if most is None or len(text) <= most:
        return text
    cut = text[: most + 1].rpartition(" ")[0].rstrip(" ,;:-")
    if len(cut) >= max(least, 1):
        return cut
    cut = text[:most].rstrip()
    return cut + "a" * (max(least, 1) - len(cut)) if most else ""


def letters(number: int, most: int) -> str:
    """One of many short texts, of at most so many letters."""
    text = ""
    while len(text) < max(1, most):
        text += chr(ord("a") + number % 26)
        number //= 26
        if not number:
            break
    return text


WORDED = frozenset({"attributes", "specs", "specifications", "properties", "labels"})
LATER = frozenset({"expires", "expiry", "until", "due", "launch", "end", "next", "deadline", "future", "scheduled"})


def formatted(form: str, name: str, it: str, dice: Dice) -> str | None:
    """A text of a format of JSON Schema; None for what is none of its own."""
    make = FORMATS.get(form)
    return None if make is None else make(name, it, dice)


def _date(name: str, it: str, dice: Dice) -> str:
    del it
    year = 2036 if LATER & set(_words(name)) else 2025
    return f"{year}-{dice.below(12) + 1:02}-{dice.below(28) + 1:02}"


def _time(name: str, it: str, dice: Dice) -> str:
    del name, it
    return f"{8 + dice.below(12):02}:{dice.pick((0, 15, 30, 45)):02}:00Z"


def _moment(name: str, it: str, dice: Dice) -> str:
    return f"{_date(name, it, dice)}T{_time(name, it, dice)}"


def _url(name: str, it: str, dice: Dice) -> str:
    return about("image" if _role(name) == "image" else "url", it, dice)


def _email(name: str, it: str, dice: Dice) -> str:
    del name
    return about("email", it, dice)


def _uuid(version: int) -> Callable[[str, str, Dice], str]:
    def make(name: str, it: str, dice: Dice) -> str:
        del name, it
        return str(UUID(int=dice.below(2**40) << 88 | dice.below(2**40) << 24 | dice.below(2**24), version=version))

    return make


def _base64(name: str, it: str, dice: Dice) -> str:
    return b64encode(about(name, it, dice).encode()[:24]).decode()


FORMATS: dict[str, Callable[[str, str, Dice], str]] = {
    "date": _date,
    "date-time": _moment,
    "time": _time,
    "duration": lambda _n, _i, dice: f"P{1 + dice.below(13)}D",
    "email": _email,
    "idn-email": _email,
    "name-email": lambda name, it, dice: f"Ana Lopez <{_email(name, it, dice)}>",
    "uri": _url,
    "url": _url,
    "iri": _url,
    "uri-reference": _url,
    "multi-host-uri": _url,
    "uuid": _uuid(4),
    "hostname": lambda _n, _i, dice: dice.pick(("shop.example.com", "www.example.com")),
    "ipv4": lambda _n, _i, dice: f"192.0.2.{1 + dice.below(250)}",
    "ipv6": lambda _n, _i, dice: f"2001:db8::{1 + dice.below(250):x}",
    "ipvanyaddress": lambda _n, _i, dice: f"192.0.2.{1 + dice.below(250)}",
    "ipv4network": lambda _n, _i, dice: f"198.51.{dice.below(250)}.0/24",
    "ipv6network": lambda _n, _i, dice: f"2001:db8:{dice.below(250):x}::/48",
    "ipvanynetwork": lambda _n, _i, dice: f"198.51.{dice.below(250)}.0/24",
    "ipv4interface": lambda _n, _i, dice: f"192.0.2.{1 + dice.below(250)}/24",
    "ipv6interface": lambda _n, _i, dice: f"2001:db8::{1 + dice.below(250):x}/64",
    "ipvanyinterface": lambda _n, _i, dice: f"192.0.2.{1 + dice.below(250)}/24",
    "base64": _base64,
    "base64url": _base64,
    "json-string": lambda _n, _i, _d: "{}",
    "regex": lambda _n, _i, _d: "^[a-z]+$",
    "color": lambda _n, _i, dice: f"#{dice.below(0x1000000):06x}",
    "phone": lambda _n, _i, _d: "+12025550123",
    "path": lambda _n, _i, _d: "images/product.jpg",
    **{f"uuid{version}": _uuid(version) for version in range(1, 9)},
}
