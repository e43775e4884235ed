"""Times of records, read where they are certain: ISO 8601, e-mail's, and seconds since 1970."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

import polars as pl

from costwhy.tables import TIME
from costwhy.text import shortened

_LONGEST = 60
_SHOWN = 1000
_NUMBER = re.compile(r"\d{9,19}(\.\d+)?")
_MAIL = re.compile(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d(:\d\d)? ([+-]\d{4}|GMT)")
# 2026-10-14T03:00 Europe/Berlin; 2026-10-14T03:00+02:00[Europe/Berlin]; 2026-10-14 03:00 UTC
_NAMED = re.compile(
    r"(?P<time>.*?\d(?:[Zz]|[+-]\d\d:?\d\d)?)\s*\[?(?P<zone>UTC|GMT|[A-Z]\w+(?:/[\w+-]+)+)\]?"
)
# Up to which number of seconds, milliseconds, ... since 1970 is meant: each begins where 1973 is
EPOCHS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
EARLIEST = 1e8


def to_time(value: object) -> datetime:
    """A time in UTC. Raises ValueError when it is no time, or its zone is not certain.

    value  an ISO 8601 text with an offset or the name of a zone, one as e-mail writes it, a
           datetime, or seconds, milliseconds, microseconds or nanoseconds since 1970
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _since_1970(float(value), str(value))
    text = value.isoformat() if isinstance(value, datetime) else value
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise ValueError(f"time {_cut(text)} is not ISO 8601")
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return _since_1970(float(text), text)
    try:
        time = parsedate_to_datetime(text) if _MAIL.fullmatch(text) else _iso(text)
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"time {_cut(text)} is not ISO 8601") from error
    raise ValueError(f"time {_cut(text)} has no zone: write UTC as a final Z")


def column(values: pl.Expr, *, is_number: bool) -> tuple[pl.Expr, pl.Expr]:
    """The column `time` of a frame in UTC, null where it is no time; and whether it has a zone.

    values  texts, or numbers since 1970. Zones with a name of their own but UTC are not read here.
    """
    text = values.cast(pl.String).str.strip_chars()
    iso = (
        text.str.replace(r"\[[\w/+-]+\]$", "")
        .str.replace(r"\s*(?:UTC|GMT|[Zz])$", "+00:00")
        .str.replace(r"\s+([+-]\d{2}:?\d{2})$", "${1}")
        .str.replace(" ", "T")
        .str.replace(r"([+-]\d{2})(\d{2})$", "${1}:${2}")
        .str.replace(r"T(\d{2}:\d{2})([+-])", "T${1}:00${2}")  # without seconds
    )
    since_1970 = pl.lit(value=True) if is_number else text.str.contains(f"^{_NUMBER.pattern}$")
    number = (values if is_number else text).cast(pl.Float64, strict=False)
    micros = pl.coalesce(
        pl.when(number.is_between(EARLIEST * second, end, closed="left")).then(
            number * (1e6 / second)
        )
        for end, second in EPOCHS
    )
    read = iso.str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%:z", strict=False, time_unit="us", time_zone="UTC"
    )
    epoch = micros.round().cast(pl.Int64).cast(pl.Datetime("us", "UTC"))
    zoned = since_1970 | iso.str.contains(r"T.*[+-]\d{2}:\d{2}$")
    return pl.when(since_1970).then(epoch).otherwise(read).cast(TIME).alias("time"), zoned


def _iso(text: str) -> datetime:
    """Raises ValueError: no ISO 8601, a zone that is not known, an hour that a clock has twice."""
    named = _NAMED.fullmatch(text)
    clock = re.sub(r"\s+(?=[+-]\d\d:?\d\d$)", "", (named["time"] if named else text).strip())
    time = datetime.fromisoformat(clock.upper())
    if named is None or time.tzinfo is not None:
        return time
    try:
        zone = UTC if named["zone"] in {"UTC", "GMT"} else ZoneInfo(named["zone"])
    except (KeyError, OSError) as error:
        raise ValueError(f"no zone {named['zone']}") from error
    first, second = (time.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        raise ValueError("the clock shows this time twice, or never")
    return first


def _since_1970(number: float, text: str) -> datetime:
    for end, second in EPOCHS:
        if EARLIEST * second <= number < end:
            return datetime.fromtimestamp(number / second, UTC)
    raise ValueError(f"time {_cut(text)} is not ISO 8601")


def _cut(value: object) -> str:
    return shortened(value if isinstance(value, str) else repr(value)[:_SHOWN], _LONGEST)
