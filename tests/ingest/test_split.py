"""Split cost allocation: pods and tasks have their share, and every sum stays the bill's."""

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from aws_bill import SPELLINGS, Item, item, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import SPOOL

from costwhy.config import Mapping, read_workspace
from costwhy.ingest.billing import reduce_file
from costwhy.ingest.cells import Beside
from costwhy.ingest.cube import Cube, merge
from costwhy.ingest.ingest import ingest
from costwhy.ingest.split import find_shares
from costwhy.lake.lake import open_lake
from costwhy.sources.cost import cur

NODE, START = "i-0a", datetime(2026, 9, 1)


def pod(
    name: str, cost: float, unused: float = 0.0, node: str | None = NODE, **columns: object
) -> Item:
    """One of the two rows that a pod has in an hour."""
    split = {
        "split_line_item_parent_resource_id": node,
        "split_line_item_split_cost": cost,
        "split_line_item_unused_cost": unused,
        "split_line_item_split_usage": 0.5,
        "resource_id": f"arn:aws:eks:us-east-1:1:pod/prod/{name}/{name}-1/uid-{name}",
        "product_code": "AmazonEKS",
        "usage_type": "USE1-EKS-EC2-vCPU-Hours",
        "line_item_operation": "EKSPod-EC2",
    }
    return item("Usage", **{"unblended": None, **split, **columns})


def node(kind: str = "Usage", unblended: float | None = 1.0, **columns: object) -> Item:
    return item(kind, unblended, **{"resource_id": NODE, **columns})


def reduced(
    tmp_path: Path, *files: list[Item], spelling: str = "cur2.parquet"
) -> tuple[Cube, tuple[str, ...]]:
    """The bill, delivered in these files, and what is said of it."""
    bill = cur.FORMAT.bill
    assert bill
    columns = dict.fromkeys(name for rows in files for row in rows for name in row)
    paths = [
        write(tmp_path, [{**columns, **row} for row in rows], spelling, f"part-{k}")
        for k, rows in enumerate(files)
    ]
    shares, notes = find_shares(paths, bill, "USD", tmp_path)
    return merge(
        [reduce_file(path, bill, Mapping(), "USD", SPOOL, Beside(shares)) for path in paths],
        SPOOL,
    ), notes


def by_resource(cube: Cube) -> dict[str, float]:
    rows = cube.scan("daily").collect().group_by("ResourceId").agg(pl.col("EffectiveCost").sum())
    return {(name or "").rpartition("/")[2]: round(cost, 6) for name, cost in rows.iter_rows()}


def totals(cube: Cube) -> tuple[float, float]:
    assert cube.set_aside.is_empty()
    return tuple(
        round(float(cube.totals[name].sum()), 6) for name in ("EffectiveCost", "BilledCost")
    )  # type: ignore[return-value]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_pod_has_its_share_and_the_instance_what_is_left(tmp_path: Path, spelling: str) -> None:
    rows = [node(), pod("web", 0.5, 0.1), pod("web", 0.1), pod("job", 0.2)]
    cube, notes = reduced(tmp_path, rows, spelling=spelling)
    assert (totals(cube), notes) == ((1.0, 1.0), ())
    assert by_resource(cube) == {NODE: 0.1, "uid-web": 0.7, "uid-job": 0.2}
    used = dict(cube.scan("daily").collect().select("ResourceId", "ConsumedQuantity").iter_rows())
    assert used[NODE] == pytest.approx(0.1), "at the price of an hour, as before"


def test_the_instance_and_its_pods_may_be_in_different_files(tmp_path: Path) -> None:
    cube, _ = reduced(tmp_path, [pod("web", 0.5)], [node(), pod("job", 0.2)])
    assert (totals(cube), by_resource(cube)) == ((1.0, 1.0), {NODE: 0.3, "uid-web": 0.5, "uid-job": 0.2})  # fmt: skip


def test_what_is_split_is_amortised_cost(tmp_path: Path) -> None:
    # 20 minutes on demand at 1.20 an hour, 40 minutes covered by a plan at 0.60: 0.40 + 0.40
    rows = [
        node("Usage", 0.4),
        node("SavingsPlanCoveredUsage", 0.8, savings_plan_savings_plan_effective_cost=0.4),
        item("SavingsPlanNegation", -0.8),
        item("SavingsPlanRecurringFee", 0.4, total_commitment_to_date=0.4, used_commitment=0.4),
        pod("web", 0.6),
    ]
    cube, _ = reduced(tmp_path, rows)
    assert totals(cube) == (0.8, 0.8)
    assert by_resource(cube) == {NODE: 0.2, "uid-web": 0.6, "": 0.0}


def test_what_else_an_instance_costs_is_not_split(tmp_path: Path) -> None:
    rows = [node(), node(unblended=9.0, usage_type="USE1-DataTransfer-Out-Bytes"), pod("web", 1.0)]
    cube, _ = reduced(tmp_path, rows)
    assert (totals(cube), by_resource(cube)) == ((10.0, 10.0), {NODE: 9.0, "uid-web": 1.0})


def test_each_hour_is_split_by_itself(tmp_path: Path) -> None:
    later = {"usage_start_date": START + timedelta(hours=1)}
    cube, _ = reduced(tmp_path, [node(), node(**later), pod("web", 1.0), pod("job", 0.4, **later)])
    assert by_resource(cube) == {NODE: 0.6, "uid-web": 1.0, "uid-job": 0.4}


def test_parts_that_are_more_than_the_whole_are_cut_to_it(tmp_path: Path) -> None:
    cube, _ = reduced(tmp_path, [node(), pod("web", 3.0), pod("job", 1.0)])
    assert (totals(cube), by_resource(cube)) == ((1.0, 1.0), {NODE: 0.0, "uid-web": 0.75, "uid-job": 0.25})  # fmt: skip


def test_a_part_of_an_instance_that_is_not_in_the_bill_is_told(tmp_path: Path) -> None:
    cube, notes = reduced(tmp_path, [node(), pod("web", 0.5), pod("lost", 0.7, node="i-other")])
    assert totals(cube) == (1.0, 1.0)
    assert notes == ("1 instance of pods or tasks is not in the bill: their split cost of $0.70 is not counted",)  # fmt: skip


def test_a_task_on_fargate_is_billed_itself(tmp_path: Path) -> None:
    task = pod("web", 0.5, node=None, unblended=0.5, usage_type="Fargate-vCPU-Hours:perCPU")
    cube, _ = reduced(tmp_path, [node(), task])
    assert (totals(cube), by_resource(cube)) == ((1.5, 1.5), {NODE: 1.0, "uid-web": 0.5})


def test_a_net_share_of_a_net_instance(tmp_path: Path) -> None:
    net = {"split_line_item_net_split_cost": 0.45, "split_line_item_net_unused_cost": 0.0}
    rows = [node(line_item_net_unblended_cost=0.9), pod("web", 0.5, **net)]
    cube, _ = reduced(tmp_path, rows)
    assert (totals(cube), by_resource(cube)) == ((0.9, 0.9), {NODE: 0.45, "uid-web": 0.45})


def test_a_bill_without_split_rows_is_not_split(tmp_path: Path) -> None:
    bill = cur.FORMAT.bill
    assert bill
    assert find_shares([write(tmp_path, [node()])], bill, "USD", tmp_path) == (None, ())


AMOUNT = st.floats(0, 5).map(lambda x: round(x, 4))
PART = st.tuples(
    AMOUNT, AMOUNT, st.sampled_from([NODE, "i-0b", "i-other", None]), st.integers(0, 1)
)
WHOLE = st.tuples(AMOUNT, st.sampled_from([NODE, "i-0b"]), st.integers(0, 1), st.booleans())


@given(
    parts=st.lists(PART, max_size=6),
    whole=st.lists(WHOLE, min_size=1, max_size=5),
    cut=st.integers(0, 9),
)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
def test_the_sums_with_split_rows_are_the_sums_without(
    tmp_path: Path,
    parts: list[tuple[float, float, str | None, int]],
    whole: list[tuple[float, str, int, bool]],
    cut: int,
) -> None:
    bill = [
        node("SavingsPlanCoveredUsage" if plan else "Usage", cost, resource_id=name, savings_plan_savings_plan_effective_cost=cost / 2, usage_start_date=START + timedelta(hours=hour))
        for cost, name, hour, plan in whole
    ]  # fmt: skip
    pods = [
        pod(f"p{k}", cost, unused, node=name, unblended=0.0, usage_start_date=START + timedelta(hours=hour))
        for k, (cost, unused, name, hour) in enumerate(parts)
    ]  # fmt: skip
    rows = bill + pods
    files = [one for one in (rows[:cut], rows[cut:]) if one]
    assert totals(reduced(tmp_path, *files)[0]) == totals(reduced(tmp_path, bill)[0])


def test_ingest_splits_a_bill_and_says_what_is_odd(tmp_path: Path) -> None:
    (tmp_path / "costwhy.toml").write_text(
        '[workspace]\nname = "acme"\ncurrency = "USD"\n[[cost]]\nformat = "cur"\npath = "billing/"\n'
    )
    (tmp_path / "billing").mkdir()
    rows = [node(), pod("web", 0.6), pod("lost", 0.7, node="i-other"), item("NewThing", 5.0)]
    tags: Item = {"resource_tags_user_service": "web"}
    files = [rows[:1] + rows[3:], [{**rows[1], **tags}, rows[2]]]
    columns = dict.fromkeys(name for one in files for row in one for name in row)
    for k, one in enumerate(files):
        write(tmp_path / "billing", [{**columns, **row} for row in one], "legacy.parquet", f"f-{k}")
    report = ingest(read_workspace(tmp_path))
    lake = open_lake(tmp_path)
    cost = lake.table("hourly").join(lake.table("series"), on="series_id")
    web = cost.filter(pl.col("service") == "web")
    assert (cost["EffectiveCost"].sum(), cost["BilledCost"].sum()) == (6.0, 6.0)
    assert web["EffectiveCost"].sum() == pytest.approx(0.6), "a pod's cost has its own service"
    said = "\n".join(report.messages)
    assert "line item type NewThing is not known: as billed: 1 row, $5.00" in said
    assert "1 instance of pods or tasks is not in the bill: their split cost of $0.70" in said
