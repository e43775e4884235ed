"""costwhy.toml, read into typed, frozen records. An unknown key, a missing folder or a wrong type is one clear error."""

import tomllib
from pathlib import Path
from typing import Literal

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
    """[[signals]]: `queries` names a PromQL query for each metric (prometheus only)

    `regions` and `days` are for cloudwatch and xray; `presets` say which metrics count, first ones first (cloudwatch only).
    """

    format: Literal["signals", "prometheus", "cloudwatch", "xray"]
    path: str | None = None
    url: str | None = None
    queries: dict[str, str] = {}
    regions: tuple[str, ...] = ()
    days: int | None = None
    presets: tuple[str, ...] = ()


class OwnerSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[[owners]]"""

    format: Literal["backstage", "codeowners", "tags"]
    path: str | None = None


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[mapping]: which tags name the service, the team and the budget; the first one present counts"""

    service_tags: tuple[str, ...] = ("service", "app", "app.kubernetes.io/name")
    team_tags: tuple[str, ...] = ("team", "owner")
    budget_tags: tuple[str, ...] = ("cost-center", "CostCenter")


class Workspace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole costwhy.toml. `folder` is where it lies; paths are relative to it."""

    workspace: About
    lake: LakePlace = LakePlace()
    cost: tuple[CostSource, ...] = ()
    changes: tuple[ChangeSource, ...] = ()
    signals: tuple[SignalSource, ...] = ()
    owners: tuple[OwnerSource, ...] = ()
    mapping: Mapping = Mapping()
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
        todo = f"name a folder that holds {FILE_NAME}, or try `costwhy demo`"
        raise ConfigError(f"there is no workspace at {place}", found=f"no {file}", todo=todo) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML", found=str(error), todo="mend the line named above") from error
    try:
        workspace = msgspec.convert(raw, Workspace, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file} is wrong", found=str(error), todo="see the README, *A workspace*") from error
    if "folder" in raw:
        raise ConfigError(f"{file} is wrong", found="unknown key `folder`", todo="remove it")
    return msgspec.structs.replace(workspace, folder=file.resolve().parent)
