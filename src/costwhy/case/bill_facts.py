"""What the bill itself says: how much, over which days, where it ends, and what it cannot answer.

Everything else stands on this. A bill alone names lines that cost more, prices, commitments, new
and ended resources; each further source answers more, and this says which.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from costwhy.case.analysis import LakeAnalysis, LakeReader, analyse
from costwhy.lake.charges import spread
from costwhy.model.bill_end import FEE, AccountEnd
from costwhy.model.holes import Hole, find_holes
from costwhy.model.observed import DAY, Observed
from costwhy.spikes.dollars import SpikeDollars
from costwhy.text import cents, clock, count_of, money, plain_value

THIN_DAYS, OFTEN = 7, 0.5  # a line charged on fewer days, or on less of its days, has no normal
MOSTLY = 0.5  # of the cost
MOST_NAMED = 3
TOP_SERVICES = 5
# What each section of costwhy.toml answers
ANSWERS = (
    (
        "signals",
        "calls of the services",
        "whether it is traffic, retries or more usage for each call",
    ),
    ("changes", "records of changes", "which change fits"),
    ("owners", "a service catalogue, CODEOWNERS or tags", "who runs it"),
)


@dataclass(frozen=True)
class BillFacts:
    """The bill in numbers; money in the lake's currency.

    rows, cost   all rows, and their EffectiveCost
    usage        of usage charges; the rest are credits, fees, tax, purchases, adjustments
    first, last  the days that it covers
    thin         share of the cost on lines that are charged on fewer than THIN_DAYS days
    by_day       share of the cost in charges of a day
    accounts     each with its own end
    holes        days in the middle without a charge of an account
    lacks        sections of costwhy.toml without a record
    folded       small lines that are added up to fewer: lines, rows that they make, their cost
    """

    rows: int
    cost: float
    usage: float
    first: datetime
    last: datetime
    days: int
    thin: float
    by_day: float
    accounts: tuple[AccountEnd, ...]
    holes: tuple[Hole, ...]
    lacks: tuple[str, ...]
    by_service: tuple[tuple[str, float], ...]
    currency: str = ""
    folded: tuple[int, int, float] | None = None

    @property
    def is_by_day(self) -> bool:
        """Most of it is billed by the day."""
        return self.by_day > MOSTLY

    @property
    def sentences(self) -> list[str]:
        """The facts in sentences, for people who ask why there is no more."""
        return [
            *_whole(self),
            *_resolution(self),
            *_ends(self),
            *_holes(self),
            *what_is_missing(self.lacks),
        ]


def bill_facts(analysis: LakeAnalysis) -> BillFacts:
    """The facts of the whole bill in a lake."""
    series, observed = analysis.frames["series"], analysis.observed
    facts = (
        analysis.rows["hourly"]
        .with_columns(pl.col("hours").fill_null(1), day=pl.col("hour").dt.truncate("1d"))
        .filter(pl.col("hour").is_between(observed.hours[0].replace(hour=0), observed.as_of))
        .group_by("series_id", "day", "hours", paid=pl.col("EffectiveCost") > 0)
        .agg(pl.col("EffectiveCost", "rows").sum())
        .collect()
        .join(series.select("series_id", "ServiceName", "ChargeCategory"), on="series_id")
    )
    days = spread(facts.select("day", "series_id", "hours", "EffectiveCost"), "day")
    dated = days.filter(pl.col("hours") <= FEE)  # the days of fees say nothing of the bill's
    dated = dated if dated.height else days
    cost, weight = pl.col("EffectiveCost").sum(), pl.col("EffectiveCost").abs().sum()
    day = pl.col("day")
    span = (day.max() - day.min()).dt.total_days() + 1
    lines = days.group_by("series_id").agg(n=day.n_unique(), span=span, cost=weight)
    thin = (pl.col("n") < THIN_DAYS) | (pl.col("n") < OFTEN * pl.col("span"))
    whole = float(lines["cost"].sum()) or 1.0
    long = facts.filter(pl.col("hours").is_between(2, FEE)).select(weight).item()
    services = (
        facts.group_by("ServiceName").agg(cost=cost).sort(pl.col("cost").abs(), descending=True)
    )
    return BillFacts(
        rows=int(facts["rows"].sum()),
        cost=float(facts.select(cost).item()),
        usage=float(facts.filter(pl.col("ChargeCategory") == "Usage").select(cost).item()),
        first=dated.select(day.min()).item(),
        last=dated.select(day.max()).item(),
        days=dated["day"].n_unique(),
        thin=float(lines.filter(thin)["cost"].sum()) / whole,
        by_day=float(long) / whole,
        accounts=observed.accounts,
        holes=find_holes(observed),
        lacks=unasked(analysis),
        by_service=tuple(services.head(TOP_SERVICES).iter_rows()),
        currency=analysis.lake.currency,
        folded=_folded(observed),
    )


def _folded(observed: Observed) -> tuple[int, int, float] | None:
    if observed.folded is None:
        return None
    rows = observed.folded["row"].unique().to_list()
    return observed.folded.height, len(rows), float(observed.cost[rows].sum())


def unasked(analysis: LakeAnalysis) -> tuple[str, ...]:
    """Sections of costwhy.toml without a record."""
    return tuple(name for name, has_any in _sections(analysis) if not has_any)


def is_by_day(observed: Observed, spike: SpikeDollars) -> bool:
    """Whether most of what a spike moved is billed by the day."""
    moved = np.abs(spike.excess).sum(axis=1)
    return bool(moved[observed.by_day].sum() > MOSTLY * moved.sum())


def _sections(analysis: LakeAnalysis) -> Iterator[tuple[str, bool]]:
    tagged = analysis.frames["series"].select(pl.col("team").is_not_null().any()).item()
    yield "signals", bool(analysis.observed.edges)
    yield "changes", analysis.frames["changes"].height > 0
    yield "owners", analysis.frames["catalog"].height > 0 or tagged


def facts_of(lake: LakeReader, as_of: datetime | None = None) -> BillFacts:
    """The facts of the bill in a lake."""
    return bill_facts(analyse(lake, as_of))


def _whole(facts: BillFacts) -> Iterator[str]:
    currency = facts.currency
    usage = f", of it {money(facts.usage, currency)} usage" if facts.usage != facts.cost else ""
    days = count_of(facts.days, "day")
    yield (
        f"The bill: {count_of(facts.rows, 'row')}, {money(facts.cost, currency)}{usage}, {days} "
        f"({facts.first:%Y-%m-%d} to {facts.last:%Y-%m-%d})."
    )
    if facts.thin >= MOSTLY:
        yield (
            f"It is too thin for a normal: {facts.thin:.0%} of it is on lines that are charged on "
            f"fewer than {THIN_DAYS} days, or now and then. No spike can be told from chance there."
        )
    if facts.folded is not None:
        lines, rows, cost = facts.folded
        yield (
            f"{count_of(lines, 'small line')} of it, {money(cost, currency)} together, are added "
            f"up to {rows:,} by service and product; the drivers of a spike name each."
        )


def _resolution(facts: BillFacts) -> Iterator[str]:
    if facts.by_day >= 0.01:
        share = "It is" if facts.by_day > 0.99 else f"{facts.by_day:.0%} of it is"
        yield (
            f"{share} by the day, not by the hour: a spike there begins with a day, unless the "
            "signals date it."
        )


def _ends(facts: BillFacts) -> Iterator[str]:
    for state, words in (
        ("closed", "closed: no charge since {end} while others go on"),
        ("late", "late: the bill of all ends where theirs does, {end}"),
    ):
        found = [one for one in facts.accounts if one.state == state]
        if found:
            names = ", ".join(_name(one) for one in found[:MOST_NAMED])
            more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
            yield f"{names}{more}: {words.format(end=clock(min(one.end for one in found)))}."
    partial = [one for one in facts.accounts if one.partial]
    if partial:
        end = clock(min(one.end for one in partial))
        accounts = count_of(len(partial), "account")
        yield f"The newest day of {accounts} is not over: the bill ends before it, at {end}."


def _holes(facts: BillFacts) -> Iterator[str]:
    for hole in facts.holes[:MOST_NAMED]:
        yield (
            f"{_name(hole)}: no charge from {clock(hole.start)} to {clock(hole.end)}; it is "
            "taken for missing, not for free."
        )
    if len(facts.holes) > MOST_NAMED:
        yield f"{len(facts.holes) - MOST_NAMED} more such holes."


def _name(one: AccountEnd | Hole) -> str:
    return f"account {one.account}" if one.account else f"the bill of {one.provider or 'nobody'}"


def what_is_missing(lacks: Collection[str]) -> Iterator[str]:
    """A sentence for each section of costwhy.toml that has no record."""
    for section, what, answer in ANSWERS:
        if section in lacks:
            yield f"There is no [[{section}]] source: {what} would say {answer}."


def bill_document(facts: BillFacts) -> dict[str, object]:
    """The facts as `explain --json` prints them."""
    return {
        "rows": facts.rows,
        "cost": cents(facts.cost),
        "usage_cost": cents(facts.usage),
        "from": plain_value(facts.first),
        "to": plain_value(facts.last + DAY),
        "days": facts.days,
        "share_too_thin": round(facts.thin, 4),
        "share_by_day": round(facts.by_day, 4),
        "by_service": [
            {"ServiceName": name, "cost": cents(cost)} for name, cost in facts.by_service
        ],
        "accounts": [
            {
                "ProviderName": one.provider,
                "SubAccountId": one.account,
                "end": plain_value(one.end),
                "state": one.state,
            }
            for one in facts.accounts
        ],
        "sentences": facts.sentences,
    }
