"""Numbers of payment cards, known by their first digit and their check digit, however they are grouped."""

from __future__ import annotations

import re

# Groups are parted by blanks of any width or by hyphens; a decimal part is no number of a card, unless
# so many digits stand before its point that they are one themselves.
_CARD = re.compile(
    r"[2-6](?<!\w[2-6])(?:(?<!\d\.[2-6])|(?<=\d{13}\.[2-6]))"
    r"(?:[ \t\xa0\u2000-\u2015\u202f\u3000-]{0,2}\d){12,18}(?!\w)"
)
_GROUP = re.compile(r"\d{1,19}")
_NEXT = re.compile(r"(?<!\d)\d\d")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_LENGTHS = {"2": (16,), "3": (14, 15, 16), "4": (13, 16, 19), "5": (16,), "6": (16, 17, 18, 19)}


def is_card(digits: str) -> bool:
    """Whether *digits* are a payment card's number: a known beginning and the right check digit."""
    if len(digits) not in _LENGTHS.get(digits[:1], ()):
        return False
    odd = sum(map(int, digits[-1::-2]))
    even = sum(map(_DOUBLED.__getitem__, map(int, digits[-2::-2])))
    return (odd + even) % 10 == 0


def mask_cards(text: str, mask: str) -> str:
    """*text* without numbers of cards; the short number that follows one, as its code does, goes too."""
    kept, at, seek = [], 0, 0
    while found := _CARD.search(text, seek):
        end = _card_end(found[0])
        if not end:
            other = _NEXT.search(text, found.start() + 1, found.end())  # another number may stand before it
            seek = other.start() if other else found.end()
            continue
        if found.start() >= at:
            kept += [text[at : found.start()], mask]
        at, seek = found.end(), found.start() + end
    return "".join([*kept, text[at:]]) if kept else text


def _card_end(found: str) -> int:
    """Where the groups that *found* begins with are a card's number; 0 when they never are."""
    groups = _GROUP.findall(found)
    lengths, length = _LENGTHS[found[0]], 0
    for many, group in enumerate(groups, 1):
        length += len(group)
        if length in lengths and is_card("".join(groups[:many])):
            return _after(found, many)
    return 0


def _after(found: str, many: int) -> int:
    """Where the first *many* groups of *found* end."""
    return [group.end() for group in _GROUP.finditer(found)][many - 1]
