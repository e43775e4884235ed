"""costwhy.toml, read into typed, frozen records. A wrong key or value is one clear error.

The keys of a source are those of its format: `Config` in the format's own module.
"""

import difflib
import re
import tomllib
import typing
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from costwhy.errors import ConfigError
from costwhy.sources.format import SourceConfig
from costwhy.sources.registry import format_of, formats_in

FILE_NAME = "costwhy.toml"
KUBERNETES_TAGS = (  # of Amazon EKS, of Google GKE, and labels that people write
    *("aws:eks:deployment", "k8s-workload-name", "aws:eks:namespace", "k8s-namespace"),
    *("kubernetes_namespace", "namespace"),
)


class _Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of costwhy.toml: an unknown key is an error."""


class About(_Keys, frozen=True, kw_only=True):
    """[workspace]"""

    name: str
    currency: str  # ISO 4217: USD, EUR

    def __post_init__(self) -> None:
        if not re.fullmatch("[A-Z]{3}", self.currency):
            raise ValueError(
                f"`currency` is {self.currency!r}: "
                "write the three capital letters of ISO 4217, such as USD"
            )


class LakePlace(_Keys, frozen=True, kw_only=True):
    """[lake]: a folder relative to costwhy.toml, or s3://bucket/prefix

    `keep`: how long a version that was replaced can still be read, in hours ("6h") or days ("7d").
    Empty: as long as somebody has it open; on S3, where nobody can know that, six hours.
    """

    path: str = "lake"
    keep: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch("|[1-9][0-9]{0,3}[hd]", self.keep):
            raise ValueError(
                f"`keep` is {self.keep!r}: write hours or days, such as 6h or 7d, at least 1h"
            )


class Mapping(_Keys, frozen=True, kw_only=True):
    """[mapping]: which tags name the service, the team and the budget; the first present counts.

    `kubernetes_tags` name the service of a pod's share that no other tag names (docs/tags.md).
    `owners`: who is asked, in this order, who runs a service (docs/owners.md); a word that is left
    out is never asked.
    """

    service_tags: tuple[str, ...] = ("service", "app", "app.kubernetes.io/name")
    team_tags: tuple[str, ...] = ("team", "owner")
    budget_tags: tuple[str, ...] = ("cost-center", "CostCenter")
    kubernetes_tags: tuple[str, ...] = KUBERNETES_TAGS
    owners: tuple[Literal["catalog", "tags", "codeowners", "creator", "account"], ...] = (
        "catalog",
        "tags",
        "codeowners",
        "creator",
        "account",
    )

    def __post_init__(self) -> None:
        for word in self.owners:
            if self.owners.count(word) > 1:
                raise ValueError(f"`owners` names {word!r} twice")


# Name of an environment variable: a secret is named in costwhy.toml, never written there
Variable = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Address = Annotated[
    str,
    msgspec.Meta(pattern=r"^[^\s@<>,;:\"()\[\]\\\x00-\x1f\x7f]+@[A-Za-z0-9.-]+$", max_length=254),
]
Topic = Annotated[
    str,
    msgspec.Meta(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+(\.fifo)?$"),
]


class _Channel(_Keys, frozen=True, kw_only=True, tag_field="kind"):
    """An entry of [[watch.channels]]"""

    name: str


class SlackChannel(_Channel, frozen=True, kw_only=True, tag="slack"):
    """[[watch.channels]] of kind slack: an incoming webhook of Slack, or of Mattermost"""

    url_env: Variable


class WebhookChannel(_Channel, frozen=True, kw_only=True, tag="webhook"):
    """[[watch.channels]] of kind webhook: signed JSON to any address"""

    url_env: Variable
    secret_env: Variable


class SnsChannel(_Channel, frozen=True, kw_only=True, tag="sns"):
    """[[watch.channels]] of kind sns: a topic by its ARN; credentials as for every AWS tool"""

    topic: Topic


class EmailChannel(_Channel, frozen=True, kw_only=True, tag="email"):
    """[[watch.channels]] of kind email: by SMTP"""

    host: str
    sender: Address
    to: Annotated[tuple[Address, ...], msgspec.Meta(min_length=1, max_length=50)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password_env: Variable | None = None

    def __post_init__(self) -> None:
        if (self.user is None) != (self.password_env is None):
            raise ValueError("`user` and `password_env` belong together")
        if self.user is not None and self.security == "none":
            raise ValueError(
                "a password is not sent without TLS: set `security` to starttls or tls"
            )


class OutputChannel(_Channel, frozen=True, kw_only=True, tag="stdout"):
    """[[watch.channels]] of kind stdout: standard output"""


Channel = SlackChannel | WebhookChannel | SnsChannel | EmailChannel | OutputChannel


class Watch(_Keys, frozen=True, kw_only=True):
    """[watch]: where messages go. `teams`: a channel for each team; `default`: that of others"""

    default: str | None = None
    teams: dict[str, str] = {}
    channels: tuple[Channel, ...] = ()

    def __post_init__(self) -> None:
        names = [channel.name for channel in self.channels]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two channels are named {name!r}")
        for key, named in {
            "default": self.default,
            **{f"teams.{team}": name for team, name in self.teams.items()},
        }.items():
            if named is not None and named not in names:
                raise ValueError(
                    f"`{key}` names the channel {named!r}, "
                    f"there is {', '.join(map(repr, names)) or 'none'}"
                )

    def channel_for(self, team: str | None) -> Channel | None:
        """The channel of a team, or the default one; null where there is neither."""
        name = self.teams.get(team or "", self.default)
        return next((channel for channel in self.channels if channel.name == name), None)


class _Tables(_Keys, frozen=True, kw_only=True):
    workspace: About
    lake: LakePlace = LakePlace()
    mapping: Mapping = Mapping()
    watch: Watch = Watch()


class Workspace(_Tables, frozen=True, kw_only=True):
    """A whole costwhy.toml. `folder` is where it lies; paths are relative to it."""

    cost: tuple[SourceConfig, ...] = ()
    changes: tuple[SourceConfig, ...] = ()
    signals: tuple[SourceConfig, ...] = ()
    owners: tuple[SourceConfig, ...] = ()
    folder: Path = Path()

    @property
    def name(self) -> str:
        """Name of the workspace."""
        return self.workspace.name

    @property
    def currency(self) -> str:
        """The one currency of the workspace, ISO 4217."""
        return self.workspace.currency

    @property
    def lake_path(self) -> str:
        """Where the lake is: an absolute folder, or an s3:// address."""
        path = self.lake.path
        return path if path.startswith("s3://") else str((self.folder / path).resolve())

    @property
    def keep(self) -> timedelta:
        """How long a version of the lake that was replaced can still be read."""
        keep = self.lake.keep or ("6h" if "://" in self.lake_path else "0h")
        hours = int(keep[:-1]) * (24 if keep.endswith("d") else 1)
        return timedelta(hours=hours)

    @property
    def sources(self) -> dict[str, SourceConfig]:
        """Every source by its key in costwhy.toml, such as `cost[0]`."""
        return {
            f"{section}[{n}]": entry
            for section in SECTIONS
            for n, entry in enumerate(getattr(self, section))
        }


SECTIONS = ("cost", "changes", "signals", "owners")


def read_workspace(place: str | Path) -> Workspace:
    """Read a workspace: the folder with the costwhy.toml, or that file.

    Raises ConfigError where the file is missing, is no TOML, or has a key that is unknown, absent
    or of a wrong type.
    """
    file = Path(place) / FILE_NAME if Path(place).is_dir() else Path(place)
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        _refuse_unknown(raw)
        sections: dict[str, Any] = {n: _sources(n, raw.pop(n, [])) for n in SECTIONS}
        others = msgspec.structs.asdict(_convert(raw, _Tables))
    except FileNotFoundError as error:
        raise absent(place) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} is not TOML", found=str(error), fix="correct it, and save it as UTF-8"
        ) from error
    except _WrongKeyError as error:
        found, advice = error.args
        raise ConfigError(
            f"{file} is wrong", found=found, fix=f"{advice}see the README, *On your own bill*"
        ) from error
    return Workspace(**others, **sections, folder=file.resolve().parent)


def absent(place: str | Path) -> ConfigError:
    """That there is no workspace: no such folder, or no costwhy.toml in it."""
    kind = "file" if Path(place).name == FILE_NAME else "folder"
    is_there = Path(place).is_dir()
    return ConfigError(
        f"there is no {FILE_NAME} in {place}" if is_there else f"there is no {kind} {place}",
        found=f"{'a folder without it,' if is_there else 'nothing at'} {Path(place).absolute()}",
        fix=f"name a folder with a {FILE_NAME}, or try `costwhy demo`",
    )


# ---------------------------------------------------------------- what is wrong, and what is meant


class _WrongKeyError(Exception):
    """What is wrong with a key, with its path in the file; and advice, which may be empty."""


def _refuse_unknown(raw: dict[str, Any]) -> None:
    known = (*SECTIONS, *_Tables.__struct_fields__)
    for key in sorted(raw.keys() - known):
        raise _WrongKeyError(f"`{key}` is no key here", _one_of(key, known))


def _sources(section: str, raw: object) -> tuple[SourceConfig, ...]:
    allowed, found = formats_in(section), list[SourceConfig]()
    for n, entry in enumerate(_convert(raw, list[dict[str, Any]], section)):
        key, name = f"{section}[{n}]", entry.get("format")
        if name not in allowed:
            wrong = (
                f"missing; there are {', '.join(entry) or 'no keys'}"
                if name is None
                else repr(name)
            )
            raise _WrongKeyError(f"`{key}.format` is {wrong}", _one_of(str(name or ""), allowed))
        found.append(_convert(entry, format_of(name).config, key))
    return tuple(found)


Kind = TypeVar("Kind")


def _convert(raw: object, kind: type[Kind], key: str = "") -> Kind:
    """A value of costwhy.toml in its type; errors name the key, which lies below `key`."""
    try:
        return msgspec.convert(raw, kind, strict=True)
    except msgspec.ValidationError as error:
        words, _, where = str(error).partition(" - at `")
        below = "".join(re.findall(r"\$([^`]*)`$", where))
        found, advice = _explained(words, kind, below)
        if path := f"{key}{below}".lstrip("."):
            found = f"`{path}.{found[1:]}" if found.startswith("`") else f"`{path}`: {found}"
        raise _WrongKeyError(found, advice) from error


def _explained(found: str, kind: object, path: str) -> tuple[str, str]:
    """What msgspec says of a value at a path below a type, and what is allowed there."""
    allowed = _allowed_at(kind, path)
    tables, words = _tables(allowed), [one for one in allowed if isinstance(one, str)]
    if key := re.fullmatch("Object contains unknown field `(.*)`", found, re.DOTALL):
        keys = tables[0].__struct_encode_fields__ if len(tables) == 1 else ()
        return f"`{key[1]}` is no key" + (" here" if keys else ""), _one_of(key[1], keys)
    if key := re.fullmatch("Object missing required field `(.*)`", found):
        return f"`{key[1]}` is missing", ""
    if word := re.fullmatch("Invalid (?:enum )?value '(.*)'", found, re.DOTALL):
        return f"{word[1]!r} is not allowed", _one_of(word[1], words)
    if kinds := re.fullmatch(r"Expected `([^`]*)`, got `([^`]*)`", found):
        wanted, is_there = (
            " or ".join(_PLAIN.get(one, one) for one in kind.replace(" | null", "").split(" | "))
            for kind in kinds.groups()
        )
        return f"{is_there}, where {wanted} belongs", _BRACKETS.get((kinds[1], kinds[2]), "")
    return found, ""


_PLAIN = {  # types of msgspec's messages as people call them
    "array": "a list",
    "object": "a table",
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}
_BRACKETS = {  # what is wanted and what is there: how to write it
    ("array", "object"): "begin it with two brackets, as in [[cost]]; ",
    ("object", "array"): "begin it with one bracket, as in [workspace]; ",
    ("array", "str"): "put brackets around it; ",
}


def _one_of(word: str, words: typing.Sequence[str]) -> str:
    """Which words are allowed, and the nearest; empty where any is."""
    nearest = difflib.get_close_matches(word, words, 1)
    meant = f" (did you mean {nearest[0]}?)" if nearest else ""
    return f"write one of {', '.join(words)}{meant}; " if words else ""


def _allowed_at(kind: Any, path: str) -> list[Any]:
    """All that a path such as `.channels[0].kind` allows below a type: tables, words, others."""
    allowed = _within(kind)
    for name in re.findall(r"\.(\w+)", path):
        tables = _tables(allowed)
        tags = [t.__struct_config__.tag for t in tables if t.__struct_config__.tag_field == name]
        hints = [typing.get_type_hints(table, include_extras=True).get(name) for table in tables]
        allowed = tags or [one for hint in hints for one in _within(hint)]
    return allowed


def _within(kind: Any) -> list[Any]:
    """A type and all its parts: of lists, unions and annotations; of a Literal its words."""
    return [kind, *(one for part in typing.get_args(kind) for one in _within(part))]


def _tables(kinds: list[Any]) -> list[Any]:
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
