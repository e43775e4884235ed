"""Whose is it? A fifth of a simulated company's resources lose their tags; who likely owns them is asked, and compared with the truth.

    uv run python benchmarks/owners.py [--seeds 200-219] [--share 0.2]

*as named*: resources keep their names, which often spell the service's name: an easy question. *names taken out*: whatever name
says a known service or team is replaced by a hash, in the bill and in the records alike, so that only who created it, the
catalogue and the account are left. Right means: the very team that the hidden tags named. Dollars weigh each resource by its cost.
"""

import argparse
import hashlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
from companies import lake_of
from generate import Settings, simulate

from costwhy.case.analysis import analyse
from costwhy.causes.owners import Directory
from costwhy.causes.unowned import Traces, traces_of

NAMES = ("service", "team", "budget_owner")


@dataclass(frozen=True)
class Asked:
    """One hidden resource: the truth, the guess, the beginning of what it rests on, its dollars."""

    leaks: bool
    truth: str
    guess: str | None
    source: str
    dollars: float


def hidden_of(
    daily: pl.DataFrame, series: pl.DataFrame, share: float, rng: np.random.Generator
) -> pl.DataFrame:
    """ResourceId, team, SubAccountId, x_UsageType, dollars of a random share of the resources that carry a team."""
    named = daily.join(series.filter(pl.col("team").is_not_null()), on="series_id").filter(
        pl.col("ResourceId").is_not_null()
    )
    sums = (
        named.group_by("ResourceId")
        .agg(
            pl.col("team", "SubAccountId", "x_UsageType").last(),
            dollars=pl.col("EffectiveCost").sum(),
        )
        .sort("ResourceId")
    )
    return sums[
        sorted(rng.choice(sums.height, max(1, round(share * sums.height)), replace=False).tolist())
    ]


def masks_of(hidden: pl.DataFrame, words: list[str]) -> dict[str, str]:
    """A hash for each hidden name that spells a known service or team, whole and by its last part."""
    out = {}
    for name in hidden["ResourceId"].to_list():
        if any(word in name.lower() for word in words):
            out[name] = "r-" + hashlib.sha256(name.encode()).hexdigest()[:12]
    return out


def ask(seed: int, share: float) -> list[Asked]:
    """Both questions about one company."""
    company = simulate(Settings(seed, 42, 12, ()))
    lake = lake_of(company)
    s = analyse(lake)
    series, daily, changes = s.frames["series"], s.lake.table("daily"), s.known_changes.rows
    hidden = hidden_of(daily, series, share, np.random.default_rng([seed, 7]))
    kept = daily.filter(
        ~pl.col("ResourceId").is_in(hidden["ResourceId"].implode()).fill_null(value=False)
    )
    left = series.filter(pl.col("series_id").is_in(kept["series_id"].implode()))
    words = [w.lower() for name in NAMES for w in series[name].drop_nulls().unique().to_list()]
    out = []
    for leaks in (True, False):
        masks = {} if leaks else masks_of(hidden, words)
        frames = {
            **s.frames,
            "daily": kept,
            "series": left,
            "changes": _masked(s.frames["changes"], masks),
        }
        directory = Directory(s.frames["catalog"], left, changes=_masked(changes, masks))
        out += _answers(traces_of(frames, directory), hidden, (leaks, masks))
    return out


def _masked(changes: pl.DataFrame, masks: dict[str, str]) -> pl.DataFrame:
    texts = ("resource", "before", "after", "summary")
    if not masks:
        return changes
    return changes.with_columns(
        pl.col(c).str.replace_many(list(masks), list(masks.values())) for c in texts
    )


def _answers(traces: Traces, hidden: pl.DataFrame, how: tuple[bool, dict[str, str]]) -> list[Asked]:
    leaks, masks = how
    out = []
    for row in hidden.iter_rows(named=True):
        guess, why = traces.likely_team(
            masks.get(row["ResourceId"], row["ResourceId"]), row["SubAccountId"], row["x_UsageType"]
        )
        out.append(Asked(leaks, row["team"], guess, _kind(why), row["dollars"]))
    return out


def _kind(why: str | None) -> str:
    """The source of a guess without its names."""
    known = {
        "created by": "creator",
        "named like": "its name",
        "tags": "former tags",
        "backstage": "catalogue",
        "most frequent": "the account's most frequent",
        "most": "most of its kind there",
    }
    return next(
        (name for words, name in known.items() if (why or "").startswith(words)), "nothing says"
    )


def show(asked: list[Asked]) -> None:
    """A table for each question: resources, answered, right of the answered, right of all, right of all dollars; and by source."""
    print(
        f"{'':30s}{'resources':>10s}{'answered':>10s}{'right of answered':>19s}{'right of all':>14s}{'of dollars':>12s}"
    )
    for leaks, title in ((True, "as named"), (False, "names taken out")):
        rows = [a for a in asked if a.leaks is leaks]
        _line(title, rows)
        for source in sorted({a.source for a in rows}):
            _line(f"  {source}", [a for a in rows if a.source == source])


def _line(title: str, rows: list[Asked]) -> None:
    said = [a for a in rows if a.guess is not None]
    right = [a for a in said if a.guess == a.truth]
    dollars = sum(a.dollars for a in right) / (sum(a.dollars for a in rows) or 1)
    among = f"{len(right) / len(said):.2f}" if said else "-"
    print(
        f"{title:30s}{len(rows):10d}{len(said):10d}{among:>19s}{len(right) / max(1, len(rows)):14.2f}{dollars:12.2f}"
    )


def main() -> None:
    """Ask about them all and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="200-209")
    parser.add_argument("--share", type=float, default=0.2)
    wish = parser.parse_args()
    first, _, last = wish.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    with ProcessPoolExecutor(2) as pool:
        asked = [a for found in pool.map(ask, seeds, [wish.share] * len(seeds)) for a in found]
    print(f"{len(seeds)} companies, {wish.share:.0%} of their tagged resources hidden")
    show(asked)


if __name__ == "__main__":
    main()
