"""Numbers and times as people and spreadsheets write them: SQL that reads them, where certain.

    1.234,50   1,234.50   $12   12.50-   (12.50)   1'234
    2026-09-01 00:00:00 Europe/Berlin   9/1/2026 12:00:00 AM   01.09.2026   1788220800   46266

What can be read in two ways (`1,234`, `01/02/2026`) is decided by the other values of the file.
"""

from collections.abc import Callable, Iterable

from costwhy.errors import SourceError
from costwhy.sources.cost.columns import Columns, Spelling, literal, quoted

Place = Callable[[str], str]  # the file, and the line that has a value
Ask = Callable[[str], tuple[object, ...]]  # one row of an SQL query
# Offsets of zones whose short name means one zone only; CST, IST and others mean several
_ZONES = {
    "PST": -8, "PDT": -7, "MDT": -6, "CDT": -5, "EDT": -4, "WET": 0, "UTC": 0, "GMT": 0, "Z": 0,
    "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3, "HKT": 8, "JST": 9, "KST": 9, "AEST": 10,
    "AEDT": 11, "NZST": 12, "NZDT": 13,
}  # fmt: skip
_ZONE = r"\s*([+-][0-9]{2}(:?[0-9]{2})?|[A-Z]{1,4}|[A-Z][A-Za-z]+/[A-Za-z0-9_/+-]+)$"
_HAS_ZONE = r"([0-9]:[0-9:.,]*|[AP]M|T[0-9]{2,6})" + _ZONE
_DAY = r"([0-9]{1,2})[/-]([0-9]{1,2})[/-]([0-9]{2}|[0-9]{4})\b.*"
_CLOCKS = ("", " %H:%M:%S", " %H:%M", " %H:%M:%S.%g", " %I:%M:%S %p", " %I:%M %p", " %H%M%S")
_DATES = (
    "%Y%m%d", "%d.%m.%y", "%d.%m.%Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d/%b/%Y", "%b %d, %Y",
    "%B %d, %Y",
)  # fmt: skip
_FIRST_YEAR = 2000  # of a date without a four-digit year in front: an earlier one was misread
_ORDERS = (("%m/%d/", "%m-%d-"), ("%d/%m/", "%d-%m-"))  # month first, day first
_SIGN, _POWER = "[+-]?", "([eE][+-]?[0-9]+)?"
_EITHER = rf"{_SIGN}[1-9][0-9]{{0,2}},[0-9]{{3}}"


# ---------------------------------------------------------------- numbers


def _certain(mark: str, thousands: str) -> str:
    """Numbers that show that this is their decimal mark, as a regular expression."""
    return (
        rf"{_SIGN}([0-9]{{1,3}}({thousands}[0-9]{{3}})+{mark}[0-9]*"
        rf"|[0-9]{{1,3}}({thousands}[0-9]{{3}}){{2,}}|[0-9]*{mark}([0-9]{{1,2}}|[0-9]{{4,}})"
        rf"|0[0-9]*{mark}[0-9]+|[0-9]{{4,}}{mark}[0-9]+|[0-9]+{mark}[0-9]*[eE][+-]?[0-9]+){_POWER}"
    )


def _bare(text: str) -> str:
    """A number's text without blanks, signs of currency and marks of thousands; its minus first."""
    bare = rf"regexp_replace({text}, '[\s''’$€£¥₹\x{{A0}}\x{{202F}}\x{{2009}}]', '', 'g')"
    codes = "^([(+-]?)(?:[A-Z]{3}|US|CA|AU|NZ|HK|SG)|[A-Z]{3}$"
    bare = f"replace(regexp_replace({bare}, {literal(codes)}, '\\1', 'g'), '−', '-')"
    return rf"regexp_replace({bare}, '^(?:([^-].*)-|\(([^-].*)\))$', '-\1\2')"


def odd_number(text: str, comma: bool) -> str:  # noqa: FBT001 - one of two ways
    """SQL of a number in any usual spelling, as double; null where it is none."""
    mark, thousands = (",", r"\.") if comma else (r"\.", ",")
    form = rf"{_SIGN}([0-9]{{1,3}}({thousands}[0-9]{{3}})+|[0-9]*)({mark}[0-9]*)?{_POWER}"
    bare = _bare(text)
    plain = f"replace({bare}, {literal(thousands[-1])}, '')"
    plain = f"replace({plain}, ',', '.')" if comma else plain
    value = f"TRY_CAST({plain} AS DOUBLE)"
    return (
        f"CASE WHEN regexp_full_match({bare}, {literal(form)}) AND isfinite({value}) "
        f"THEN {value} END"
    )


def _decimal_comma(ask: Ask, columns: Columns, place: Place) -> frozenset[str]:
    """The columns with a decimal comma. Raises SourceError where nothing decides."""
    texts = [name for name in sorted(columns.asked.numbers) if columns[name] == "VARCHAR"]
    if not texts:
        return frozenset()
    found = ask(
        ", ".join(
            f"count(*) FILTER (regexp_full_match({_bare(quoted(name))}, {literal(form)}))"
            for name in texts
            for form in (_certain(",", r"\."), _certain(r"\.", ","))
        )
        + "".join(
            f", min({quoted(name)}) FILTER (regexp_full_match({_bare(quoted(name))}, "
            f"{literal(_EITHER)}))"
            for name in texts
        )
    )
    pairs = dict(zip(texts, zip(found[::2], found[1::2], strict=False), strict=False))
    either = dict(zip(texts, found[2 * len(texts) :], strict=True))
    comma = {name for name, (commas, points) in pairs.items() if commas and not points}
    point = {name for name, (_commas, points) in pairs.items() if points}
    silent = [name for name in texts if name not in comma | point]
    unsure = [name for name in silent if either[name] is not None]
    if unsure and bool(comma) == bool(point):
        value = either[unsure[0]]
        raise SourceError(
            f"{place(str(value))}: {value} in {unsure[0]} can be read in two ways",
            found="no number in the file shows whether its comma is a decimal comma or marks "
            "thousands",
            fix="export numbers without marks of thousands, with a decimal point",
        )
    return frozenset(comma | (set(silent) if comma and not point else set()))


# ---------------------------------------------------------------- times


def _zone(text: str) -> str:
    return (
        f"CASE WHEN regexp_matches({text}, {literal(_HAS_ZONE)}) "
        f"AND NOT regexp_matches({text}, '[AP]M$') "
        f"THEN regexp_extract({text}, {literal(_ZONE)}, 1) ELSE '' END"
    )


def odd_wall(text: str, day_first: bool | None) -> str:  # noqa: FBT001 - one of two ways
    """SQL of a time in any usual spelling, as its own clock shows it; null where it is none."""
    clean = f"upper(trim({text}))"
    body = f"regexp_replace(rtrim(left({clean}, length({clean}) - length({_zone_upper(text)}))), "
    body += r"'([0-9])T([0-9])', '\1 \2')"
    body = rf"regexp_replace({body}, '([0-9]{{4}}), ([0-9])', '\1 \2')"
    days = [f"{order}{end}" for order in _ORDERS[bool(day_first)] for end in ("%y", "%Y")]
    forms = ", ".join(literal(d + c) for d in (*_DATES, *days) for c in _CLOCKS)
    value = f"TRY_CAST(replace({clean}, ',', '.') AS DOUBLE)"
    count = f"TRY_CAST(round(TRY_CAST({clean} AS DOUBLE) * {{}}) AS BIGINT)"
    named = f"CAST(try_strptime({body}, [{forms}]) AS TIMESTAMP)"
    epochs = " ".join(
        f"WHEN regexp_full_match({clean}, '[0-9]{{{size}}}(\\.[0-9]*)?') "
        f"THEN make_timestamp({count.format(factor)})"
        for size, factor in ((10, 1e6), (13, 1e3), (16, 1), (19, 1e-3))
    )
    return (
        f"CASE {epochs} "
        f"WHEN regexp_full_match({clean}, '(19|20)[0-9]{{6}}') "
        f"THEN CAST(try_strptime({clean}, '%Y%m%d') AS TIMESTAMP) "
        f"WHEN regexp_full_match({clean}, '20[0-9]{{2}}-?[01][0-9]') "
        f"THEN CAST(try_strptime(replace({clean}, '-', ''), '%Y%m') AS TIMESTAMP) "
        f"WHEN regexp_full_match({clean}, '[3-6][0-9]{{4}}([.,][0-9]*)?') "
        f"THEN TIMESTAMP '1899-12-30' + to_seconds(round({value} * 86400)) "
        f"WHEN regexp_matches({body}, '^[0-9]{{4}}[-/]') "
        f"THEN TRY_CAST(regexp_replace(replace({body}, ',', '.'), ' ([0-9]{{1,2}})$', ' \\1:00') "
        f"AS TIMESTAMP) "
        f"WHEN year({named}) >= {_FIRST_YEAR} "
        f"THEN {named} END"
    )


def _zone_upper(text: str) -> str:
    return _zone(f"trim({text})")


def odd_time(text: str, day_first: bool | None) -> str:  # noqa: FBT001 - one of two ways
    """SQL of the same time in UTC; a time that has no zone is UTC."""
    wall, zone = odd_wall(text, day_first), _zone_upper(text)
    hours = " ".join(f"WHEN {literal(name)} THEN {60 * h}" for name, h in _ZONES.items())
    offset = f"CASE {zone} {hours} END"
    digits = f"replace({zone}, ':', '')"
    signed = (
        f"(CAST({digits}[1:3] AS INTEGER) * 60 + CAST({digits}[1] || coalesce("
        f"nullif({digits}[4:5], ''), '0') AS INTEGER))"
    )
    return (
        f"CASE WHEN {zone} = '' THEN {wall} "
        f"WHEN {zone}[1] IN ('+', '-') THEN {wall} - to_minutes({signed}) "
        f"WHEN contains({zone}, '/') "
        f"THEN timezone('UTC', TRY_CAST(strftime({wall}, '%Y-%m-%d %H:%M:%S ') || {zone} "
        f"AS TIMESTAMPTZ)) ELSE {wall} - to_minutes({offset}) END"
    )


def _day_first(ask: Ask, columns: Columns, place: Place) -> bool | None:
    """Whether 01/09/2026 is in September. Raises SourceError where nothing, or both, is shown."""
    texts = [name for name in sorted(columns.asked.times) if columns[name] == "VARCHAR"]
    if not texts:
        return None
    found = ask(", ".join(f for name in texts for f in _signs(name)))
    day, month, example = (_any(found[k::3]) for k in range(3))
    if example is None or bool(day) != bool(month):
        return bool(day) if example is not None else None
    raise SourceError(
        f"{place(str(example))}: {example} can be read in two ways",
        found="times of both kinds, day/month and month/day"
        if day
        else "no time in the file shows whether the day or the month stands first",
        fix="export times as 2026-09-01T00:00:00Z",
    )


def _signs(name: str) -> tuple[str, str, str]:
    """SQL: whether a day stands first, whether a month does, and a time that shows neither."""
    text = f"trim({quoted(name)})"
    first, second = (
        f"TRY_CAST(regexp_extract({text}, {literal('^' + _DAY)}, {k}) AS INTEGER)" for k in (1, 2)
    )
    day, month = f"{first} > 12", f"{second} > 12"
    if "billingperiod" in name.lower().replace("_", ""):  # it begins and ends on a first
        day, month = (
            f"{day} OR {first} = 1 AND {second} <> 1",
            f"{month} OR {second} = 1 AND {first} <> 1",
        )
    return (
        f"bool_or({day})",
        f"bool_or({month})",
        f"min({text}) FILTER ({first} <> {second})",
    )


def _any(values: Iterable[object]) -> object:
    return next((value for value in values if value), None)


def find_spelling(ask: Ask, columns: Columns, place: Place) -> Spelling:
    """How a file spells the numbers and times that were asked for.

    ask    the row of an SQL query's expressions over the file
    place  the file, and the line that has a value

    Raises SourceError naming a value that can be read in two ways.
    """
    return Spelling(_decimal_comma(ask, columns, place), _day_first(ask, columns, place))
