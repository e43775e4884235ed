"""Which rows of several billing files count, where the files hold the same charges.

Files are compared as *editions*: what one run wrote. Editions that complete each other have no cell
in common (`cells.py`), and both count. Where cells are in both, of two editions

    of one family (they differ in the date or number of the run) the newer counts, where it has most
    of what the older has on the days of both
    of which at least half agrees, what is in both counts once
    of which less agrees, what agrees counts once
    of which nothing agrees, both count

The first that holds. A cell agrees where everything does: times, costs, quantities, tags, ids of
rows; or where its hours are one row in the other file, and their sums are equal. The newer is told
by a date or a number in the path or in a manifest; where nothing tells, the edition with more days,
or else more rows, counts. All that is not certain is told with both sums.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import polars as pl

from costwhy.ingest.cells import joined
from costwhy.sources.cost.paths import Stamp

SCOPE = ["billing_period", "day", "account"]


@dataclass(frozen=True)
class Edition:
    """What one run wrote.

    name    of its first file
    family  the same for editions of which the newer may replace the older
    stamp   when the run was, and its number; empty and 0: not known
    copied  its name says that it is a copy
    cells   fingerprints of its rows, as `cells.SCHEMA`
    """

    name: str
    family: str
    stamp: Stamp
    copied: bool
    cells: pl.DataFrame

    @cached_property
    def scopes(self) -> pl.DataFrame:
        """Days and accounts, with the hours of the day that have charges."""
        return self.cells.group_by(SCOPE).agg(pl.col("bits").bitwise_or())

    @property
    def rank(self) -> tuple[object, ...]:
        """The higher counts."""
        days = self.cells["day"].n_unique()
        return (self.stamp, days, int(self.cells["rows"].sum()), not self.copied, self.name)

    @cached_property
    def has_resources(self) -> bool:
        """Whether its rows name resources."""
        return bool(self.cells["named"].max())

    def touching(self, shared: pl.Series, wide: pl.Series) -> "Edition":
        """The same, with a column that says which cells are in another edition too."""
        touches = pl.col("cell").is_in(shared.implode()) | pl.col("wide").is_in(wide.implode())
        return replace(self, cells=self.cells.with_columns(touches=touches))

    def without(self, cells: pl.DataFrame) -> "Edition":
        """The rest of it."""
        return replace(self, cells=self.cells.join(cells, on="cell", how="anti"))


@dataclass(frozen=True)
class Overlap:
    """Charges of one edition that another one has too.

    loser, winner  their places in the list of editions
    cells          of the loser, as `cells.SCHEMA`; they do not count
    alike          in both, and both count; null: nothing of that sort
    why            same, newer, part (of a day) or unsure
    by_hour        some cells are in both with other hours: cells by the hour would tell more
    """

    loser: int
    winner: int
    cells: pl.DataFrame
    why: str
    alike: pl.DataFrame | None = None
    by_hour: bool = False


def find_overlaps(editions: Sequence[Edition]) -> list[Overlap]:
    """What does not count of each edition, in a fixed order."""
    if not _any_shared([one.scopes.select(SCOPE) for one in editions], SCOPE):
        return []
    shared = _shared([one.cells["cell"] for one in editions])
    is_mixed = len({one.has_resources for one in editions}) > 1
    wide = _shared([one.cells["wide"].unique() for one in editions if is_mixed])
    if shared.is_empty() and wide.is_empty():
        return []
    left = [one.touching(shared, wide) for one in editions]
    kept, found = list[int](), list[Overlap]()
    touched = [bool(one.cells["touches"].any()) for one in left]
    for place in sorted(range(len(left)), key=lambda k: editions[k].rank, reverse=True):
        for winner in kept if touched[place] else ():
            if not touched[winner]:
                continue
            for loser, overlap in _between(left, place, winner):
                found.append(overlap)
                left[loser] = left[loser].without(overlap.cells)
        if left[place].cells.height:
            kept.append(place)
    return found


def _shared(cells: Sequence[pl.Series]) -> pl.Series:
    whole = pl.concat([pl.Series(dtype=pl.UInt64), *cells])
    return whole.filter(whole.is_duplicated()).unique()


def _any_shared(frames: Sequence[pl.DataFrame], keys: list[str]) -> bool:
    return bool(pl.concat([frame.select(keys) for frame in frames]).is_duplicated().any())


def _between(left: Sequence[Edition], low: int, high: int) -> Iterator[tuple[int, Overlap]]:
    """What the lower and the higher of two editions lose."""
    older, newer = left[low], left[high]
    key, both = _compared(older, newer)
    if both.is_empty():
        return
    ours, theirs = _rows_in(older, newer), _rows_in(newer, older)
    agree = both.filter(pl.col("agree"))
    alike = int(both["rows"].sum())
    none = older.cells.clear()
    versions = older.family == newer.family and 2 * alike >= ours
    if versions and _is_newer(newer.stamp, older.stamp):
        yield from _replaced(left, low, high)
        return
    partly = both.filter(~pl.col("agree") & (pl.col("bits") != pl.col("bits_there"))).height > 0
    rows, rows_there = int(agree["rows"].sum()), int(agree["rows_there"].sum())
    if versions or 2 * rows >= ours or 2 * rows_there >= theirs:
        cells = older.cells.join(both, on=key, how="semi")
        why = "same" if agree.height == both.height else "unsure"
        yield low, Overlap(low, high, cells, why, by_hour=partly)
    elif rows:
        cells = older.cells.join(agree, on=key, how="semi")
        yield low, Overlap(low, high, cells, "unsure", by_hour=partly)
    elif 2 * alike >= min(ours, theirs) or partly:
        same = older.cells.join(both, on=key, how="semi")
        yield low, Overlap(low, high, none, "unsure", same, by_hour=partly)


def _compared(older: Edition, newer: Edition) -> tuple[str, pl.DataFrame]:
    """The key by which two editions agree most, and the cells in both.

    Where only one of them names resources, that is without them, or its rows that name none. Sums
    without resources that mostly differ are of other resources, and not another state of the same.
    """
    both = {"cell": _both(older, newer, "cell")}
    if older.has_resources != newer.has_resources:
        wide = _both(older, newer, "wide")
        mostly = 2 * _agreeing(wide) >= int(wide["rows"].sum())
        both["wide"] = wide if mostly else wide.filter("agree")
    return max(both.items(), key=lambda item: _agreeing(item[1]))  # of equals the exact one


def _agreeing(both: pl.DataFrame) -> int:
    return int(both.filter("agree")["rows"].sum())


def _both(one: Edition, other: Edition, key: str) -> pl.DataFrame:
    """Cells in both, in hours that both have; whether they agree.

    key: `cell`; `wide` where only one of them names resources
    """
    here, there = (joined(edition.cells.filter("touches"), key) for edition in (one, other))
    both = here.join(there, on=key, suffix="_there").filter(
        (pl.col("bits") & pl.col("bits_there")) != 0
    )
    ids = (pl.col("ids") == pl.col("ids_there")).fill_null(value=True)
    same = (pl.col("rows") == pl.col("rows_there")) & (pl.col("mark") == pl.col("mark_there")) & ids
    coarse = pl.col("rows") != pl.col("rows_there")
    for name in ("BilledCost", "EffectiveCost"):
        off = (pl.col(name) - pl.col(f"{name}_there")).abs()
        coarse &= off <= 1e-6 + 1e-9 * pl.col(name).abs()
    return both.with_columns(agree=same | coarse)


def _rows_in(one: Edition, other: Edition) -> int:
    """Rows of an edition on the days and in the accounts that the other has too."""
    inside = one.cells.join(other.scopes, on=SCOPE, how="semi", nulls_equal=True)
    return int(inside["rows"].sum())


def _is_newer(stamp: Stamp, other: Stamp) -> bool:
    """Whether both are dates, or both numbers, and not the same."""
    return bool(stamp[0]) == bool(other[0]) and stamp > other


def _replaced(left: Sequence[Edition], low: int, high: int) -> Iterator[tuple[int, Overlap]]:
    """An older edition whole, where the newer has all its days and accounts; else where both are.

    A day of which only a part is in the newer one counts from the older one.
    """
    older, newer = left[low], left[high]
    days = older.scopes.join(newer.scopes, on=SCOPE, nulls_equal=True, suffix="_there")
    lacking = (pl.col("bits") & ~pl.col("bits_there")) != 0
    within = (pl.col("bits_there") & ~pl.col("bits")) == 0
    fuller = days.filter(lacking & within)
    has_all = set(older.cells["day"]) <= set(newer.cells["day"])
    has_all &= set(older.cells["account"]) <= set(newer.cells["account"])
    if has_all and fuller.is_empty():
        yield low, Overlap(low, high, older.cells, "newer")
        return
    inside = days.join(fuller, on=SCOPE, how="anti", nulls_equal=True)
    cells = older.cells.join(inside, on=SCOPE, how="semi", nulls_equal=True)
    if cells.height:
        yield low, Overlap(low, high, cells, "newer")
    cells = newer.cells.join(fuller, on=SCOPE, how="semi", nulls_equal=True)
    if cells.height:
        yield high, Overlap(high, low, cells, "part")
