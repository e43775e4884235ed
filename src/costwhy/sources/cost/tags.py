"""The tags of a bill, in every shape that exports have. docs/tags.md

Three shapes are read by DuckDB: a map, a list of (key, value) pairs, and JSON text of one flat
object. Any other shape is made JSON text, and each different one is read once (`tag_text.py`).
Tags may also stand in a column each. Looking up a key in every row is what costs, so that each
file is first asked which keys occur at all.

A key is found as people write it: exactly, without the prefix of an export (`user:`,
`resourceTags/user:`, `aws:`), in another case, or as Parquet changed it (`app_kubernetes_io_name`).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from costwhy.sources.cost.columns import is_map
from costwhy.sources.cost.sql import coalesce, literal, null_words, quoted, text
from costwhy.sources.cost.tag_text import KEYS, VALUES, read_tags
from costwhy.sources.format import Ask, Columns, Tags
from costwhy.text import one_line

KUBERNETES = "kubernetes"  # tag keys that name the service of a pod's share
OWN = re.compile(r"(?:x_)?(?:resource_?)?(?:tag|label)s?[/_:. ]+(.+)", re.IGNORECASE)
PREFIX = re.compile(
    r"(?:(?:resource_?tags?|account_?tags?|k8s-labels?|labels?)[/_:])?(?:user[:_]|aws[:_])?",
    re.IGNORECASE,
)
NOTHING = "NULL::VARCHAR"
MOST = 12  # spellings of one key that are looked up in each row
CHUNK = 20_000  # texts that are read at a time


# ---------------------------------------------------------------- which key is meant


def find_keys(wanted: str, keys: Iterable[str]) -> tuple[str, ...]:
    """The keys of a file that are meant by one that people wrote, the nearest first.

    Exact; exact without a prefix; in another case; with the same letters and digits. Of two that
    are equally near the first by name counts.
    """
    ranked = sorted((rank, key) for key in keys if (rank := _rank(wanted, key)) is not None)
    return tuple(key for _, key in ranked[:MOST])


def _rank(wanted: str, key: str) -> int | None:
    bare, low = _bare(key), wanted.lower()
    letters = {_letters(wanted), _letters(_bare(wanted) if {":", "/"} & {*wanted} else wanted)}
    tests = (
        key == wanted,
        bare == wanted,
        low in {key.lower(), bare.lower()},
        bool(({_letters(key), _letters(bare)} & letters) - {""}),
    )
    return next((rank for rank, holds in enumerate(tests) if holds), None)


def _bare(key: str) -> str:
    found = PREFIX.match(key)
    return key[found.end() :] if found else key


def _letters(key: str) -> str:
    return "".join(filter(str.isalnum, key)).lower()


# ---------------------------------------------------------------- where tags stand


@dataclass(frozen=True)
class _Place:
    """A column of tags, or all columns of one tag each.

    keys   those that occur in the file
    value  SQL of the value of one of them
    other  SQL of what was found by name (service, team) in texts that DuckDB cannot read
    """

    keys: Sequence[str]
    value: Callable[[str], str]
    other: Callable[[str], str] = lambda _name: NOTHING


def find_tags(columns: Columns, wanted: Tags, ask: Ask, places: Sequence[str]) -> dict[str, str]:
    """SQL of each wanted name: the first of its tags that a row has; never an empty text.

    columns  the file's names and DuckDB types
    wanted   tag keys by name (service, team, ...) as people write them: the first one counts
    places   columns of tags: what an earlier one has counts first

    The keys of KUBERNETES name a service where nothing else does.
    """
    there = [name for name in places if wanted and name in columns]
    all_places = [_own(columns, places), *(_of_column(columns, n, wanted, ask) for n in there)]
    found = {
        name: coalesce([part for place in all_places for part in _values(place, name, keys)])
        for name, keys in wanted.items()
    }
    last = found.pop(KUBERNETES, NOTHING)
    return found | {"service": coalesce([found.get("service", NOTHING), last])}


def _values(place: _Place, name: str, keys: Sequence[str]) -> list[str]:
    nearest = _nearest(tuple(keys), tuple(place.keys))
    return [place.other(name), *(place.value(key) for key in nearest)]


def own_columns(columns: Columns, places: Sequence[str]) -> dict[str, str]:
    """Columns of one tag each, by the key in their names: `resourceTags/user:service`."""
    return {
        match[1]: name
        for name, kind in sorted(columns.items())
        if name not in places
        and (match := OWN.fullmatch(name))
        and not kind.startswith(("MAP", "STRUCT"))
        and not kind.endswith("]")
    }


def _own(columns: Columns, places: Sequence[str]) -> _Place:
    own = own_columns(columns, places)
    return _Place(tuple(own), lambda key: text(columns, own[key]))


def _of_column(columns: Columns, name: str, wanted: Tags, ask: Ask) -> _Place:
    kind = columns[name]
    if is_map(kind):
        same = kind == "MAP(VARCHAR, VARCHAR)"
        column = quoted(name) if same else f"CAST({quoted(name)} AS MAP(VARCHAR, VARCHAR))"
        keys = [key for (key,) in ask("SELECT key FROM map_keys WHERE name = ?", [name])]
        return _Place(keys, lambda k: null_words(f"{column}[{literal(k)}]"))
    key, value = _pair(kind)
    if key and value:
        of_row = f"list_transform({quoted(name)}, lambda p: p.{quoted(key)})"
        return _Place(
            [k for k in _keys_in(of_row, ask) if k],
            lambda k: null_words(
                f"CAST(list_filter({quoted(name)}, lambda p: p.{quoted(key)} = {literal(k)})"
                f"[1].{quoted(value)} AS VARCHAR)"
            ),
        )
    return _of_text(columns, name, wanted, ask)


def _pair(kind: str) -> tuple[str | None, str | None]:
    """The names of key and value in a list of structs; null where it is none."""
    inner = re.fullmatch(r"STRUCT\(([^()]*)\)\[\]", kind)
    names = [part.split()[0].strip('"') for part in inner[1].split(", ")] if inner else []
    return tuple(  # type: ignore[return-value]  # two words
        next((name for name in names if name.lower() in words), None) for words in (KEYS, VALUES)
    )


def _keys_in(keys: str, ask: Ask) -> list[str]:
    """The keys that occur; `keys` is SQL of those of a row. Rows that have the same are one.

    They are grouped by a hash, which is twice as fast as to compare lists.
    """
    lists = f"SELECT any_value(k) AS k FROM (SELECT {keys} AS k FROM raw) GROUP BY hash(k)"
    return [key for (key,) in ask(f"SELECT DISTINCT unnest(k) FROM ({lists})") if key is not None]


# ---------------------------------------------------------------- tags as text


def _as_text(columns: Columns, name: str) -> str:
    if columns[name] == "VARCHAR":
        return quoted(name)
    return f"CAST(to_json({quoted(name)}) AS VARCHAR)"


def _of_text(columns: Columns, name: str, wanted: Tags, ask: Ask) -> _Place:
    """Flat JSON objects by DuckDB; each different text of another form once, in a table.

    Azure leaves out the braces of an object.
    """
    column, seen, table = _as_text(columns, name), _table("seen", name), _table("read", name)
    braced = (
        f"CASE WHEN starts_with({column}, '\"') THEN '{{' || {column} || '}}' ELSE {column} END"
    )
    json = f"TRY_CAST({braced} AS JSON)"
    flat = (
        f"coalesce(json_type({json}) = 'OBJECT', false) "
        f"AND NOT contains({column}, '[') AND NOT contains(substr(ltrim({column}), 2), '{{')"
    )
    ask(
        f"CREATE OR REPLACE TEMP TABLE {seen} AS SELECT DISTINCT "
        f"CASE WHEN {flat} THEN json_keys({json}) END AS keys, "
        f"CASE WHEN NOT ({flat}) THEN {column} END AS odd FROM raw WHERE {column} IS NOT NULL"
    )
    odd = _read_odd(seen, table, wanted, ask)
    return _Place(
        [key for (key,) in ask(f"SELECT DISTINCT unnest(keys) FROM {seen}")],
        lambda key: null_words(f"json_extract_string({json}, {literal(_pointer(key))})"),
        lambda found: (
            f"(SELECT t.{quoted(found)} FROM {table} t WHERE t.text = {column})" if odd else NOTHING
        ),
    )


def _table(word: str, name: str) -> str:
    return quoted(f"{word} {name}")


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _read_odd(seen: str, table: str, wanted: Tags, ask: Ask) -> bool:
    """Each text that is no flat object into a table: its tags by name. False: there is none."""
    names = list(wanted)
    ask(
        f"CREATE OR REPLACE TEMP TABLE {table} "
        f"(text VARCHAR, readable BOOLEAN, {', '.join(f'{quoted(n)} VARCHAR' for n in names)})"
    )
    ((last, odd),) = ask(f"SELECT max(rowid), count(odd) FROM {seen}")
    for begin in range(0, last + 1 if odd else 0, CHUNK):
        texts = ask(
            f"SELECT odd FROM {seen} "
            f"WHERE odd IS NOT NULL AND rowid BETWEEN {begin} AND {begin + CHUNK - 1}"
        )
        rows = [_row(one, wanted) for (one,) in texts]
        if rows:
            marks = ", ".join(["unnest(?)"] * (2 + len(names)))
            ask(
                f"INSERT INTO {table} SELECT {marks}",
                [list(one) for one in zip(*rows, strict=True)],
            )
    return bool(odd)


def _row(one: str, wanted: Tags) -> tuple[str | bool | None, ...]:
    tags = read_tags(one)
    found = (_first(tags or {}, keys) for keys in wanted.values())
    return (one, tags is not None, *found)


def _first(tags: Mapping[str, str], keys: Sequence[str]) -> str | None:
    return next((tags[key] for key in _nearest(tuple(keys), tuple(tags))), None)


@lru_cache(maxsize=4096)  # many texts have the same keys
def _nearest(wanted: tuple[str, ...], keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for one in wanted for key in find_keys(one, keys)))


# ---------------------------------------------------------------- what cannot be read


def tag_note(columns: Columns, ask: Ask, places: Sequence[str]) -> str:
    """SQL of what is said of a row whose tags no shape fits; asked after `find_tags`."""
    notes = [_note(columns, name, ask) for name in places if name in columns]
    return both_notes(*notes)


def both_notes(*notes: str) -> str:
    """SQL of several notes on a row as one; null where there is none."""
    kept = [note for note in notes if note != NOTHING] or [NOTHING]
    return kept[0] if len(kept) == 1 else f"nullif(concat_ws('; ', {', '.join(kept)}), '')"


def _note(columns: Columns, name: str, ask: Ask) -> str:
    known = "SELECT 1 FROM duckdb_tables() WHERE table_name = ?"
    bad = f"SELECT text FROM {_table('read', name)} WHERE NOT readable"
    first = ask(f"SELECT min(text) FROM ({bad})") if ask(known, [f"read {name}"]) else [(None,)]
    if not first or first[0][0] is None:
        return NOTHING
    words = f"{name} could not be read, so that they name no service and no team (the first: "
    said = literal(f"{words}{one_line(str(first[0][0]), 60)})")
    return f"CASE WHEN {_as_text(columns, name)} IN ({bad}) THEN {said} END"


# ---------------------------------------------------------------- keys that are known


def first_of(columns: Columns, name: str, keys: Sequence[str]) -> str:
    """SQL of the first of some known keys in a map, a struct or JSON text."""
    if name not in columns:
        return NOTHING
    if columns[name].startswith("MAP"):
        return coalesce([null_words(f"{quoted(name)}[{literal(key)}]") for key in keys])
    json = f"TRY_CAST({_as_text(columns, name)} AS JSON)"
    return coalesce(
        [null_words(f"json_extract_string({json}, {literal(_pointer(key))})") for key in keys]
    )
