"""Published cases, opened: without a lake and without credentials."""

import hashlib
import json
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
from platformdirs import user_cache_path

from costwhy.behaviours import BY_KIND, VERDICT_WORDS
from costwhy.case.case import Case, Resources
from costwhy.errors import InputError
from costwhy.sources import s3_mirror
from costwhy.spikes.dollars import SpikeRow
from costwhy.text import currency_code

FORMAT = 1
SUMS = "SHA256SUMS"
FRAMES = tuple(f.name for f in fields(Case) if f.type in {"pl.DataFrame", pl.DataFrame})
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")  # of a case's folder
MIRROR_SECONDS = 60
_MIRRORED: dict[str, float] = {}
_MIRRORING = threading.Lock()


@dataclass(frozen=True)
class Published:
    """A case of the published folder. `about`: its case.json."""

    folder: Path
    about: dict[str, Any]
    case: Case

    @property
    def name(self) -> str:
        return self.folder.name


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below the folder that belongs to the case."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != SUMS and "__pycache__" not in file.parts
    }


def open_case(place: str | Path) -> Published:
    """A published case. Raises InputError where there is none, or where its files are not whole."""
    folder = Path(place)
    try:
        about = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        frames = {name: pl.read_parquet(folder / "tables" / f"{name}.parquet") for name in FRAMES}
    except FileNotFoundError as error:
        raise InputError(
            f"there is no published case at {folder}",
            found=f"no {error.filename}",
            fix="see `costwhy publish`",
        ) from error
    except (ValueError, OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"the case at {folder} cannot be read", found=str(error), fix="publish it again"
        ) from error
    try:
        currency_code(about["currency"], folder / "case.json")
        return Published(folder, about, _case(about, frames))
    except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"the case.json of {folder} is not one of costwhy's",
            found=f"no {error}" if isinstance(error, KeyError) else str(error),
            fix="publish it again",
        ) from error


def _case(about: dict[str, Any], frames: dict[str, Any]) -> Case:
    """The case. Raises ValueError, KeyError or TypeError where something in it is not known."""
    spike = msgspec.convert(about["spike"], SpikeRow)
    for what, found, known in (
        ("verdict", {spike.verdict}, set(VERDICT_WORDS)),
        ("status", {spike.status}, {"running", "ended"}),
        (
            "kind of behaviour",
            {*frames["behaviour"]["kind"], *frames["ledger"]["kind"]},
            set(BY_KIND),
        ),
    ):
        if found - known:
            raise ValueError(f"there is no {what} {min(map(str, found - known))!r}")
    return Case(
        workspace=str(about["workspace"]),
        currency=about["currency"],
        as_of=datetime.fromisoformat(about["as_of"]),
        billed_through=datetime.fromisoformat(about["billed_through"]),
        lake_version=int(about["made_from"]["lake_version"]),
        spike=spike,
        drivers_remainder=float(about["remainders"]["drivers"]),
        behaviour_remainder=float(about["remainders"]["behaviour"]),
        no_recorded_change=float(about["no_recorded_change"]),
        planned=bool(about["planned"]),
        headline=str(about["headline"]),
        by_day=bool(about.get("by_day")),
        resources=msgspec.convert(about.get("resources", {}), Resources),
        **frames,
    )


def case_folders(folder: str | Path) -> Sequence[Path]:
    """Folders of cases below a published folder."""
    published = Path(folder)
    places = published.iterdir() if published.is_dir() else ()
    return sorted(p for p in places if NAME.fullmatch(p.name) and (p / "case.json").is_file())


def company(folder: str | Path) -> dict[str, Any] | None:
    """company.json of a published folder; None where there is none. Raises InputError."""
    place = Path(folder) / "company.json"
    if not place.is_file():
        return None
    try:
        about = dict(json.loads(place.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{place} cannot be read", found=str(error), fix="publish again"
        ) from error
    currency_code(about.get("currency"), place)
    return about


def local_folder(published: str | Path) -> Path:
    """The folder here; of one on S3 a copy, at most a minute old. Raises UnreachableError."""
    address = str(published)
    if not address.startswith("s3://"):
        return Path(address)
    prefix = address.rstrip("/") + "/"
    name = hashlib.sha256(address.encode()).hexdigest()[:12]
    cache = user_cache_path("costwhy") / f"published-{name}"
    with _MIRRORING:
        if time.monotonic() - _MIRRORED.get(address, float("-inf")) > MIRROR_SECONDS:
            s3_mirror.mirror(prefix, cache)
            _MIRRORED[address] = time.monotonic()
    return cache / s3_mirror.local_path(prefix)
