"""Personal data in text: found by its form and its check digits, and replaced by placeholders that can be undone.

What counts: e-mail addresses, phone numbers, payment cards, IBANs, IP addresses, and national ids whose form is
distinctive: US social security, GB national insurance, IT codice fiscale, ES DNI and NIE, FR NIR, SE personnummer with
its sign, FI hetu, BR CPF, BE national number, CH AHV, IN Aadhaar in groups and PAN, MX CURP. Ids that are bare digits
(DE Steuer-ID, NL BSN, PL PESEL, GB NHS) count where a word before says so. Names and addresses are not looked for.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import get_args

from synalign.config import PersonalKind
from synalign.llm.validation.phones import phones

#: What a placeholder looks like: [EMAIL_1]; [EMAIL_1_2] is the second spelling of the same address.
PLACEHOLDER = re.compile(r"\[(EMAIL|PHONE|CARD|IBAN|NATIONAL_ID|IP|TEXT)_(\d{1,9})(?:_(\d{1,9}))?\]", re.ASCII)

# Where two kinds claim the same characters, the one that is checked more strictly comes first.
_ORDER: tuple[PersonalKind, ...] = ("email", "ip", "iban", "card", "national_id", "phone")

_LATIN = "A-Za-z0-9\u00c0-\u024f\u0370-\u052f"
# Each repetition is bounded and starts only where a name can start, so that the time is linear in the text.
_EMAIL = re.compile(
    rf"(?:(?<![{_LATIN}.%+_-])[{_LATIN}_][{_LATIN}.!#$%&'*+/=?^`{{|}}~_-]{{0,63}}|(?<!\w)[^\W{_LATIN}]{{1,64}})"
    rf"@(?:[^\W_][\w-]{{0,62}}\.){{1,8}}(?:xn--[A-Za-z0-9-]{{2,59}}|[A-Za-z\u00c0-\u024f\u0370-\u052f]{{2,24}}"
    rf"(?![{_LATIN}_-])|[\u3041-\u30ff\u4e00-\u9fff\u0600-\u06ff]{{2,4}}(?!\w))"
)
_RESERVED = re.compile(r"(?:^|\.)(?:example\.(?:com|net|org)|example|test|invalid|localhost)$")
_SPELLED_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64} ?(?:\(at\)|\[at\]) ?[\w-]{1,63}(?:(?:\.| ?(?:\(dot\)|\[dot\]) ?)[\w-]{2,63}){1,4}",
    re.IGNORECASE,
)
_IPV4 = re.compile(r"(?<![\w.])(?<!version )(?<!firmware )(?<!build )\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)", re.IGNORECASE)
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9a-f:]*[0-9])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}(?![\w:])", re.IGNORECASE)
_IBAN = re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?!\w)")
_CARD = re.compile(r"(?<![\w+])(?<!\d[ .,-])\d(?:[ -]?\d){12,18}(?![ -]?\d)(?!\w)")
# Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay, Maestro: first digits and lengths.
_CARD_FORM = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11}|6(?:011|5\d\d|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
    r"|(?:5018|5020|5038|6304|6759|676[1-3])\d{8,15}"
)
# Each form with the module of python-stdnum that checks it; None: the form says it all.
_IDS: tuple[tuple[re.Pattern[str], str | None], ...] = tuple(
    (re.compile(rf"(?<![\w-])(?:{form})(?![\w-])", re.IGNORECASE), module)
    for form, module in (
        (r"\d{3}-\d{2}-\d{4}", "us.ssn"),
        (
            r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: ?\d{2}){3} ?[A-D]",
            None,  # GB national insurance has no check digit
        ),
        (r"[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPR-T][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]", "it.codicefiscale"),
        (r"\d{8}[- ]?[A-Z]", "es.dni"),
        (r"[XYZ][- ]?\d{7}[- ]?[A-Z]", "es.nie"),
        (r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", "fr.nir"),
        (r"(?:19|20)?\d{6}[-+]\d{4}", "se.personnummer"),
        (r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]", "fi.hetu"),
        (r"\d{3}\.\d{3}\.\d{3}-\d{2}", "br.cpf"),
        (r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", "be.nn"),
        (r"756\.\d{4}\.\d{4}\.\d{2}", "ch.ssn"),
        (r"[2-9]\d{3} \d{4} \d{4}", "in_.aadhaar"),
        (r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]", "in_.pan"),
        (r"[A-Z][AEIOUX][A-Z]{2}\d{6}[HMX][A-Z]{5}[A-Z0-9]\d", "mx.curp"),
    )
)
_NAMED_ID = re.compile(
    r"\b(?:(?P<ssn>ssn|social security)|(?P<idnr>steuer-?(?:id|identifikations)\w*|idnr\.?|tax id)|(?P<bsn>bsn"
    r"|burgerservicenummer)|(?P<pesel>pesel)|(?P<nhs>nhs))(?: (?:number|no\.?|nr\.?|nummer|is|ist|lautet|:))*[ :#]*"
    r"(?P<number>\d(?:[ -]?\d){8,10})(?!\w)",
    re.IGNORECASE,
)
_NAMED_MODULES = {"ssn": "us.ssn", "idnr": "de.idnr", "bsn": "nl.bsn", "pesel": "pl.pesel", "nhs": "gb.nhs"}
# Most texts have nothing of the kind, and should cost nothing.
_CAN_HOLD = re.compile(r"@|[(\[]at[)\]]|:[0-9a-f]*:|\d\D{0,6}\d\D{0,6}\d\D{0,6}\d", re.IGNORECASE)
_FOUR_DIGITS = re.compile(r"\d\D{0,6}\d\D{0,6}\d\D{0,6}\d")


@dataclass(frozen=True)
class PersonalDatum:
    """One piece of personal data: its kind, where it stands in the text, and the characters there."""

    kind: PersonalKind
    start: int
    end: int
    text: str

    @property
    def reserved(self) -> bool:
        """Whether it can be nobody's: an address in a domain that is set aside for examples (RFC 2606)."""
        domain = self.text.rpartition("@")[2].casefold()
        return self.kind == "email" and _RESERVED.search(domain) is not None


def find(text: str, kinds: Collection[PersonalKind]) -> list[PersonalDatum]:
    """Return the personal data of the given kinds in a text, in order and without overlap.

    What is plainly of another kind is not taken for one of these: the digits of an IBAN are no phone number, whether
    or not IBANs are asked for.
    """
    if not kinds or not _CAN_HOLD.search(text):
        return []
    taken: list[PersonalDatum] = []
    for kind in _ORDER:
        for start, end in _FINDERS[kind](text):
            if all(end <= other.start or start >= other.end for other in taken):
                taken.append(PersonalDatum(kind, start, end, text[start:end]))
    return sorted((item for item in taken if item.kind in kinds), key=lambda item: item.start)


def canonical(kind: str, text: str) -> str:
    """Return the form in which two spellings of the same piece of personal data are equal."""
    if kind == "email":
        return re.sub(r" ?[(\[]at[)\]] ?", "@", re.sub(r" ?[(\[]dot[)\]] ?", ".", text.casefold()))
    if kind in ("phone", "card"):
        return "".join(filter(str.isdigit, text))
    if kind in ("iban", "national_id"):
        return re.sub(r"[\W_]", "", text).upper()
    return text.casefold()


class Redactor:
    """Replaces personal data by placeholders such as [EMAIL_1], and puts it back.

    `restore(redact(text))` is `text`, whatever the text holds: a placeholder that stands there already is replaced too,
    by one of the kind TEXT. The same datum always has the same number; another spelling of it (BOB@X.ORG, bob@x.org)
    has a second number after it, [EMAIL_1_2], so that each spelling comes back as it was.

    Args:
        kinds: what to replace; with none, only the placeholders that stand in a text are.
        known: placeholders that exist already, with what they stand for. A `Redactor` that knows the `known` and `new`
            of another goes on where that one stopped.
    """

    def __init__(self, kinds: Collection[PersonalKind], known: Mapping[str, str] | None = None) -> None:
        self.kinds = frozenset(kinds)
        #: The placeholders made by this object, with what they stand for.
        self.new: dict[str, str] = {}
        self._originals = dict(known or {})
        self._made: dict[tuple[str, str], str] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._spellings: dict[tuple[str, int], int] = {}
        self._last: dict[str, int] = {}
        for placeholder, original in self._originals.items():
            form = PLACEHOLDER.fullmatch(placeholder)
            if form is None:
                raise ValueError(f"{placeholder!r} is not a placeholder such as [EMAIL_1]")
            name, number, spelling = form[1], int(form[2]), int(form[3] or 1)
            self._made[name, original] = placeholder
            self._numbers[name, canonical(name.lower(), original)] = number
            self._last[name] = max(number, self._last.get(name, 0))
            self._spellings[name, number] = max(spelling, self._spellings.get((name, number), 0))

    def redact(self, text: str) -> str:
        """Return the text with placeholders in place of personal data; the same text always gives the same."""
        parts: list[str] = []
        position = 0
        for literal in PLACEHOLDER.finditer(text):
            parts += [self._redacted(text[position : literal.start()]), self._placeholder("TEXT", literal[0])]
            position = literal.end()
        return "".join([*parts, self._redacted(text[position:])])

    def restore(self, text: str) -> str:
        """Return the text with what the placeholders stand for; one that was never made is left as it is."""
        return PLACEHOLDER.sub(lambda form: self._originals.get(form[0], form[0]), text)

    def _redacted(self, text: str) -> str:
        parts: list[str] = []
        position = 0
        for item in find(text, self.kinds):
            parts += [text[position : item.start], self._placeholder(item.kind.upper(), item.text)]
            position = item.end
        return "".join([*parts, text[position:]])

    def _placeholder(self, name: str, original: str) -> str:
        made = self._made.get((name, original))
        if made is not None:
            return made
        key = (name, canonical(name.lower(), original))
        if key not in self._numbers:
            self._numbers[key] = self._last[name] = self._last.get(name, 0) + 1
        number = self._numbers[key]
        spelling = self._spellings[name, number] = self._spellings.get((name, number), 0) + 1
        made = f"[{name}_{number}]" if spelling == 1 else f"[{name}_{number}_{spelling}]"
        self._made[name, original] = self._originals[made] = self.new[made] = original
        self._made[name, original] = made
        return made


def _emails(text: str) -> Iterator[tuple[int, int]]:
    if "@" in text:
        yield from (match.span() for match in _EMAIL.finditer(text))
    if "at)" in text or "at]" in text:
        yield from (match.span() for match in _SPELLED_EMAIL.finditer(text))


def _ips(text: str) -> Iterator[tuple[int, int]]:
    for pattern, sign in ((_IPV4, "."), (_IPV6, ":")):
        if text.count(sign) < 3:
            continue
        for match in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(match[0])
            except ValueError:
                continue
            if not (address.is_loopback or address.is_unspecified):
                yield match.span()


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    position = 0
    while match := _IBAN.search(text, position):
        # The pattern may run on into the words that follow.
        ends = [match.end(), *(match.start() + cut.start() for cut in re.finditer(r"[ -]", match[0]))]
        fits = [end for end in ends if _valid("iban", text[match.start() : end])]
        if fits:
            yield match.start(), max(fits)
        position = max(fits) if fits else match.start() + 1


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        digits = canonical("card", match[0])
        if _CARD_FORM.fullmatch(digits) and _valid("luhn", digits):
            yield match.span()


def _national_ids(text: str) -> Iterator[tuple[int, int]]:
    if not _FOUR_DIGITS.search(text):
        return
    for match in _NAMED_ID.finditer(text):
        module = next(module for name, module in _NAMED_MODULES.items() if match[name])
        if _valid(module, re.sub(r"[ -]", "", match["number"])):
            yield match.span("number")
    for pattern, checked_by in _IDS:
        for match in pattern.finditer(text):
            if checked_by is None or _valid(checked_by, match[0]):
                yield match.span()


def _valid(module: str, text: str) -> bool:
    return _validator(module)(text)


@cache
def _validator(module: str) -> Callable[[str], bool]:
    """Import a module of python-stdnum when a text first needs it."""
    is_valid: Callable[[str], bool] = import_module(f"stdnum.{module}").is_valid
    return is_valid


_FINDERS: dict[PersonalKind, Callable[[str], Iterator[tuple[int, int]]]] = {
    "email": _emails,
    "ip": _ips,
    "iban": _ibans,
    "card": _cards,
    "national_id": _national_ids,
    "phone": phones,
}
assert set(_FINDERS) == set(get_args(PersonalKind))
