"""TODO text.py"""

import re
from datetime import UTC, datetime

from costwhy.errors import InputError

SHOWN = 300
"""Characters that are shown of what the other side said."""
_LEAST_SECRET = 4
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]+"
)


def shown(text: str, secrets: tuple[str, ...] = ()) -> str:
    """A stranger's text in one line, cut, without control characters and without our secrets."""
    for secret in secrets:
        if len(secret) >= _LEAST_SECRET:
            text = text.replace(secret, "(secret)")
    return one_line(text, SHOWN)


def one_line(text: str, most: int) -> str:
    """A stranger's text as one line of `most` characters, without control, direction and invisible characters."""
    line = " ".join(_CONTROL.sub(" ", text[: 20 * most]).split())
    return line if len(line) <= most else line[:most] + "…"


def cents(amount: float) -> float:
    """Money as it is told: to the cent, and nothing is never negative."""
    return round(amount, 2) + 0.0


def currency_code(code: object, place: object) -> str:
    """The code, of ISO 4217 as USD. Raises InputError where it is none; place: where it was read."""
    if isinstance(code, str) and re.fullmatch("[A-Z]{3}", code):
        return code
    raise InputError(
        f"the currency in {place} is not a code of ISO 4217",
        found=repr(code)[:SHOWN],
        fix="write its three capital letters, such as USD",
    )


SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}


def money(amount: float, currency: str = "USD") -> str:
    """$1,048 from 100 on, $20.43 below; the sign before the symbol."""
    symbol, size = SYMBOLS.get(currency, f"{currency} "), abs(amount)
    digits = f"{size:,.0f}" if size >= 100 else f"{size:,.2f}"
    return f"{'−' if amount < 0 and digits.strip('0.') else ''}{symbol}{digits}"


def clock(time: datetime) -> str:
    """21 Oct 09:00 UTC."""
    return f"{time.day} {time:%b %H:%M} UTC"


def plain_value(value: object) -> object:
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value


def arn_tail(text: str) -> str:
    """The last part of an ARN, or of a name: what follows its last colon or slash."""
    return re.split(r"[:/]", text)[-1]


def contains_word(text: str, word: str) -> bool:
    """Whether the word stands in the text between other characters than a-z and 0-9."""
    whole = rf"(?<![a-z0-9]){re.escape(word.lower())}(?![a-z0-9])"
    return re.search(whole, text.lower()) is not None
