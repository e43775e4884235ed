"""Text and figures for people: text from outside made safe to show, money, cents and times.

Names, messages and titles from outside may hold control characters, characters that turn the
direction of writing, invisible ones and broken ones. Everything that shows or stores such text
cleans it here.
"""

import re
from datetime import UTC, datetime

from costwhy.errors import InputError

MAX_SHOWN = 300  # characters shown of what another host answered
CENT = 0.01
HALF_CENT = 0.005  # amounts that differ by no more are equal to the cent
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}


def clean(text: object, instead: str = "", keep: str = "") -> str:
    """Text from outside without the characters that Python calls unprintable.

    These are control, format, direction and invisible characters, surrogates, line separators,
    private and unassigned characters. They become `instead`; where that is empty, white space
    becomes a space. Characters of `keep` stay.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else instead or (" " if char.isspace() else "")
        for char in text
    )


def shortened(text: str, most: int) -> str:
    """Text from outside, cleaned, its first `most` characters."""
    return clean(text[:most], " ") + ("…" if len(text) > most else "")


def one_line(text: str, most: int) -> str:
    """The same, with single spaces between its words."""
    return shortened(" ".join(clean(text[: 20 * most], " ").split()), most)


def shown(text: str, secrets: tuple[str, ...] = ()) -> str:
    """What another host answered as one short line, without our secrets."""
    for secret in secrets:
        if len(secret) >= 4:  # a shorter one would mask parts of words
            text = text.replace(secret, "(secret)")
    return one_line(text, MAX_SHOWN)


def size_of(count: int) -> str:
    """Bytes for people: 500 bytes, 12 KB, 3.4 MB."""
    if count < 1000:
        return f"{count} bytes"
    unit = min((len(str(count)) - 1) // 3, 4)
    value = count / 1000**unit
    amount = f"{value:.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")
    return f"{amount} {' KMGT'[unit]}B"


def cents(amount: float) -> float:
    """Money rounded to the cent; zero is never negative."""
    return round(amount, 2) + 0.0


def money(amount: float, currency: str = "USD") -> str:
    """$1,048 from 100 on, $20.43 below; the sign before the symbol."""
    symbol, size = _SYMBOLS.get(currency, f"{currency} "), abs(amount)
    digits = f"{size:,.0f}" if size >= 100 else f"{size:,.2f}"
    return f"{'−' if amount < 0 and digits.strip('0.') else ''}{symbol}{digits}"


def exact(amount: float) -> str:
    """1,048.50: to the cent, for tables and sums that are compared with an invoice."""
    return f"{cents(amount):,.2f}"


def count_of(number: int, noun: str) -> str:
    """1 row, 1,200 rows."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(number: int) -> str:
    """850 B, 12.3 kB, 1.5 MB; a kB has 1,000 bytes."""
    if number < 1000:
        return f"{number} B"
    value, units = number / 1000, iter(("kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 999.95 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:,.1f} {unit}"


def currency_code(code: object, place: object) -> str:
    """The code, of ISO 4217 as USD; place: where it was read. Raises InputError for another."""
    if isinstance(code, str) and re.fullmatch("[A-Z]{3}", code):
        return code
    raise InputError(
        f"the currency in {place} is not a code of ISO 4217",
        found=repr(code)[:MAX_SHOWN],
        fix="write its three capital letters, such as USD",
    )


def clock(time: datetime) -> str:
    """21 Oct 09:00 UTC."""
    return f"{time.day} {time:%b %H:%M} UTC"


def to_utc(time: datetime) -> datetime:
    """The time in UTC; one without a zone is taken as UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def iso_time(time: datetime) -> str:
    """2026-10-21T09:00:00Z."""
    return f"{to_utc(time):%Y-%m-%dT%H:%M:%SZ}"


def plain_value(value: object) -> object:
    """The value as JSON has it: times as text."""
    return iso_time(value) if isinstance(value, datetime) else value


def arn_tail(text: str) -> str:
    """The last part of an ARN, or of a name: what follows its last colon or slash."""
    return re.split(r"[:/]", text)[-1]


def contains_word(text: str, word: str) -> bool:
    """Whether the word stands in the text between other characters than a-z and 0-9."""
    whole = rf"(?<![a-z0-9]){re.escape(word.lower())}(?![a-z0-9])"
    return re.search(whole, text.lower()) is not None
