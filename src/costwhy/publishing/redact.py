"""Names taken out before a case leaves: account numbers, resource ids, people, by choice; the same name has the same mask everywhere.

A mask is a keyed hash (HMAC-SHA256): who has the case cannot count through all account numbers to find which one it was.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from costwhy.errors import UsageError

KINDS = ("accounts", "resources", "people")
_ACCOUNT = r"(?<!\d)\d{12}(?!\d)"
_RESOURCE = (
    r"arn:[^\s\"',;<>|]+",
    r"(?<![A-Za-z0-9])(?:i|vol|sg|eni|subnet|vpc|nat|snap|ami|rtb|igw|eipalloc|vpce|tgw|fs|db|acl)-[0-9a-f]{8,17}(?![A-Za-z0-9])",
)
_MAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}"
SHORTEST_NAME = 3  # letters of a person's name that is looked for inside of texts


def mask_key() -> bytes:
    """The key of the masks: COSTWHY_MASK_KEY, or made once for this user and kept where only they can read."""
    if os.environ.get("COSTWHY_MASK_KEY"):
        return os.environ["COSTWHY_MASK_KEY"].encode()
    state = (
        Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        / "costwhy"
        / "mask.key"
    )
    if not state.exists():
        state.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(state, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(32))
    return state.read_text().strip().encode()


@dataclass(frozen=True)
class Redaction:
    """What to take out (of KINDS), by which names. accounts: names of accounts; people: names and mail addresses."""

    kinds: frozenset[str]
    key: bytes
    accounts: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    people: frozenset[str] = frozenset()

    def text(self, text: str) -> str:
        """The text with masks in place of names."""
        for pattern, mask in self._rules:
            text = pattern.sub(mask, text)
        return text

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The same of every text column, lists of texts too."""
        if not self.kinds:
            return frame
        return frame.with_columns(
            self._column(column)
            for column in frame.get_columns()
            if column.dtype in (pl.String, pl.List(pl.String))
        )

    def _column(self, column: pl.Series) -> pl.Series:
        if column.dtype == pl.String:
            known = {value: self.text(value) for value in column.drop_nulls().unique().to_list()}
            return pl.Series(
                column.name, [known.get(value) for value in column.to_list()], dtype=pl.String
            )
        return pl.Series(
            column.name,
            [None if row is None else [self.text(x) for x in row] for row in column.to_list()],
            dtype=column.dtype,
        )

    def tree(self, value: Any) -> Any:
        """The same of every text inside of lists and dictionaries."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.tree(part) for key, part in value.items()}
        return [self.tree(part) for part in value] if isinstance(value, list | tuple) else value

    @cached_property
    def _rules(self) -> tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]:
        rules: list[tuple[str, str]] = []
        if "people" in self.kinds:
            rules += [(_MAIL, "person")] + [
                (_whole_word(name), "person")
                for name in _longest(self.people)
                if len(name) >= SHORTEST_NAME
            ]
        if "resources" in self.kinds:
            tails = {re.split(r"[:/]", r)[-1] for r in self.resources}
            rules += [(pattern, "resource") for pattern in _RESOURCE] + [
                (_whole_word(t), "resource") for t in _longest(tails) if len(t) > 5
            ]
        if "accounts" in self.kinds:
            rules += [(_ACCOUNT, "account")] + [
                (_whole_word(name), "account") for name in _longest(self.accounts)
            ]
        return tuple(
            (re.compile(pattern, re.IGNORECASE), self._mask(kind)) for pattern, kind in rules
        )

    def _mask(self, kind: str) -> Callable[[re.Match[str]], str]:
        def mask(found: re.Match[str]) -> str:
            name = found[0].lower()
            if kind == "person":  # dana@acme.example, dana: one person
                name = name.split("@")[0]
            if kind == "resource":  # an ARN and its last part: one resource
                name = re.split(r"[:/]", name)[-1]
            return f"{kind}-{hmac.new(self.key, f'{kind}:{name}'.encode(), hashlib.sha256).hexdigest()[:8]}"

        return mask


def _whole_word(name: str) -> str:
    return rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"


def _longest(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (-len(name), name))


def redaction_of(
    kinds: Collection[str],
    tables: dict[str, pl.DataFrame],
    resources: Collection[str],
    key: bytes | None = None,
) -> Redaction:
    """The names of these tables, to be taken out. Raises UsageError for a kind that is not known."""
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise UsageError(
            f"there is no kind of name {unknown[0]!r} to take out",
            found=", ".join(unknown),
            todo=f"choose of {', '.join(KINDS)}",
        )
    if not kinds:
        return Redaction(frozenset(), b"")
    return Redaction(
        frozenset(kinds),
        key or mask_key(),
        _accounts(tables),
        frozenset(resources),
        _people(tables),
    )


def _accounts(tables: dict[str, pl.DataFrame]) -> frozenset[str]:
    columns = (
        ("meters", ("SubAccountId", "SubAccountName", "BillingAccountId")),
        ("leaves", ("SubAccountId",)),
        ("changes", ("account",)),
        ("recorded", ("account",)),
    )
    return _values(tables, columns)


def _people(tables: dict[str, pl.DataFrame]) -> frozenset[str]:
    """Users of the catalogue by all their names, and every actor that is a person; a mail address also by its local part."""
    users = (
        tables["catalog"].filter(pl.col("kind") == "user")
        if "catalog" in tables
        else pl.DataFrame()
    )
    frames = {"users": users} | {
        n: tables[n].filter(pl.col("actor_kind") == "person")
        for n in ("changes", "recorded")
        if n in tables
    }
    names = _values(
        frames,
        (("users", ("name", "email", "title")), ("changes", ("actor",)), ("recorded", ("actor",))),
    )
    return names | {name.split("@")[0] for name in names if "@" in name}


def _values(
    tables: dict[str, pl.DataFrame], columns: Iterable[tuple[str, tuple[str, ...]]]
) -> frozenset[str]:
    found: set[str] = set()
    for table, names in columns:
        for name in names:
            if table in tables and name in tables[table].columns:
                found |= set(tables[table][name].drop_nulls().unique().to_list())
    return frozenset(x for x in found if x)
