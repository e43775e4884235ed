"""Where the bill ends: for each account by itself, and for all that still bill.

An account that fell silent more than `CLOSED_AFTER_HOURS` before the others is *closed*: it holds
nobody back, and what it cost is over. One that is behind by less is *late*: the hours after its end
are estimated for all. A day whose lines are nearly all short is not over yet (exports of the month
to date hold the day in which they were made); its account ends before it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

REGULAR_SHARE = 0.5  # an account that bills in this share of its hours is expected in each hour
CLOSED_AFTER_HOURS = 72
LARGE = 0.5  # of the recent cost: accounts that held it have not all been closed, they are late
RECENT = timedelta(days=14)
FEE = 48  # hours: a longer charge does not say until when an account was billed
PAST = 7  # days before the newest one
STEADY = 0.02  # of its mean: a line whose days differ by less costs the same every day
FEW = 3  # steady lines
SHORT = 0.97  # of the least of the days before: a line of a day that is not over
SHORT_LINES = 0.6  # of the steady lines, or of a day's cost, that are short
_ACCOUNT = ["ProviderName", "SubAccountId"]


@dataclass(frozen=True)
class AccountEnd:
    """An account, and the end of its newest charge. state: `current`, `late`, `closed` or `rare`.

    rare     it bills now and then, nothing follows from its silence
    by_day   its charges are a day long
    partial  its newest day is not over: it ends before that day
    """

    provider: str | None
    account: str | None
    end: datetime
    state: str
    by_day: bool
    partial: bool = False


@dataclass(frozen=True)
class BillEnd:
    """Accounts by name, and the end of what all that are current or late have delivered."""

    accounts: tuple[AccountEnd, ...]
    through: datetime

    @property
    def closed(self) -> tuple[AccountEnd, ...]:
        """Accounts that fell silent for good."""
        return tuple(one for one in self.accounts if one.state == "closed")


def bill_end(hourly: pl.DataFrame, series: pl.DataFrame) -> BillEnd:
    """Where each account's bill ends, and the bill of all.

    hourly, series: tables of the lake, not empty
    """
    facts = _facts(hourly, series)
    regular = facts.filter(pl.col("hours") <= FEE)
    found = _accounts(regular if regular.height else facts)
    found = _believed(found)
    regular = found.filter("regular")
    newest: datetime = (regular if regular.height else found).select(pl.col("end").max()).item()
    silent = (pl.col("end") < newest - timedelta(hours=CLOSED_AFTER_HOURS)) & pl.col("regular")
    found = found.with_columns(silent=silent)
    quiet, whole = (float(frame["recent"].sum()) for frame in (found.filter("silent"), found))
    share = quiet / max(whole, 1e-9)
    found = found.with_columns(
        state=pl.when(~pl.col("regular"))
        .then(pl.lit("rare"))
        .when(pl.col("silent"))
        .then(pl.lit("closed" if share <= LARGE else "late"))
        .when(pl.col("end") < newest)
        .then(pl.lit("late"))
        .otherwise(pl.lit("current"))
    ).sort(_ACCOUNT)
    waits = found.filter(pl.col("state").is_in(["current", "late"]))
    names = (*_ACCOUNT, "end", "state", "by_day", "partial")
    return BillEnd(
        tuple(AccountEnd(*row) for row in found.select(names).iter_rows()),
        waits.select(pl.col("end").min()).item() if waits.height else newest,
    )


def _facts(hourly: pl.DataFrame, series: pl.DataFrame) -> pl.DataFrame:
    """Charges with their account and end; but for those of a day the sums of each account."""
    length = pl.col("hours").fill_null(1)
    facts = (
        hourly.lazy()
        .with_columns(hours=length, end=pl.col("hour") + pl.duration(hours=length))
        .join(series.lazy().select("series_id", *_ACCOUNT), on="series_id")
        .select("series_id", *_ACCOUNT, "hour", "hours", "end", "EffectiveCost")
    )
    of_day = pl.col("hours").is_between(24, FEE)
    sums = pl.col("series_id").first(), pl.col("EffectiveCost").sum()
    others = facts.filter(~of_day).group_by(*_ACCOUNT, "hour", "hours", "end").agg(*sums)
    names = facts.collect_schema().names()
    return pl.concat([facts.filter(of_day), others.select(names)]).collect()


def _believed(accounts: pl.DataFrame) -> pl.DataFrame:
    """Where accounts that bill regularly hold little of the cost, all bill now and then."""
    whole, often = (
        float(frame["recent"].abs().sum()) for frame in (accounts, accounts.filter("regular"))
    )
    return accounts.with_columns(regular=pl.col("regular") & (often >= LARGE * whole))


def _accounts(facts: pl.DataFrame) -> pl.DataFrame:
    """One row for each account: end, partial, by_day, regular, recent (its cost before its end)."""
    partial = _partial_days(facts)
    facts = facts.join(partial, on=[*_ACCOUNT, "hour"], how="left", nulls_equal=True)
    whole = facts.filter(pl.col("partial").is_null())
    covered = whole.group_by(*_ACCOUNT, "hour").agg(pl.col("hours").max(), pl.col("end").max())
    span = (pl.col("end").max() - pl.col("hour").min()).dt.total_hours()
    hours = pl.col("hours").sum()
    last = pl.col("hour") >= pl.col("end").max().over(_ACCOUNT) - RECENT
    recent = whole.filter(last).group_by(_ACCOUNT).agg(recent=pl.col("EffectiveCost").sum())
    found = covered.group_by(_ACCOUNT).agg(
        pl.col("end").max(), n=hours, share=hours / span, by_day=pl.col("hours").median() >= 24
    )
    often = (pl.col("share") >= REGULAR_SHARE) & (pl.col("n") >= REGULAR_SHARE * pl.col("n").max())
    found = found.with_columns(regular=often)
    return (
        found.join(recent, on=_ACCOUNT, how="left", nulls_equal=True)
        .join(
            partial.select(*_ACCOUNT, "partial").unique(), on=_ACCOUNT, how="left", nulls_equal=True
        )
        .with_columns(pl.col("recent").fill_null(0.0), pl.col("partial").fill_null(value=False))
    )


def _partial_days(facts: pl.DataFrame) -> pl.DataFrame:
    """Newest days that are not over: account, hour, partial (true).

    Storage, or an instance that always runs, costs the same every day. Where most of such lines of
    a provider are short on its newest day, that day is not over; where there are few of them, most
    of all cost must be short.
    """
    days = facts.filter(pl.col("hours").is_between(24, FEE)).with_columns(
        newest=pl.col("hour").max().over(_ACCOUNT)
    )
    back = (pl.col("newest") - pl.col("hour")).dt.total_days()
    cost = (
        days.with_columns(back=back)
        .filter(pl.col("back") <= PAST)
        .group_by(*_ACCOUNT, "newest", "series_id", "back")
        .agg(cost=pl.col("EffectiveCost").sum())
    )
    past = pl.col("cost").filter(pl.col("back") > 0)
    lines = (
        cost.group_by(*_ACCOUNT, "newest", "series_id")
        .agg(
            today=pl.col("cost").filter(pl.col("back") == 0).sum(),
            n=past.len(),
            least=past.min(),
            mean=past.mean(),
            steady=past.max() - past.min() < STEADY * past.mean(),
        )
        .filter((pl.col("n") == PAST) & (pl.col("least") > 0))
        .with_columns(short=pl.col("today") < SHORT * pl.col("least"))
    )
    steady, weight = pl.col("short").filter("steady"), pl.col("mean")
    return (
        lines.with_columns(
            of_steady=steady.mean().over("ProviderName", "newest"),
            of_all=(weight.filter("short").sum() / weight.sum()).over("ProviderName", "newest"),
            count=pl.col("steady").sum().over("ProviderName", "newest"),
        )
        .filter(
            pl.when(pl.col("count") >= FEW).then(pl.col("of_steady")).otherwise(pl.col("of_all"))
            >= SHORT_LINES
        )
        .select(*_ACCOUNT, hour="newest", partial=pl.lit(value=True))
        .unique()
    )
