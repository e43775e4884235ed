"""The same rows in any dialect are the same money, to the cent."""

import csv
import io
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import SPOOL

from costwhy.config import Mapping
from costwhy.ingest.billing import reduce_file
from costwhy.ingest.cube import COSTS, Cube
from costwhy.sources.cost import focus

NAMES = ("EffectiveCost", "BilledCost", "ListCost", "BillingCurrency", "BillingPeriodStart", "ChargePeriodStart", "ServiceName", "Tags")  # fmt: skip
PERIOD = datetime(2026, 9, 1, tzinfo=UTC)
TIMES = {
    "ISO": "%Y-%m-%dT%H:%M:%SZ", "blank": "%Y-%m-%d %H:%M:%S", "offset": "%Y-%m-%dT%H:%M:%S+0000", "US": "%m/%d/%Y %I:%M:%S %p",
    "day first": "%d/%m/%Y %H:%M", "German": "%d.%m.%Y %H:%M:%S", "name": "%Y-%m-%d %H:%M:%S Etc/UTC",
}  # fmt: skip


@dataclass(frozen=True)
class Way:
    """A way to write a bill."""

    delimiter: str
    escaped: bool
    encoding: str
    end: str
    titles: int
    comma: bool
    thousands: bool
    time: str
    nothing: str


ways = st.builds(
    Way,
    st.sampled_from(",;\t|"),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "windows-1252"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
    st.sampled_from([*TIMES, "epoch", "milliseconds", "Excel"]),
    st.sampled_from(["", "NULL", "null", "\\N", "None"]),
)
texts = st.text(st.sampled_from("aZ é\"',;|\t\\#-"), max_size=8)
lines = st.lists(
    st.tuples(st.integers(-(10**8), 10**8), st.integers(0, 10**6), st.integers(0, 719), texts),
    min_size=1,
    max_size=20,
)


def amount(cents: int, way: Way) -> str:
    text = f"{cents / 100:,.2f}" if way.thousands else f"{cents / 100:.2f}"
    return text.translate(str.maketrans(",.", ".,")) if way.comma else text


def moment(time: datetime, way: Way) -> str:
    seconds = time.timestamp()
    numbers = {"epoch": f"{seconds:.0f}", "milliseconds": f"{seconds * 1000:.0f}", "Excel": f"{seconds / 86400 + 25569:.8f}"}  # fmt: skip
    return numbers[way.time] if way.time in numbers else time.strftime(TIMES[way.time])


def written(body: list[tuple[int, int, int, str]], way: Way) -> bytes:
    text = io.StringIO()
    how = {"doublequote": False, "escapechar": "\\"} if way.escaped else {}
    writer = csv.writer(text, delimiter=way.delimiter, quoting=csv.QUOTE_ALL if way.escaped else csv.QUOTE_MINIMAL, lineterminator=way.end, **how)  # fmt: skip
    writer.writerow(NAMES)
    for cost, listed, hour, name in body:
        start = moment(PERIOD + timedelta(hours=hour), way)
        writer.writerow([amount(cost, way), amount(cost, way), amount(listed, way), "USD", moment(PERIOD, way), start, f"n{name}", way.nothing])  # fmt: skip
    titles = "".join(f"Report {k}: costs{way.end}" for k in range(way.titles))
    return (titles + text.getvalue()).encode(way.encoding)


def read(data: bytes) -> Cube:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "focus.csv"
        file.write_bytes(data)
        return reduce_file(file, focus.FORMAT.bill, Mapping(), "USD", SPOOL)


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck), derandomize=True)
@given(lines, ways)
def test_any_dialect_is_the_same_money(body: list[tuple[int, int, int, str]], way: Way) -> None:
    cube = read(written(body, way))
    assert cube.set_aside.height == 0
    assert int(cube.scan("hourly").collect()["rows"].sum()) == len(body)
    totals = cube.scan("hourly").collect().select(pl.col(COSTS).sum().round(2)).row(0)
    cost = round(sum(row[0] for row in body) / 100, 2)
    assert totals == (cost, cost, round(sum(row[1] for row in body) / 100, 2))
    assert {t.strftime("%Y-%m") for t in cube.scan("hourly").collect()["hour"]} == {"2026-09"}
    assert cube.totals["billing_period"].to_list() == ["2026-09"]
