"""Phone numbers in text. A number counts if it says what it is: by +, by a word before it, or by how it is grouped.

Order numbers, dates, times, prices and versions are digits as well, so a bare run of digits is no phone number unless
it is a valid one with its leading 0. Which numbers are valid is Google's libphonenumber's to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from synalign.llm.validation.phrases import patterns

# Where a number that names no country may be from, the most frequent first.
_REGIONS = (
    "US", "GB", "DE", "FR", "ES", "SE", "IT", "NL", "AT", "CH", "PL", "DK", "NO", "FI", "BE", "PT", "IN", "BR", "AU",
)  # fmt: skip
# Regions whose numbers of nine digits have no leading 0 and are known by their groups.
_GROUPED_REGIONS = ("ES", "PL", "PT")

_ENOUGH_DIGITS = re.compile(r"\d(?:\D{0,3}\d){6}")
# Groups are parted by at least one sign, so that there is one way only to read a run of digits.
_CANDIDATE = re.compile(r"(?<![\w.,+/#-])\+?\(?\d{1,17}(?:[ \u00a0.\-/()\u2013]{1,3}\d{1,12}){0,7}(?!\w|[-.,/]\d)")
_DATE_OR_TIME = re.compile(
    r"\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./](?:19|20)?\d{2}(?: |$)"
    r"|(?:19|20)\d\d ?[-\u2013/] ?(?:19|20)\d\d$"
)
# Grouped as in North America and as a British mobile: so plain that invented ones count too (555 ..., 07700 900 ...).
_PLAIN_FORM = re.compile(
    r"(?:\+?1[ .-]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[.-])[2-9]\d\d[ .-]\d{4}|1-[2-9]\d\d-[2-9]\d\d-\d{4}"
    r"|07\d{3} \d{3} ?\d{3}"
)
_GROUPED = re.compile(r"[6-9]\d\d(?:[ .-]\d{3}[ .-]\d{3}|[ .-]\d\d[ .-]\d\d[ .-]\d\d)")


def phones(text: str) -> Iterator[tuple[int, int]]:
    """Yield where phone numbers start and end in a text."""
    if not _ENOUGH_DIGITS.search(text):
        return
    for match in _CANDIDATE.finditer(text):
        candidate, start = match[0], match.start()
        if candidate.startswith("(") and ")" not in candidate:
            candidate, start = candidate[1:], start + 1
        digits = sum(map(str.isdigit, candidate))
        if not 7 <= digits <= 17 or _DATE_OR_TIME.match(candidate):
            continue
        before = text[max(0, start - 40) : start].rstrip("(")
        if _is_phone(candidate, digits, before, text[match.end() : match.end() + 10]):
            yield start, match.end()


def _is_phone(candidate: str, digits: int, before: str, after: str) -> bool:
    if candidate.startswith(("+", "00")) and _valid(candidate, None):
        return True
    words = patterns("phones")
    if words["named_otherwise"].search(before) or words["unit"].match(after):
        return False
    if _PLAIN_FORM.fullmatch(candidate):
        return True
    if words["named"].search(before):
        return digits >= 10 or any(_valid(candidate, region) for region in _REGIONS)
    if candidate.lstrip("(").startswith("0") and not candidate.startswith("00"):
        parts = re.findall(r"\d+", candidate)
        enough = 9 if 2 <= len(parts) <= 6 else 10
        return digits >= enough and any(_valid(candidate, region) for region in _REGIONS)
    return bool(_GROUPED.fullmatch(candidate)) and any(_valid(candidate, region) for region in _GROUPED_REGIONS)


@lru_cache(maxsize=4096)
def _valid(candidate: str, region: str | None) -> bool:
    """Return whether libphonenumber knows such a number: of that region, or of the one that it names with + or 00."""
    import phonenumbers  # its tables are read for each region when they are first asked for

    if region is None and candidate.startswith("00"):
        candidate = "+" + candidate[2:]
    try:
        number = phonenumbers.parse(candidate, region)
    except phonenumbers.NumberParseException:
        return False
    return (
        phonenumbers.is_valid_number(number)
        if region is None
        else phonenumbers.is_valid_number_for_region(number, region)
    )
