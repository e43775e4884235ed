"""A company that fits on a page, in memory: every rate of it is an array over the hours that a test may change.

                 2 calls for each            3 calls for each
    web    ----------------------->  api  ----------------------->  db        nightly timer -->  report
    mobile ----------------------->
                 1 call for each
    web    ----- 1 call for each --->  search

Traffic has a day and a week, and 1 % of noise; everything else stands still until the test moves it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from costwhy import tables

FIRST = datetime(2026, 9, 7, tzinfo=UTC)  # a Monday
DAYS = 42
HOURS = DAYS * 24
ALL = np.ones(HOURS)
Array = np.ndarray
EdgeName = tuple[str, str]  # who is called, by whom


@dataclass
class Line:
    """One line of the bill: usage = per_call x calls handled + fixed; cost = usage x price + flat."""

    service: str | None
    usage_type: str | None
    unit: str
    price: Array
    per_call: Array = field(default_factory=lambda: 0 * ALL)
    fixed: Array = field(default_factory=lambda: 0 * ALL)
    flat: Array | None = None  # dollars an hour of a charge without quantity
    category: str = "Usage"
    team: str | None = "shop"
    product: str = "AWS Lambda"
    tagged_until: int = HOURS
    committed: Array = field(
        default_factory=lambda: 0 * ALL
    )  # units that a commitment holds; what is used of them costs half


@dataclass(frozen=True)
class MemoryLake:
    """Tables in memory, as an investigation needs them."""

    frames: dict[str, pl.DataFrame]
    workspace: str = "small"
    currency: str = "USD"
    version: int = 1
    place: str = "memory"
    config: Mapping[str, Any] = field(default_factory=dict)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The table of that name, or these columns of it."""
        return self.frames[name].select(columns or pl.all())

    def scan(self, name: str) -> pl.LazyFrame:
        """The same, lazily."""
        return self.table(name).lazy()

    def history(self, _name: str) -> list[tuple[datetime, pl.DataFrame]]:
        """None: it keeps no earlier versions."""
        return []


class SmallCompany:
    """demand, fan_out, retries, runs: by edge, by the hour. lines: of the bill. lag: hours at the end that are not billed yet."""

    def __init__(self, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        hours = np.arange(HOURS)
        season = (1 + 0.4 * np.sin(2 * np.pi * (hours - 8) / 24)) * np.where(
            hours // 24 % 7 >= 5, 0.8, 1.0
        )
        self.lag = 0
        self.demand = {
            name: 10_000 * season * rng.lognormal(0, 0.01, HOURS) for name in ("web", "mobile")
        }
        self.fan_out = {
            ("api", "web"): 2 * ALL,
            ("api", "mobile"): 1 * ALL,
            ("db", "api"): 3 * ALL,
            ("search", "web"): 1 * ALL,
        }
        self.retries = {
            edge: np.full(HOURS, 1.02) for edge in self.fan_out
        }  # attempts for each first attempt
        self.runs = {("report", "schedule:nightly"): np.where(hours % 24 == 2, 40.0, 0.0)}
        self.lines = {
            "web": Line("web", "Lambda-GB-Second", "GB-Second", 0.0005 * ALL, per_call=1 * ALL),  # $5 an hour at 10,000 calls
            "mobile": Line("mobile", "Lambda-GB-Second-Mobile", "GB-Second", 0.0005 * ALL, per_call=1 * ALL, team="app"),  # $5
            "api": Line("api", "Request", "Requests", 0.0002 * ALL, per_call=1 * ALL),  # 30,000 calls: $6
            "db": Line("db", "ReadRequestUnits", "ReadRequestUnits", 0.00005 * ALL, per_call=2 * ALL, team="data", product="Amazon DynamoDB"),  # 90,000: $9
            "search": Line("search", "Search-Units", "Units", 0.0006 * ALL, per_call=1 * ALL, team="find"),  # $6
            "report": Line("report", "Report-GB-Second", "GB-Second", 0.5 * ALL, per_call=2 * ALL, team="data"),  # 40 runs: $40 a night
            "disk": Line("db", "TimedStorage-ByteHrs", "GB-Mo", 2 * ALL, fixed=2 * ALL, team="data", product="Amazon DynamoDB"),  # $4
        }  # fmt: skip

    @property
    def calls(self) -> dict[tuple[str, str | None], Array]:
        """Attempts on every edge, callers before those whom they call."""
        handled = dict(self.demand)
        out: dict[tuple[str, str | None], Array] = {
            (name, None): calls for name, calls in self.demand.items()
        }
        for (service, caller), each in self.fan_out.items():
            out[service, caller] = handled[caller] * each * self.retries[service, caller]
            handled[service] = handled.get(service, 0) + out[service, caller]
        return out | self.runs

    def handled(self, service: str) -> Array:
        """Calls that a service handles."""
        return sum(calls for (name, _), calls in self.calls.items() if name == service)

    def cost(self, line: str) -> Array:
        """Dollars of a line by the hour."""
        said = self.lines[line]
        return said.flat if said.flat is not None else self.usage(said) * said.price

    def usage(self, line: Line) -> Array:
        """Quantity of a line by the hour."""
        return (
            line.fixed
            if line.service is None
            else line.per_call * self.handled(line.service) + line.fixed
        )

    def lake(self) -> MemoryLake:
        """What reading its files would give."""
        parts = [p for line in self.lines.values() for p in self._rows(line)]
        bill = pl.concat(parts).with_columns(
            series_id=pl.struct(tables.DIMENSION_NAMES).hash().reinterpret(signed=True)
        )
        seen = bill.group_by("hour").agg(records=pl.len()).with_columns(source=pl.lit("cost"))
        day = pl.col("hour").dt.truncate("1d").alias("day")
        empty = {t.name: t.empty() for t in (tables.CHANGES, tables.CATALOG, tables.SET_ASIDE)}
        return MemoryLake(
            {
                **empty,
                "series": tables.SERIES.fit(
                    bill.select("series_id", *tables.DIMENSION_NAMES).unique(
                        "series_id", maintain_order=True
                    )
                ),
                "hourly": tables.HOURLY.fit(
                    bill.select(
                        "billing_period", "hour", "series_id", *tables.MEASURE_NAMES, rows=pl.lit(1)
                    )
                ),
                "daily": tables.DAILY.fit(
                    bill.group_by("billing_period", day, "series_id").agg(
                        pl.col(tables.MEASURE_NAMES).sum()
                    )
                ),
                "signals": self._signals(),
                "seen": tables.SEEN.fit(seen),
            },
            place=f"memory:{id(self)}:{np.random.default_rng().integers(2**60)}",
        )

    def _rows(self, line: Line) -> list[pl.DataFrame]:
        """Hours of a line that cost something, the tags gone where they are lost."""
        usage = self.usage(line)
        covered = np.minimum(usage, line.committed)
        if line.committed.any():
            bought = replace(line, committed=0 * ALL, service=None, fixed=usage - covered)
            used = replace(bought, fixed=covered, price=line.price / 2)
            return [
                r.with_columns(service=pl.lit(line.service), PricingCategory=pl.lit(p))
                for q, p in ((bought, "Standard"), (used, "Committed"))
                for r in self._rows(q)
            ]
        cost = line.flat if line.flat is not None else usage * line.price
        named = {"ProviderName": "AWS", "SubAccountId": "1", "RegionId": "eu-west-1", "ServiceName": line.product, "x_UsageType": line.usage_type,
                 "ChargeCategory": line.category, "ConsumedUnit": line.unit, "PricingCategory": "Standard"}  # fmt: skip
        frame = pl.DataFrame(
            {
                "hour": hours(),
                "EffectiveCost": cost,
                "ConsumedQuantity": None if line.flat is not None else usage,
            }
        )
        frame = frame.head(HOURS - self.lag).with_columns(
            *(
                pl.lit(named.get(name), dtype=pl.String).alias(name)
                for name in tables.DIMENSION_NAMES
            ),
            *(pl.col("EffectiveCost").alias(name) for name in ("BilledCost", "ListCost")),
            pl.col("ConsumedQuantity").cast(pl.Float64),
            billing_period=pl.col("hour").dt.strftime("%Y-%m"),
        )
        tags = {"service": line.service, "team": line.team}
        kept = frame.head(line.tagged_until).with_columns(
            pl.lit(v, dtype=pl.String).alias(k) for k, v in tags.items()
        )
        return [
            part.filter(pl.col("EffectiveCost") != 0)
            for part in (kept, frame.slice(line.tagged_until))
        ]

    def _signals(self) -> pl.DataFrame:
        rows = []
        for (service, caller), calls in self.calls.items():
            again = calls - calls / self.retries.get((service, str(caller)), ALL)
            for metric, values in (("calls", calls), ("retries", again)):
                rows.append(pl.DataFrame({"hour": hours(), "value": values}).with_columns(
                    metric=pl.lit(metric), service=pl.lit(service), caller=pl.lit(caller, dtype=pl.String), buckets=1))  # fmt: skip
        return tables.SIGNALS.fit(pl.concat(rows).filter(pl.col("value") > 0))


def hours() -> list[datetime]:
    """All hours of the company."""
    return [FIRST + timedelta(hours=k) for k in range(HOURS)]


def from_hour(hour: int, times: float) -> Array:
    """1 before the hour, `times` from it on."""
    return np.where(np.arange(HOURS) < hour, 1.0, times)


def changed(line: Line, **values: object) -> Line:
    """The line with other values."""
    return replace(line, **values)


def by_day(lake: MemoryLake, products: Collection[str] = ()) -> MemoryLake:
    """The lake with these products (none named: all) billed by the day."""
    names = lake.frames["series"].select("series_id", "ServiceName")
    bill = lake.frames["hourly"].join(names, on="series_id")
    daily = pl.col("ServiceName").is_in(products) if products else pl.lit(value=True)
    days = (
        bill.filter(daily)
        .group_by("billing_period", pl.col("hour").dt.truncate("1d"), "series_id")
        .agg(pl.col(tables.MEASURE_NAMES).sum(), rows=pl.lit(1), hours=pl.lit(24))
    )
    whole = pl.concat([bill.filter(~daily).drop("ServiceName"), days], how="diagonal_relaxed")
    frames = {**lake.frames, "hourly": tables.HOURLY.fit(whole)}
    return replace(lake, frames=frames, place=f"{lake.place}:by day")
