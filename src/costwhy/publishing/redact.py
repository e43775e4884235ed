"""Names taken out before a case leaves: account numbers, resource ids, people, by choice.

The same name has the same mask everywhere. A mask is a keyed hash (HMAC-SHA256): nobody who has
the case can try all account numbers to find which one it was.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import polars as pl
from platformdirs import user_state_path

from costwhy.errors import UsageError

KINDS = ("accounts", "resources", "people")
_ACCOUNT = (r"(?<!\d)\d{12}(?!\d)",)
_ID = "i|vol|sg|eni|subnet|vpc|nat|snap|ami|rtb|igw|eipalloc|vpce|tgw|fs|db|acl"
_RESOURCE = (
    r"arn:[^\s\"',;<>|]+",
    rf"(?<![A-Za-z0-9])(?:{_ID})-[0-9a-f]{{8,17}}(?![A-Za-z0-9])",
)
_MAIL = (r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}",)
SHORTEST_NAME = 3  # letters of a person's name that is looked for inside of texts
SHORTEST_TAIL = 6  # letters of the last part of an ARN


def mask_key() -> bytes:
    """The key of the masks: COSTWHY_MASK_KEY, or one made once that only this user can read."""
    if os.environ.get("COSTWHY_MASK_KEY"):
        return os.environ["COSTWHY_MASK_KEY"].encode()
    folder = user_state_path("costwhy")
    file = folder / "mask.key"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(32))
    return file.read_text().strip().encode()


@dataclass(frozen=True)
class Redaction:
    """What to take out (of KINDS), by which names. people: names and mail addresses."""

    kinds: frozenset[str]
    key: bytes
    accounts: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    people: frozenset[str] = frozenset()
    _masked: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def text(self, text: str) -> str:
        """The text with masks in place of names."""
        if text not in self._masked:
            masked = text
            for pattern, kind in self._rules:
                masked = pattern.sub(partial(self._mask, kind), masked)
            self._masked[text] = masked
        return self._masked[text]

    def tree(self, value: Any) -> Any:
        """The same of every text inside of lists and dictionaries."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.tree(part) for key, part in value.items()}
        return [self.tree(part) for part in value] if isinstance(value, list | tuple) else value

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The same of every text column, lists of texts too."""
        return frame.with_columns(
            pl.Series(column.name, self.tree(column.to_list()), dtype=column.dtype)
            for column in frame.get_columns()
            if self.kinds and column.dtype in (pl.String, pl.List(pl.String))
        )

    @cached_property
    def _rules(self) -> list[tuple[re.Pattern[str], str]]:
        """Patterns, and what they find. Longer names first: they may contain shorter ones."""
        tails = {re.split(r"[:/]", resource)[-1] for resource in self.resources}
        out = []
        for kind, word, patterns, names, least in (
            ("people", "person", _MAIL, self.people, SHORTEST_NAME),
            ("resources", "resource", _RESOURCE, tails, SHORTEST_TAIL),
            ("accounts", "account", _ACCOUNT, self.accounts, 0),
        ):
            if kind in self.kinds:
                whole = (
                    rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"
                    for name in sorted(names, key=lambda name: (-len(name), name))
                    if len(name) >= least
                )
                out += [(re.compile(found, re.IGNORECASE), word) for found in (*patterns, *whole)]
        return out

    def _mask(self, kind: str, found: re.Match[str]) -> str:
        name = found[0].lower()
        if kind == "person":  # dana@acme.example, dana: one person
            name = name.split("@")[0]
        if kind == "resource":  # an ARN and its last part: one resource
            name = re.split(r"[:/]", name)[-1]
        digest = hmac.new(self.key, f"{kind}:{name}".encode(), hashlib.sha256).hexdigest()
        return f"{kind}-{digest[:8]}"


def redaction_of(
    kinds: Collection[str],
    tables: dict[str, pl.DataFrame],
    resources: Collection[str],
    key: bytes | None = None,
) -> Redaction:
    """The names of these tables, to be taken out. Raises UsageError for an unknown kind."""
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise UsageError(
            f"there is no kind of name {unknown[0]!r} to take out",
            found=", ".join(unknown),
            fix=f"choose of {', '.join(KINDS)}",
        )
    if not kinds:
        return Redaction(frozenset(), b"")
    return Redaction(
        frozenset(kinds),
        key or mask_key(),
        accounts=_values(
            tables,
            pl.lit(value=True),
            meters=("SubAccountId", "SubAccountName", "BillingAccountId"),
            leaves=("SubAccountId",),
            changes=("account",),
            recorded=("account",),
        ),
        resources=frozenset(resources),
        people=_people(tables),
    )


def _people(tables: dict[str, pl.DataFrame]) -> frozenset[str]:
    """Users of the catalogue by all their names, and every actor that is a person.

    A mail address also by its local part.
    """
    user, person = pl.col("kind") == "user", pl.col("actor_kind") == "person"
    names = _values(tables, user, catalog=("name", "email", "title"))
    names |= _values(tables, person, changes=("actor",), recorded=("actor",))
    return names | {name.split("@")[0] for name in names if "@" in name}


def _values(
    tables: dict[str, pl.DataFrame], rows: pl.Expr, **columns: tuple[str, ...]
) -> frozenset[str]:
    """All texts in those of the columns, by table, that there are."""
    return frozenset(
        value
        for table, names in columns.items()
        if table in tables
        for name in names
        if name in tables[table].columns
        for value in tables[table].filter(rows)[name].drop_nulls().to_list()
        if value
    )
