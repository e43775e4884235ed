"""costwhy.toml, read into typed, frozen records. A wrong key or value is one clear error.

The keys of a source are those of its format: `Config` in the format's own module.
"""

import difflib
import re
import tomllib
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from costwhy.errors import ConfigError
from costwhy.sources.format import SourceConfig
from costwhy.sources.registry import format_of, formats_in

FILE_NAME = "costwhy.toml"


class _Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of costwhy.toml: an unknown key is an error."""


class About(_Keys, frozen=True, kw_only=True):
    """[workspace]"""

    name: str
    currency: str  # ISO 4217: USD, EUR

    def __post_init__(self) -> None:
        if not re.fullmatch("[A-Z]{3}", self.currency):
            code = "the three capital letters of ISO 4217, such as USD"
            raise ValueError(f"`currency` is {self.currency!r}: write {code}")


class LakePlace(_Keys, frozen=True, kw_only=True):
    """[lake]: a folder relative to costwhy.toml, or s3://bucket/prefix"""

    path: str = "lake"


class Mapping(_Keys, frozen=True, kw_only=True):
    """[mapping]: which tags name the service, the team and the budget; the first present counts.

    `owners`: who is asked, in this order, who runs a service (docs/owners.md); a word that is left
    out is never asked.
    """

    service_tags: tuple[str, ...] = ("service", "app", "app.kubernetes.io/name")
    team_tags: tuple[str, ...] = ("team", "owner")
    budget_tags: tuple[str, ...] = ("cost-center", "CostCenter")
    owners: tuple[Literal["catalog", "tags", "codeowners", "creator", "account"], ...] = (
        "catalog",
        "tags",
        "codeowners",
        "creator",
        "account",
    )

    def __post_init__(self) -> None:
        twice = next((word for word in self.owners if self.owners.count(word) > 1), None)
        if twice is not None:
            raise ValueError(f"`owners` names {twice!r} twice")


_NAME = msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
_ADDRESS = msgspec.Meta(
    pattern=r"^[^\s@<>,;:\"()\[\]\\\x00-\x1f\x7f]+@[A-Za-z0-9.-]+$", max_length=254
)
_TOPIC = msgspec.Meta(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+(\.fifo)?$")
# Name of an environment variable: a secret is named in costwhy.toml, never written there
Variable = Annotated[str, _NAME]
Address = Annotated[str, _ADDRESS]


class SlackChannel(_Keys, frozen=True, kw_only=True, tag="slack", tag_field="kind"):
    """[[watch.channels]] of kind slack: an incoming webhook of Slack, or of Mattermost"""

    name: str
    url_env: Variable


class WebhookChannel(_Keys, frozen=True, kw_only=True, tag="webhook", tag_field="kind"):
    """[[watch.channels]] of kind webhook: signed JSON to any address"""

    name: str
    url_env: Variable
    secret_env: Variable


class SnsChannel(_Keys, frozen=True, kw_only=True, tag="sns", tag_field="kind"):
    """[[watch.channels]] of kind sns: a topic by its ARN; credentials as for every AWS tool"""

    name: str
    topic: Annotated[str, _TOPIC]


class EmailChannel(_Keys, frozen=True, kw_only=True, tag="email", tag_field="kind"):
    """[[watch.channels]] of kind email: by SMTP"""

    name: str
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


class OutputChannel(_Keys, frozen=True, kw_only=True, tag="stdout", tag_field="kind"):
    """[[watch.channels]] of kind stdout: standard output"""

    name: str


Channel = SlackChannel | WebhookChannel | SnsChannel | EmailChannel | OutputChannel


class Watch(_Keys, frozen=True, kw_only=True):
    """[watch]: where messages go. `teams`: a channel for each team; `default`: that of others"""

    default: str | None = None
    teams: dict[str, str] = {}
    channels: tuple[Channel, ...] = ()

    def __post_init__(self) -> None:
        names = [channel.name for channel in self.channels]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two channels are named {twice!r}")
        wanted = {f"teams.{team}": name for team, name in self.teams.items()}
        for key, name in {"default": self.default, **wanted}.items():
            if name is not None and name not in names:
                there = ", ".join(map(repr, names)) or "none"
                raise ValueError(f"`{key}` names the channel {name!r}, there is {there}")

    def channel_for(self, team: str | None) -> Channel | None:
        """The channel of a team, or the default one; null where there is neither."""
        name = self.teams.get(team or "", self.default)
        return next((channel for channel in self.channels if channel.name == name), None)


class _Tables(_Keys, frozen=True, kw_only=True):
    """What a costwhy.toml has beside its sources."""

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
    def sources(self) -> dict[str, SourceConfig]:
        """Every source by its key in costwhy.toml, such as `cost[0]`."""
        sections = {name: getattr(self, name) for name in SECTIONS}
        return {
            f"{name}[{n}]": one for name, listed in sections.items() for n, one in enumerate(listed)
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
        sections = {name: _sources(name, raw.pop(name, [])) for name in SECTIONS}
        others = msgspec.structs.asdict(_convert(raw, _Tables))
    except FileNotFoundError as error:
        raise absent(place) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        fix = "correct it, and save it as UTF-8"
        raise ConfigError(f"{file} is not TOML", found=str(error), fix=fix) from error
    except _WrongKeyError as error:
        fix = f"{error.advice}see the README, *On your own bill*"
        raise ConfigError(f"{file} is wrong", found=str(error), fix=fix) from error
    tables: dict[str, Any] = {**others, **sections}
    return Workspace(**tables, folder=file.resolve().parent)


def absent(place: str | Path) -> ConfigError:
    """That there is no workspace: no such folder, or no costwhy.toml in it."""
    kind = "file" if Path(place).name == FILE_NAME else "folder"
    is_there = Path(place).is_dir()
    return ConfigError(
        f"there is no {FILE_NAME} in {place}" if is_there else f"there is no {kind} {place}",
        found="a folder without it" if is_there else f"nothing at {Path(place).absolute()}",
        fix=f"name a folder with a {FILE_NAME}, or try `costwhy demo`",
    )


# ---------------------------------------------------------------- what is wrong, and what is meant


class _WrongKeyError(Exception):
    """What is wrong with a key, with its path in the file; `advice` may be empty."""

    def __init__(self, found: str, advice: str = "") -> None:
        super().__init__(found)
        self.advice = advice


def _sources(section: str, raw: object) -> tuple[SourceConfig, ...]:
    """The entries of a section, each as its format wants it."""
    allowed, found = formats_in(section), list[SourceConfig]()
    for n, entry in enumerate(_convert(raw, list[dict[str, Any]], section)):
        key, name = f"{section}[{n}]", entry.get("format")
        if name not in allowed:
            there = f"missing; there are {', '.join(entry) or 'no keys'}"
            wrong = there if name is None else repr(name)
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
        path = f"{key}{below}".lstrip(".")
        if path:
            within = found.startswith("`")
            found = f"`{path}.{found[1:]}" if within else f"`{path}`: {found}"
        raise _WrongKeyError(found, advice) from error


def _explained(found: str, kind: object, path: str) -> tuple[str, str]:
    """What msgspec says of a value at a path below a type, and what is allowed there."""
    allowed = _allowed_at(kind, path)
    if key := re.fullmatch("Object contains unknown field `(.*)`", found, re.DOTALL):
        tables = [table for table in allowed if not isinstance(table, str)]
        keys = list(tables[0].__struct_encode_fields__) if len(tables) == 1 else []
        return f"`{key[1]}` is no key" + (" here" if keys else ""), _one_of(key[1], keys)
    if key := re.fullmatch("Object missing required field `(.*)`", found):
        return f"`{key[1]}` is missing", ""
    if word := re.fullmatch("Invalid (?:enum )?value '(.*)'", found, re.DOTALL):
        return f"{word[1]!r} is not allowed", _one_of(
            word[1], [word for word in allowed if isinstance(word, str)]
        )
    return found, ""


def _one_of(word: str, words: typing.Sequence[str]) -> str:
    """Which words are allowed, and the nearest; empty where any is."""
    nearest = difflib.get_close_matches(word, words, 1)
    meant = f" (did you mean {nearest[0]}?)" if nearest else ""
    return f"write one of {', '.join(words)}{meant}; " if words else ""


def _allowed_at(kind: Any, path: str) -> list[Any]:
    """The tables and the words that a path such as `.channels[0].kind` allows below a type."""
    allowed = _allowed(kind)
    for name in re.findall(r"\.(\w+)", path):
        tables = [table for table in allowed if not isinstance(table, str)]
        configs = [table.__struct_config__ for table in tables]
        hints = [typing.get_type_hints(table, include_extras=True) for table in tables]
        tags = [config.tag for config in configs if config.tag_field == name]
        allowed = tags or [one for hint in hints if name in hint for one in _allowed(hint[name])]
    return allowed


def _allowed(kind: Any) -> list[Any]:
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return [str(part) for part in parts]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [one for part in parts for one in _allowed(part)]
