"""TODO case/opened.py"""

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from costwhy.case.case import Case
from costwhy.errors import InputError
from costwhy.sources import s3_mirror
from costwhy.spikes.summary import SpikeRow

FORMAT = 1
SUMS = "SHA256SUMS"
FRAMES = tuple(f.name for f in fields(Case) if f.type == "pl.DataFrame" or f.type is pl.DataFrame)
MIRROR_SECONDS = 60
_MIRRORED: dict[str, float] = {}
_MIRRORING = threading.Lock()
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


@dataclass(frozen=True)
class Published:
    """A case of the published folder. `about`: its case.json."""

    folder: Path
    about: dict[str, Any]
    case: Case

    @property
    def name(self) -> str:
        """The spike's id, which is the folder's name."""
        return self.folder.name

    @property
    def said(self) -> dict[str, Any]:
        """The contract's document of the spike."""
        return dict(self.about["document"])


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below the folder that belongs to the case."""
    files = (f for f in sorted(folder.rglob("*")) if f.is_file() and f.name != SUMS and "__pycache__" not in f.parts)
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def open_case(place: str | Path) -> Published:
    """A published case. Raises InputError where there is none, or where its files are not whole."""
    folder = Path(place)
    try:
        about = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        frames = {name: pl.read_parquet(folder / "tables" / f"{name}.parquet") for name in FRAMES}
    except FileNotFoundError as error:
        raise InputError(f"there is no published case at {folder}", found=f"no {error.filename}", todo="see `costwhy publish`") from error
    except (ValueError, OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"the case at {folder} cannot be read", found=str(error), todo="publish it again") from error
    try:
        return Published(folder, about, _case(about, frames))
    except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
        raise InputError(f"the case.json of {folder} is not one of costwhy's", found=repr(error), todo="publish it again") from error


def _case(about: dict[str, Any], frames: dict[str, Any]) -> Case:
    times = [datetime.fromisoformat(about[k]) for k in ("as_of", "billed_through")]
    return Case(
        workspace=about["workspace"],
        currency=about["currency"],
        as_of=times[0],
        billed_through=times[1],
        lake_version=int(about["made_from"]["lake_version"]),
        spike=msgspec.convert(about["spike"], SpikeRow),
        drivers_remainder=float(about["remainders"]["drivers"]),
        behaviour_remainder=float(about["remainders"]["behaviour"]),
        no_recorded_change=float(about["no_recorded_change"]),
        planned=bool(about["planned"]),
        headline=str(about["headline"]),
        **frames,
    )


def published_cases(folder: str | Path) -> tuple[Published, ...]:
    """All cases of a published folder that can be opened, newest spike first."""
    found = [open_case(place) for place in case_folders(folder)]
    return tuple(sorted(found, key=lambda p: str(p.about["spike"]["start"]), reverse=True))


def local_folder(published: str | Path) -> Path:
    """The published folder on this machine; one on S3 is mirrored to the cache, looked at anew once a minute.

    Raises UnreachableError where S3 cannot be reached.
    """
    address = str(published)
    if not address.startswith("s3://"):
        return Path(address)
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "costwhy"
        / f"published-{hashlib.sha256(address.encode()).hexdigest()[:12]}"
    )
    with _MIRRORING:
        if time.monotonic() - _MIRRORED.get(address, float("-inf")) > MIRROR_SECONDS:
            s3_mirror.mirror(address.rstrip("/") + "/", cache)
            _MIRRORED[address] = time.monotonic()
    return cache / s3_mirror.local_path(address.rstrip("/") + "/")


def case_folders(folder: str | Path) -> Sequence[Path]:
    """Folders of cases below a published folder."""
    shelf = Path(folder)
    if not shelf.is_dir():
        return ()
    return sorted(p for p in shelf.iterdir() if NAME.fullmatch(p.name) and (p / "case.json").is_file())


def company(folder: str | Path) -> dict[str, Any] | None:
    """company.json of a published folder; None where there is none."""
    place = Path(folder) / "company.json"
    return dict(json.loads(place.read_text(encoding="utf-8"))) if place.is_file() else None
