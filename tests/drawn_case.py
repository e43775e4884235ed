"""A case drawn by hand: three hours, two behaviours, two changes. Small enough to check by eye."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl

from costwhy import tables
from costwhy.behaviours import DEMAND, RETRIES
from costwhy.case.case import Case
from costwhy.case.story import headline
from costwhy.spikes.dollars import SpikeRow

START = datetime(2026, 10, 21, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def rows(table: tables.Table, *values: dict[str, object]) -> pl.DataFrame:
    """Rows of a table, from the columns that are given."""
    given = {name: t for name, t in table.schema.items() if any(name in row for row in values)}
    return table.fit(pl.DataFrame(list(values), schema=given))


def change(number: int, **values: object) -> dict[str, object]:
    """A recorded change of the hour before the spike."""
    return {
        "change_id": f"change-{number}",
        "time": START - number * timedelta(minutes=20),
        "known_at": START,
        "kind": "deploy",
        "service": "webhooks",
        "actor": "dana",
        "summary": "Retry at once",
    } | values


def drawn_case() -> Case:
    """webhooks' retries against store cost $150 more, traffic $50; a deployment probably did it."""
    hours = [START - HOUR, START, START + HOUR]
    behaviours = (
        {"kind": RETRIES, "service": "store", "caller": "webhooks", "usage_type": None},
        {"kind": DEMAND, "service": "webhooks", "caller": None, "usage_type": None},
    )
    case = Case(
        workspace="Marigold",
        currency="USD",
        as_of=START + 3 * HOUR,
        billed_through=START + 2 * HOUR,
        lake_version=7,
        spike=spike(),
        drivers=rows(
            tables.DRIVERS,
            {"where": '{"service": "store", "RegionId": "eu-west-1"}', "cost_change": 180.0},
        ),
        drivers_remainder=20.0,
        behaviour=rows(
            tables.BEHAVIOUR,
            behaviours[0] | {"cost_change": 150.0, "nowcast_change": 10.0},
            behaviours[1] | {"cost_change": 50.0, "nowcast_change": 0.0},
        ),
        behaviour_remainder=0.0,
        triggers=rows(
            tables.TRIGGERS,
            change(
                1,
                also=["again"],
                probability=0.7,
                reasons=["20 min before", "names store"],
                ticket="OPS-1",
            ),
            change(2, also=None, probability=0.05, reasons=["40 min before"], summary=None),
        ),
        no_recorded_change=0.25,
        planned=False,
        owners=rows(
            tables.OWNERS,
            {
                "role": "owner",
                "service": "store",
                "team": "data",
                "contact": "#data",
                "source": "tags",
            },
            {
                "role": "owner_then",
                "service": "store",
                "team": "shop",
                "source": "tags",
                "until": START,
            },
            {"role": "decided_by", "service": "webhooks", "team": "hooks", "actor": "dana"},
            {"role": "budget_owner", "team": "cloud", "source": "account"},
        ),
        timeline=rows(
            tables.TIMELINE,
            *(
                {
                    "hour": hour,
                    "actual_cost": 100.0 * k,
                    "expected_cost": 50.0,
                    "estimated": k == 3,
                    "state": "final",
                }
                for k, hour in enumerate(hours, start=1)
            ),
        ),
        ledger=rows(
            tables.LEDGER,
            *(
                name | {"hour": hour, "cost_change": 25.0 * k, "estimated": False}
                for hour in hours[1:]
                for k, name in enumerate(behaviours, start=1)
            ),
        ),
        calls=rows(
            tables.CALLS,
            *(
                {
                    "hour": hour,
                    "service": "store",
                    "caller": "webhooks",
                    "calls": 900.0,
                    "retries": 300.0,
                    "expected_calls": 600.0,
                }
                for hour in hours
            ),
        ),
        changes=rows(
            tables.CHANGES,
            change(1, delivery="log", automated=False),
            change(2, delivery="log", kind="flag", service="search"),
            change(3, delivery="log", kind="scaling", automated=True),
        ),
        dependencies=rows(
            tables.DEPENDENCIES,
            {"path": ["webhooks", "store", "Amazon DynamoDB"], "cost_change": 160.0},
        ),
        coverage=rows(
            tables.COVERAGE,
            {
                "source": "cost",
                "from": START - HOUR,
                "to": START,
                "gaps": ["one"],
                "cannot_rule_out": "a resource without a name",
            },
            {"source": "changes", "from": None, "to": None, "gaps": None, "cannot_rule_out": None},
        ),
        clocks=rows(
            tables.CLOCKS,
            {
                "what": "bill",
                "happened_at": START,
                "known_at": START + HOUR,
                "words": "one hour later",
            },
        ),
    )
    return replace(case, headline=headline(case))


def spike(**values: object) -> SpikeRow:
    """The row of the drawn case."""
    row = SpikeRow(
        spike_id="20261021T09-store-retries",
        title="retries against store",
        start=START,
        end=None,
        status="running",
        shape="step",
        where='{"service": "store"}',
        expected_cost=100.0,
        actual_cost=300.0,
        excess_cost=200.0,
        excess_low=190.0,
        excess_high=210.0,
        nowcast_hours=1,
        nowcast_excess_cost=10.0,
        nowcast_low=5.0,
        nowcast_high=15.0,
        cost_per_hour_now=4.5,
        month_end_excess_cost=1234.0,
        verdict="inefficiency",
    )
    return replace(row, **values)
