"""costwhy.toml, read into typed, frozen records. An unknown key, a missing folder or a wrong type is one clear error."""

import difflib
import re
import tomllib
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from costwhy.errors import ConfigError

FILE_NAME = "costwhy.toml"


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[workspace]"""

    name: str
    currency: str


class LakePlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[lake]: a folder relative to costwhy.toml, or s3://bucket/prefix"""

    path: str = "lake"


class CostSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[[cost]]: file, folder, glob or s3:// prefix of billing files"""

    format: Literal["focus", "cur2", "cur"]
    path: str


class ChangeSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[[changes]]: files at `path`, or `api = true`: asked of AWS in each of `regions`, for the last `days`"""

    format: Literal["cloudtrail", "cdevents", "autoscaling"]
    path: str | None = None
    api: bool = False
    regions: tuple[str, ...] = ()
    days: int | None = None


class SignalSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[[signals]]: files at `path`, a Prometheus at `url` (docs/prometheus.md), or CloudWatch or X-Ray (docs/aws.md).

    Secrets are named, never written here. `regions` are for cloudwatch and xray; `presets` say which metrics count, first
    ones first (cloudwatch only).
    """

    format: Literal["signals", "prometheus", "cloudwatch", "xray"]
    path: str | None = None
    url: str | None = None
    queries: dict[str, str] = {}
    """A PromQL query for each metric; beside a preset they come in place of its own."""
    preset: Literal["istio", "envoy", "otel-http", "otel-grpc"] | None = None
    auth: Literal["none", "basic", "bearer", "sigv4"] = "none"
    user: str | None = None
    password_env: str | None = None
    password_file: str | None = None
    token_env: str | None = None
    token_file: str | None = None
    region: str | None = None
    regions: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    days: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    """How far back to ask."""


class OwnerSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[[owners]]"""

    format: Literal["backstage", "codeowners", "tags"]
    path: str | None = None


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[mapping]: which tags name the service, the team and the budget; the first one present counts.

    `owners`: who is asked, in this order, who runs a service (docs/owners.md); a word that is left out is never asked.
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
_ADDRESS = msgspec.Meta(pattern=r"^[^\s@<>,;:\"()\[\]\\\x00-\x1f\x7f]+@[A-Za-z0-9.-]+$", max_length=254)
Variable = Annotated[str, _NAME]
"""Name of an environment variable: secrets are named in costwhy.toml, never written there."""
Address = Annotated[str, _ADDRESS]


class SlackChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="slack", tag_field="kind"):
    """[[watch.channels]] of kind slack: an incoming webhook of Slack, or of what understands its JSON (Mattermost)"""

    name: str
    url_env: Variable


class WebhookChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="webhook", tag_field="kind"):
    """[[watch.channels]] of kind webhook: signed JSON to any address"""

    name: str
    url_env: Variable
    secret_env: Variable


class SnsChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="sns", tag_field="kind"):
    """[[watch.channels]] of kind sns: a topic by its ARN; credentials as for the AWS command line"""

    name: str
    topic: Annotated[str, msgspec.Meta(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+(\.fifo)?$")]


class EmailChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="email", tag_field="kind"):
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
            raise ValueError("a password is not sent without TLS: set `security` to starttls or tls")


class OutputChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="stdout", tag_field="kind"):
    """[[watch.channels]] of kind stdout: standard output"""

    name: str


Channel = SlackChannel | WebhookChannel | SnsChannel | EmailChannel | OutputChannel


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[watch]: where messages go. `teams` names a channel for each team, `default` the one for all others"""

    default: str | None = None
    teams: dict[str, str] = {}
    channels: tuple[Channel, ...] = ()

    def __post_init__(self) -> None:
        names = [channel.name for channel in self.channels]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two channels are named {twice!r}")
        wanted = {"default": self.default} | {f"teams.{team}": name for team, name in self.teams.items()}
        for key, name in wanted.items():
            if name is not None and name not in names:
                raise ValueError(f"`{key}` names the channel {name!r}, there is {', '.join(map(repr, names)) or 'none'}")

    def channel_for(self, team: str | None) -> Channel | None:
        """The channel of a team, or the default one; null where there is neither."""
        name = self.teams.get(team or "", self.default)
        return next((channel for channel in self.channels if channel.name == name), None)


class Workspace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole costwhy.toml. `folder` is where it lies; paths are relative to it."""

    workspace: About
    lake: LakePlace = LakePlace()
    cost: tuple[CostSource, ...] = ()
    changes: tuple[ChangeSource, ...] = ()
    signals: tuple[SignalSource, ...] = ()
    owners: tuple[OwnerSource, ...] = ()
    mapping: Mapping = Mapping()
    watch: Watch = Watch()
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
        return self.lake.path if self.lake.path.startswith("s3://") else str((self.folder / self.lake.path).resolve())


def read_workspace(place: str | Path) -> Workspace:
    """Read a workspace: the folder that holds costwhy.toml, or that file.

    Raises ConfigError where the file is missing, is no TOML, or has a key that is unknown, absent or of a wrong type.
    """
    file = Path(place) / FILE_NAME if Path(place).is_dir() else Path(place)
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise absent(place) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML", found=str(error), todo="mend the line named above") from error
    try:
        workspace = msgspec.convert(raw, Workspace, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file} is wrong", found=str(error), todo=f"{_advice(str(error))}see the README, *On your own bill*") from error
    if "folder" in raw:
        raise ConfigError(f"{file} is wrong", found="unknown key `folder`", todo="remove it")
    return msgspec.structs.replace(workspace, folder=file.resolve().parent)


def absent(place: str | Path) -> ConfigError:
    """That there is no workspace: no such folder, or no costwhy.toml in it."""
    todo = f"name a folder that holds {FILE_NAME}, or try `costwhy demo`"
    if Path(place).is_dir():
        return ConfigError(f"there is no {FILE_NAME} in {place}", found="a folder without it", todo=todo)
    what = "file" if Path(place).name == FILE_NAME else "folder"
    return ConfigError(f"there is no {what} {place}", found=f"nothing at {Path(place).absolute()}", todo=todo)


def _advice(error: str) -> str:
    """For a word that is none of the few allowed ones: which these are, and the nearest."""
    found = re.fullmatch(r"Invalid (?:enum )?value '(.*)' - at `(\$.*)`", error, re.DOTALL)
    words = _words_at(found[2]) if found else []
    if not found or not words:
        return ""
    nearest = difflib.get_close_matches(found[1], words, 1)
    meant = f" (did you mean {nearest[0]}?)" if nearest else ""
    return f"write one of {', '.join(words)}{meant}; "


def _words_at(place: str) -> list[str]:
    """The words that a place such as `$.cost[0].format` may hold; none where it holds something else."""
    kinds: list[Any] = [Workspace]
    for name in re.findall(r"\.(\w+)", place):
        structs = [struct for kind in kinds for struct in _structs_in(kind)]
        tags = [Literal[s.__struct_config__.tag] for s in structs if s.__struct_config__.tag_field == name]
        kinds = tags or [hint for s in structs for key, hint in typing.get_type_hints(s).items() if key == name]
    return [word for kind in kinds for word in _words_in(kind)]


def _structs_in(kind: Any) -> list[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [struct for part in typing.get_args(kind) for struct in _structs_in(part)]


def _words_in(kind: Any) -> list[str]:
    parts = typing.get_args(kind)
    return [str(p) for p in parts] if typing.get_origin(kind) is Literal else [word for part in parts for word in _words_in(part)]
