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
from dataclasses import dataclass
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
    def _masked(self) -> dict[str, str]:
        return {}

    @cached_property
    def _rules(self) -> list[tuple[re.Pattern[str], str]]:
        """Patterns, and what they find. Longer names first: they may contain shorter ones."""
        tails = {re.split(r"[:/]", resource)[-1] for resource in self.resources}
        people = [name for name in self.people if len(name) >= SHORTEST_NAME]
        parts = [tail for tail in tails if len(tail) >= SHORTEST_TAIL]
        out = []
        for kind, word, patterns, names in (
            ("people", "person", _MAIL, people),
            ("resources", "resource", _RESOURCE, parts),
            ("accounts", "account", _ACCOUNT, self.accounts),
        ):
            if kind in self.kinds:
                longest = sorted(names, key=lambda name: (-len(name), name))
                found = [*patterns, *map(_whole_word, longest)]
                out += [(re.compile(pattern, re.IGNORECASE), word) for pattern in found]
        return out

    def _mask(self, kind: str, found: re.Match[str]) -> str:
        name = found[0].lower()
        if kind == "person":  # dana@acme.example, dana: one person
            name = name.split("@")[0]
        if kind == "resource":  # an ARN and its last part: one resource
            name = re.split(r"[:/]", name)[-1]
        digest = hmac.new(self.key, f"{kind}:{name}".encode(), hashlib.sha256).hexdigest()
        return f"{kind}-{digest[:8]}"


def _whole_word(name: str) -> str:
    return rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"


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
        _accounts(tables),
        frozenset(resources),
        _people(tables),
    )


def _accounts(tables: dict[str, pl.DataFrame]) -> frozenset[str]:
    return frozenset(
        _values(tables.get("meters"), "SubAccountId", "SubAccountName", "BillingAccountId")
        | _values(tables.get("leaves"), "SubAccountId")
        | _values(tables.get("changes"), "account")
        | _values(tables.get("recorded"), "account")
    )


def _people(tables: dict[str, pl.DataFrame]) -> frozenset[str]:
    """Users of the catalogue by all their names, and every actor that is a person.

    A mail address also by its local part.
    """
    user, person = pl.col("kind") == "user", pl.col("actor_kind") == "person"
    names = _values(tables.get("catalog"), "name", "email", "title", rows=user)
    names |= _values(tables.get("changes"), "actor", rows=person)
    names |= _values(tables.get("recorded"), "actor", rows=person)
    return frozenset(names | {name.split("@")[0] for name in names if "@" in name})


def _values(frame: pl.DataFrame | None, *columns: str, rows: pl.Expr | None = None) -> set[str]:
    """All texts in those of the columns that the frame has."""
    if frame is None:
        return set()
    chosen = frame if rows is None else frame.filter(rows)
    return {
        value
        for name in columns
        if name in frame.columns
        for value in chosen[name].drop_nulls().to_list()
        if value
    }
