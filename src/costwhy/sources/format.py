"""What a format is: its keys in costwhy.toml, and how its files or its API are read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from costwhy.sources.by_day import Live
from costwhy.sources.reading import Reading

Section = Literal["cost", "changes", "signals", "owners"]
FilePath = Annotated[str, msgspec.Meta(min_length=1)]


class SourceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry of [[cost]], [[changes]], [[signals]] or [[owners]]."""

    format: str


class FilesConfig(SourceConfig, frozen=True, kw_only=True):
    """A file, a folder, a glob, or s3://bucket/prefix/."""

    path: FilePath


@dataclass(frozen=True)
class Files:
    """Which files belong to a format.

    endings   of their names, in small letters
    never     parts of a path that make it none of them
    choose    the ones to read, of those that were found; null: all
    """

    endings: tuple[str, ...]
    never: tuple[str, ...] = ()
    choose: Callable[[Sequence[Path]], Sequence[Path]] | None = None

    def is_named(self, name: str) -> bool:
        """Whether a file of a folder, or a key on S3, belongs to the format by its name."""
        return name.lower().endswith(self.endings) and not self.is_never(name)

    def is_never(self, name: str) -> bool:
        """Whether a path is none of the format's, whatever its ending."""
        return any(part in name for part in self.never)


Columns = Mapping[str, str]  # The columns of a billing file and their DuckDB types
# Which of some tag keys occur; the first argument is SQL that lists the keys of a row
KeysIn = Callable[[str, Sequence[str]], set[str]]


@dataclass(frozen=True)
class Bill:
    """How DuckDB reads a billing file.

    expressions  SQL for each column that the reduction needs; the tag keys of service, team and
                 budget_owner are the second argument
    lacking      which columns a file lacks, and what that costs
    """

    expressions: Callable[[Columns, Mapping[str, Sequence[str]], KeysIn], dict[str, str]]
    lacking: Callable[[Columns], tuple[str, ...]] = lambda _columns: ()


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format of a source; each module of a format has one as FORMAT.

    section      the list of costwhy.toml that may name it
    source       its name in `seen`, `set_aside` and `coverage`
    config       the keys of its entry
    files        its files; null: it has none
    bill         how they are read, where they are bills
    read         how they are read, where they are not: the files, and with `reads_tags` the names
                 of the tags that name a service
    reads_tags   read again where `service_tags`, `team_tags` or `budget_tags` change
    live         the API that an entry names; null, or a result of null: it names files. Arguments:
                 the entry, its key, the folder of costwhy.toml, the tags that name a service
    cannot_show  what its records cannot rule out
    every_hour   every hour should have records: two without are a gap
    titled       its records have a title, a link, a ticket: they describe a decision best
    """

    section: Section
    source: str
    config: type[SourceConfig] = FilesConfig
    files: Files | None = None
    bill: Bill | None = None
    read: Callable[..., Reading] | None = None
    reads_tags: bool = False
    live: Callable[[Any, str, Path, Sequence[str]], Live | None] | None = None
    cannot_show: str | None = None
    every_hour: bool = False
    titled: bool = False


def later(module: str, name: str) -> Callable[..., Any]:
    """A function of a module that is imported when the function is first called.

    So a costwhy.toml that names files needs no client of AWS.
    """

    def call(*args: object) -> Any:
        return getattr(import_module(module), name)(*args)

    return call
