"""Formats that AWS itself answers, region by region: keys of their entries, what they ask."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Annotated

import msgspec

from costwhy.sources.by_day import Live, Request, salt
from costwhy.sources.format import FilePath, SourceConfig, later
from costwhy.sources.reading import Reading

Region = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,4}(-[a-z]{2,10}){1,3}-\d{1,2}\Z")]
USUAL_DAYS = 14


class FilesOrApiConfig(SourceConfig, frozen=True, kw_only=True):
    """Files at `path`; or `api = true`: AWS itself, in each of `regions`, for the last `days`."""

    path: FilePath | None = None
    api: bool = False
    regions: tuple[Region, ...] = ()
    days: int | None = None

    def __post_init__(self) -> None:
        if self.api and self.path:
            raise ValueError("`path` and `api` exclude each other")
        if not self.api and not self.path:
            raise ValueError("`path` is missing: name files, or write `api = true`")
        stray = "regions" if self.regions else "days" if self.days is not None else None
        if stray and not self.api:
            raise ValueError(
                f"`{stray}` has no meaning for files: remove it, or write `api = true`"
            )


def live(
    name: str,
    regions: Sequence[str],
    days: int | None,
    ask: Callable[[Request], Iterator[tuple[date, Reading]]],
    *how: object,
) -> Live:
    """The API of a format. how: what else decides how a day is read."""
    return Live(
        prefix=f"{name}:api:",
        places=tuple(dict.fromkeys(regions)),
        days=USUAL_DAYS if days is None else days,
        salt=salt(name, *how),
        ask=ask,
        default_place=later("costwhy.remote.aws", "default_region"),
    )
