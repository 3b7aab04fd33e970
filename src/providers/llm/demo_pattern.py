"""Text that matches a pattern, made from the tree that `re` reads it into."""

from __future__ import annotations

import re
import string
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from providers.llm.demo_words import Dice

Node: TypeAlias = "tuple[object, object]"

TRIES = 300
WIDE = 8
"""Repeats beyond the least of a part that may be repeated without end."""

LOOKED_AT = 32
"""Characters: there are patterns that take `re` twice as long for each more that does not match."""

PLAIN = string.ascii_lowercase + string.digits + string.ascii_uppercase
ANY = PLAIN + " -_.!"
PRINTED = [chr(code) for code in range(32, 127)]
CATEGORIES = {
    "CATEGORY_DIGIT": string.digits,
    "CATEGORY_SPACE": " ",
    "CATEGORY_WORD": PLAIN + "_",
    "CATEGORY_NOT_DIGIT": string.ascii_letters,
    "CATEGORY_NOT_SPACE": PLAIN,
    "CATEGORY_NOT_WORD": " -.",
}
# What only other engines know, in the words of this one.
FOREIGN = {r"\p{L}": "a-zA-Z", r"\p{Lu}": "A-Z", r"\p{Ll}": "a-z", r"\p{N}": "0-9"}


def matching(pattern: str, least: int, most: int | None, dice: Dice, plausible: str) -> str:
    """A text with a match of the pattern, of so many characters; `plausible` where it fits as it is.

    Raises `ValueError` for a pattern that `re` cannot read, or that no text was found for.
    """
    compiled, tree = _read(pattern)
    if len(plausible) <= LOOKED_AT and _fits(compiled, plausible, least, most):
        return plausible
    for number in range(TRIES):
        # First about as long as asked for, then of all lengths.
        made = "".join(_Maker(dice, number % WIDE, {}).make(tree))
        made += dice.pick(PLAIN) * (least - len(made))
        if _fits(compiled, made, least, most):
            return made
    msg = "no text was found that matches the pattern of the schema"
    raise ValueError(msg)


def _read(pattern: str) -> tuple[re.Pattern[str], Iterable[Node]]:
    for foreign, own in FOREIGN.items():
        pattern = pattern.replace(f"[{foreign}]", f"[{own}]").replace(foreign, f"[{own}]")
    pattern = pattern.replace(r"\z", r"\Z")
    try:
        compiled = re.compile(pattern)
        return compiled, cast("Iterable[Node]", import_module("re._parser").parse(pattern))
    except re.error as error:
        msg = f"the pattern of the schema cannot be read: {error}"
        raise ValueError(msg) from None


def _fits(compiled: re.Pattern[str], text: str, least: int, most: int | None) -> bool:
    return least <= len(text) and (most is None or len(text) <= most) and compiled.search(text) is not None


class _Maker:
    """One walk through a tree; `wide`: how far repeats go beyond their least."""

    def __init__(self, dice: Dice, wide: int, groups: dict[int, str]) -> None:
        self._dice = dice
        self._wide = wide
        self._groups = groups

    def make(self, tree: Iterable[Node]) -> list[str]:
        return [text for kind, what in tree for text in self._part(str(kind), what)]

    def _part(self, kind: str, what: object) -> list[str]:
        match kind:
            case "LITERAL":
                return [chr(cast("int", what))]
            case "NOT_LITERAL":
                return [self._dice.pick([each for each in PLAIN if ord(each) != what])]
            case "ANY":
                return [self._dice.pick(ANY)]
            case "IN":
                return [self._dice.pick(_members(cast("Sequence[Node]", what)))]
            case "BRANCH":
                return self.make(self._dice.pick(cast("tuple[object, list[list[Node]]]", what)[1]))
            case "SUBPATTERN":
                number, *_, inner = cast("tuple[int | None, int, int, list[Node]]", what)
                made = "".join(self.make(inner))
                if number is not None:
                    self._groups[number] = made
                return [made]
            case "GROUPREF":
                return [self._groups.get(cast("int", what), "")]
            case "GROUPREF_EXISTS":
                group, yes, no = cast("tuple[int, list[Node], list[Node] | None]", what)
                return self.make(yes if group in self._groups else no or [])
            case "ATOMIC_GROUP":
                return self.make(cast("list[Node]", what))
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, inner = cast("tuple[int, int, list[Node]]", what)
                times = least + self._dice.below(min(int(most) - least, self._wide) + 1)
                return [text for _ in range(times) for text in self.make(inner)]
            case _:
                # Where it is, and what stands around it: seen when the text is tried.
                return []


def _members(what: Sequence[Node]) -> Sequence[str]:
    """The characters of a set."""
    negated = bool(what) and str(what[0][0]) == "NEGATE"
    members: list[str] = []
    for kind, value in what:
        match str(kind):
            case "LITERAL":
                members.append(chr(cast("int", value)))
            case "RANGE":
                start, end = cast("tuple[int, int]", value)
                members += [chr(code) for code in range(start, min(end, start + 127) + 1)]
            case "CATEGORY":
                members += CATEGORIES[str(value)]
            case _:
                pass
    if not negated:
        return members
    without = set(members)
    # By the engine itself for the categories: a letter is not a digit.
    plain = [each for each in PLAIN if each not in without]
    return plain or [each for each in PRINTED if each not in without] or ["\u00e9"]
