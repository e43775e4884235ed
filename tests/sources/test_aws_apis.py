"""What AWS answers itself becomes the same rows as the files, by day, within the limits, under the least policy."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import msgspec
import polars as pl
import pytest
from aws_on_loopback import (
    KEY_ID,
    REGION,
    SECRET,
    assert_nothing_planted,
    bucket,
    moto_server,
    upload,
    usual_configuration,
)
from botocore.stub import ANY, Stubber
from places import ROOT, SAMPLE
from polars.testing import assert_frame_equal

from costwhy.case.investigate import explain
from costwhy.config import read_workspace
from costwhy.errors import ConfigError, SourceError, UnreachableError
from costwhy.ingest.batch import IngestReport
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import has_lake, open_lake
from costwhy.remote import aws
from costwhy.sources import s3_mirror
from costwhy.sources.changes import autoscaling, cloudtrail
from costwhy.sources.format import Request
from costwhy.sources.signals import cloudwatch, long_table, metrics, xray
from costwhy.sources.signals.cloudwatch_presets import PRESETS
from costwhy.sources.wrappings import read_records

DAY = date(2026, 10, 14)
MIDNIGHT = datetime(2026, 10, 14, tzinfo=UTC)
NOW = MIDNIGHT + timedelta(hours=20, minutes=30)
HOUR = timedelta(hours=1)
IAM = {
    "monitoring": "cloudwatch",
    "tagging": "tag",
}  # where IAM has another name than the signature
ACTIONS = {"ListObjectsV2": "ListBucket"}


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usual_configuration(monkeypatch, tmp_path)
    monkeypatch.setattr(cloudtrail, "PER_SECOND", 1e9)


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """moto's address."""
    with moto_server(monkeypatch, tmp_path) as address:
        yield address


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Stubber]]:
    """A stubbed client for each service; at the end every answer must have been asked for."""
    made: dict[str, Stubber] = {}
    for service in ("cloudtrail", "xray", "autoscaling", "application-autoscaling", "cloudwatch"):
        made[service] = Stubber(boto3.client(service, region_name=REGION))
        made[service].activate()
    monkeypatch.setattr(aws, "client", lambda service, _region=None: made[service].client)
    yield made
    for stub in made.values():
        stub.assert_no_pending_responses()


def request(*days: date, until: datetime = NOW) -> Request:
    return Request(REGION, days or (DAY,), until)


# ---------------------------------------------------------------- CloudTrail


def record(identity: str, time: datetime, **more: Any) -> dict[str, Any]:
    return {
        "eventVersion": "1.11", "eventID": identity, "eventTime": f"{time:%Y-%m-%dT%H:%M:%SZ}", "eventName": "UpdateFunctionCode20150331v2",
        "eventSource": "lambda.amazonaws.com", "awsRegion": REGION, "readOnly": False, "recipientAccountId": "111",
        "userIdentity": {"type": "AssumedRole", "arn": "arn:aws:sts::111:assumed-role/AWSReservedSSO_dev/dana@acme.example"},
        "requestParameters": {"functionName": "resize"},
    } | more  # fmt: skip


def event(text: str) -> dict[str, Any]:
    return {"EventId": "e", "CloudTrailEvent": text}


def test_looked_up_events_become_the_rows_of_the_log_files(
    stubs: dict[str, Stubber], tmp_path: Path
) -> None:
    records = [
        record("e1", MIDNIGHT + HOUR),
        record("e2", MIDNIGHT + 2 * HOUR, readOnly=True),
        record("e3", NOW, errorCode="AccessDenied"),
    ]
    pages = [[json.dumps(r) for r in records[:2]], [json.dumps(records[2]), "{broken"]]
    stub = stubs["cloudtrail"]
    asked = {"StartTime": MIDNIGHT, "EndTime": NOW - timedelta(seconds=1), "MaxResults": 50}
    stub.add_response(
        "lookup_events", {"Events": [event(t) for t in pages[0]], "NextToken": "more"}, asked
    )
    stub.add_response(
        "lookup_events", {"Events": [event(t) for t in pages[1]]}, asked | {"NextToken": "more"}
    )
    ((day, reading),) = cloudtrail.read_api(request())
    log = tmp_path / "log.json"
    log.write_text(json.dumps({"Records": records}))
    same = cloudtrail.read([log])
    assert day == DAY
    assert reading.rows["change_id"].to_list() == ["e1"]
    assert_frame_equal(reading.rows, same.rows)
    assert_frame_equal(reading.seen, same.seen.filter(pl.col("hour") < NOW))
    assert reading.set_aside.select("file", "place").rows() == [
        ("CloudTrail eu-west-1 2026-10-14", "event 4")
    ]


def test_an_event_counts_on_its_own_day_only(stubs: dict[str, Stubber]) -> None:
    late = json.dumps(
        record("e9", MIDNIGHT + timedelta(days=1))
    )  # a second after the end that was asked for
    stubs["cloudtrail"].add_response(
        "lookup_events",
        {"Events": [event(late)]},
        {"StartTime": ANY, "EndTime": ANY, "MaxResults": 50},
    )
    ((_, reading),) = cloudtrail.read_api(request(until=MIDNIGHT + timedelta(days=2)))
    assert reading.rows.height == reading.seen.height == 0


def test_cloudtrail_is_asked_no_more_than_twice_a_second(
    stubs: dict[str, Stubber], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, starts = [100.0], []

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        starts.append(clock[0])

    monkeypatch.setattr(
        cloudtrail, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0])
    )
    monkeypatch.setattr(cloudtrail, "PER_SECOND", 2)
    for n in range(5):
        answer: dict[str, Any] = {"Events": []} | ({"NextToken": f"{n}"} if n < 4 else {})
        stubs["cloudtrail"].add_response("lookup_events", answer)
    list(cloudtrail.read_api(request()))
    assert [b - a for a, b in pairwise(starts)][:4] == [0.5] * 4


# ---------------------------------------------------------------- scaling activities


def activity(identity: str, time: datetime, **more: Any) -> dict[str, Any]:
    cause = "At 2026-10-14T03:00:00Z a monitor alarm cpu-high triggered policy web-cpu changing the desired capacity from 2 to 3."
    return {
        "ActivityId": identity,
        "AutoScalingGroupName": "web-nodes",
        "Cause": cause,
        "StartTime": time,
        "StatusCode": "Successful",
    } | more


def test_scaling_activities_become_the_rows_of_the_files(
    stubs: dict[str, Stubber], tmp_path: Path
) -> None:
    arn = "arn:aws:autoscaling:eu-west-1:111:autoScalingGroup:uuid:autoScalingGroupName/web-nodes"
    group = activity("a1", MIDNIGHT + HOUR, AutoScalingGroupARN=arn)
    before = activity("a0", MIDNIGHT - HOUR)
    task = {
        "ActivityId": "b1", "ServiceNamespace": "ecs", "ResourceId": "service/prod/cart", "ScalableDimension": "ecs:service:DesiredCount",
        "Description": "Setting desired count to 9.", "Cause": "monitor alarm", "StartTime": MIDNIGHT + 2 * HOUR, "StatusCode": "Successful",
    }  # fmt: skip
    stubs["autoscaling"].add_response(
        "describe_scaling_activities",
        {"Activities": [group, before], "NextToken": "more"},
        {"IncludeDeletedGroups": True},
    )
    stubs["autoscaling"].add_response(
        "describe_scaling_activities",
        {"Activities": [before], "NextToken": "never asked for: all of it is too old"},
        {"IncludeDeletedGroups": True, "NextToken": "more"},
    )
    for name in autoscaling.NAMESPACES:
        answer = {"ScalingActivities": [task] if name == "ecs" else []}
        stubs["application-autoscaling"].add_response(
            "describe_scaling_activities", answer, {"ServiceNamespace": name}
        )
    ((_, reading),) = autoscaling.read_api(request())
    file = tmp_path / "a.json"
    file.write_bytes(msgspec.json.encode({"Activities": [group], "ScalingActivities": [task]}))
    assert_frame_equal(reading.rows, autoscaling.read([file]).rows)
    assert reading.rows.select("change_id", "service", "account", "region").rows() == [
        ("a1", None, "111", REGION),
        ("b1", "cart", None, None),
    ]
    assert reading.rows["time"].to_list() == [MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR]


# ---------------------------------------------------------------- X-Ray


def edge(reference: int, calls: int, errors: int = 0, faults: int = 0) -> dict[str, Any]:
    summary = {
        "TotalCount": calls,
        "ErrorStatistics": {"TotalCount": errors},
        "FaultStatistics": {"TotalCount": faults},
    }
    return {"ReferenceId": reference, "SummaryStatistics": summary}


def test_the_service_graph_becomes_calls_and_errors_on_edges(stubs: dict[str, Stubber]) -> None:
    """client -> cart (100, 3 failed), cart -> stock (50 + 7), cart -> cart (its own two nodes) is no call."""
    nodes = [
        {"ReferenceId": 0, "Type": "client", "Name": "cart", "Edges": [edge(1, 100, 1, 2)]},
        {
            "ReferenceId": 1,
            "Type": "AWS::Lambda",
            "Name": "cart",
            "Edges": [edge(2, 100), edge(3, 50)],
        },
        {
            "ReferenceId": 2,
            "Type": "AWS::Lambda::Function",
            "Name": "cart",
            "Edges": [edge(3, 7, 1)],
        },
        {"ReferenceId": 3, "Type": "AWS::ECS::Container", "Name": "stock", "Edges": []},
    ]
    for hour in range(3):  # 00:00 to 02:30
        window = {
            "StartTime": MIDNIGHT + hour * HOUR,
            "EndTime": min(MIDNIGHT + (hour + 1) * HOUR, MIDNIGHT + 2.5 * HOUR),
        }
        stubs["xray"].add_response(
            "get_service_graph",
            {"Services": nodes[:2] if hour == 1 else [], "NextToken": "t"},
            window,
        )
        stubs["xray"].add_response(
            "get_service_graph",
            {"Services": nodes[2:] if hour == 1 else []},
            window | {"NextToken": "t"},
        )
    ((_, reading),) = xray.read(request(until=MIDNIGHT + 2.5 * HOUR))
    assert reading.rows.drop("buckets").rows() == [
        (MIDNIGHT + HOUR, "cart", None, "calls", 100.0),
        (MIDNIGHT + HOUR, "stock", "cart", "calls", 57.0),
        (MIDNIGHT + HOUR, "cart", None, "errors", 3.0),
        (MIDNIGHT + HOUR, "stock", "cart", "errors", 1.0),
    ]
    assert reading.seen.select("source", "hour", "records").rows() == [
        ("signals", MIDNIGHT + HOUR, 4)
    ]


# ---------------------------------------------------------------- CloudWatch and tags


def put(namespace: str, metric: str, values: dict[int, float], **dimensions: str) -> None:
    """Values by hour of the day."""
    named = [{"Name": name, "Value": value} for name, value in dimensions.items()]
    data = [
        {
            "MetricName": metric,
            "Dimensions": named,
            "Timestamp": MIDNIGHT + n * HOUR,
            "Value": value,
        }
        for n, value in values.items()
    ]
    boto3.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=data)


@pytest.mark.usefixtures("moto")
def test_metrics_become_signals_of_the_service_that_the_tags_name() -> None:
    """Queue `orders` is tagged service=checkout, queue `mail` has no tag: it is its own name. Retries: received less deleted."""
    sqs = boto3.client("sqs")
    sqs.create_queue(QueueName="orders", tags={"app": "wrong one", "service": "checkout"})
    sqs.create_queue(QueueName="mail", tags={"colour": "blue"})
    for queue, received in (("orders", 10.0), ("mail", 4.0)):
        put("AWS/SQS", "NumberOfMessagesReceived", {3: received, 4: received}, QueueName=queue)
        put(
            "AWS/SQS",
            "NumberOfMessagesDeleted",
            {3: received - 3, 4: received + 1},
            QueueName=queue,
        )
    put("AWS/SQS", "NumberOfMessagesReceived", {3: 99.0}, QueueName="orders", Other="dimension")
    ((_, reading),) = cloudwatch.read(request(), ("sqs",), ("service", "app"))
    assert reading.rows.columns == long_table.read([]).rows.columns
    got = {
        (hour.hour, service, metric): value
        for hour, service, _, metric, value, _ in reading.rows.rows()
    }
    assert got == {
        (3, "checkout", "calls"): 10, (3, "checkout", "retries"): 3, (4, "checkout", "calls"): 10, (4, "checkout", "retries"): 0,
        (3, "mail", "calls"): 4, (3, "mail", "retries"): 3, (4, "mail", "calls"): 4, (4, "mail", "retries"): 0,
    }  # fmt: skip
    assert reading.seen.select("hour", "records").rows() == [
        (MIDNIGHT + 3 * HOUR, 4),
        (MIDNIGHT + 4 * HOUR, 4),
    ]


@pytest.mark.usefixtures("moto")
def test_the_same_requests_under_two_presets_count_once() -> None:
    """The load balancer counts 100, the function behind it 98: the first preset in the list counts, here the balancer."""
    put(
        "AWS/ApplicationELB",
        "RequestCount",
        {3: 100.0},
        LoadBalancer="app/front/1f",
        TargetGroup="targetgroup/resize/2e",
    )
    put("AWS/Lambda", "Invocations", {3: 98.0}, FunctionName="resize")
    put("AWS/Lambda", "ConcurrentExecutions", {3: 5.0}, FunctionName="resize")
    for presets, calls in ((("alb", "lambda"), 100.0), (("lambda", "alb"), 98.0)):
        ((_, reading),) = cloudwatch.read(request(), presets, ("service",))
        assert reading.rows.select("service", "metric", "value").rows() == [
            ("resize", "calls", calls),
            ("resize", "capacity", 5.0),
        ]


@pytest.mark.usefixtures("moto")
def test_applications_may_name_caller_and_retries_themselves() -> None:
    put("costwhy", "calls", {3: 7.0}, service="stock", caller="cart")
    put("costwhy", "retries", {3: 2.0}, service="stock", caller="schedule:nightly")
    put("costwhy", "calls", {3: 5.0, 20: 1.0}, service="cart")  # 20:30 is now: the hour is not over
    ((_, reading),) = cloudwatch.read(request(), ("costwhy",))
    assert reading.rows.select("service", "caller", "metric", "value").rows() == [
        ("cart", None, "calls", 5.0),
        ("stock", "cart", "calls", 7.0),
        ("stock", "schedule:nightly", "retries", 2.0),
    ]


@pytest.mark.usefixtures("moto")
def test_tags_are_found_by_the_last_part_of_an_arn() -> None:
    boto3.client("dynamodb").create_table(
        TableName="carts", KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}], Tags=[{"Key": "app", "Value": "cart"}],
    )  # fmt: skip
    tags = cloudwatch.read_tags(REGION, ["dynamodb", "sqs"])
    assert tags == {("dynamodb", "table/carts"): {"app": "cart"}}
    assert cloudwatch.service_of(tags["dynamodb", "table/carts"], ("service", "app")) == "cart"
    assert cloudwatch.resource_of("arn:aws:lambda:eu-west-1:111:function:a") == (
        "lambda",
        "function:a",
    )


def test_a_call_asks_for_500_series_and_100800_points_at_most(stubs: dict[str, Stubber]) -> None:
    """1,001 series over 20 days: batches of 500, 500, 1 in windows of 8, 8 and 4 days; 500 x 24 x 8 = 96,000 points."""
    names = [[{"Name": "service", "Value": f"s{n}"}] for n in range(1001)]
    stub = stubs["cloudwatch"]
    measures = [m.metric for series in PRESETS["costwhy"] for m in series.measures]
    for n, metric in enumerate(measures):
        found = (
            [{"Namespace": "costwhy", "MetricName": metric, "Dimensions": d} for d in names]
            if n == 5
            else []
        )
        stub.add_response(
            "list_metrics", {"Metrics": found}, {"Namespace": "costwhy", "MetricName": metric}
        )
    asked: list[tuple[int, float]] = []

    def note(params: dict[str, Any], **_: object) -> None:
        asked.append(
            (len(params["MetricDataQueries"]), (params["EndTime"] - params["StartTime"]) / HOUR)
        )

    stub.client.meta.events.register("provide-client-params.cloudwatch.GetMetricData", note)
    for _ in range(9):
        stub.add_response("get_metric_data", {"MetricDataResults": []})
    days = tuple(DAY - timedelta(days=n) for n in range(1, 21))
    read = list(cloudwatch.read(request(*days), ("costwhy",)))
    assert [day for day, _ in read] == sorted(days)
    assert asked == [(count, hours) for hours in (192, 192, 96) for count in (500, 500, 1)]
    assert max(count * hours for count, hours in asked) <= 100_800


def test_a_series_that_cloudwatch_could_not_give_is_an_error_not_silence(
    stubs: dict[str, Stubber],
) -> None:
    stub = stubs["cloudwatch"]
    series = [
        {
            "Namespace": "costwhy",
            "MetricName": "calls",
            "Dimensions": [{"Name": "service", "Value": "a"}],
        }
    ]
    for n in range(10):
        stub.add_response("list_metrics", {"Metrics": series if n == 5 else []})
    result = {
        "Id": "m0",
        "Label": "calls",
        "Timestamps": [],
        "Values": [],
        "StatusCode": "InternalError",
    }
    stub.add_response("get_metric_data", {"MetricDataResults": [result]})
    with pytest.raises(UnreachableError, match="could not give calls"):
        list(cloudwatch.read(request(), ("costwhy",)))


@pytest.mark.parametrize(("last", "values"), [("Complete", [3.0, 4.0]), ("PartialData", None)])
def test_partial_data_is_completed_by_more_pages_or_is_an_error(
    last: str, values: list[float] | None, stubs: dict[str, Stubber]
) -> None:
    stub, hour = stubs["cloudwatch"], timedelta(hours=1)
    series = [
        {
            "Namespace": "costwhy",
            "MetricName": "calls",
            "Dimensions": [{"Name": "service", "Value": "a"}],
        }
    ]
    for n in range(10):
        stub.add_response("list_metrics", {"Metrics": series if n == 5 else []})
    asked = request()
    start = datetime.combine(asked.days[0], datetime.min.time(), UTC)
    result = {
        "Id": "m0",
        "Label": "calls",
        "Timestamps": [start],
        "Values": [3.0],
        "StatusCode": "PartialData",
    }
    more = result | {"Timestamps": [start + hour], "Values": [4.0], "StatusCode": last}
    stub.add_response("get_metric_data", {"MetricDataResults": [result], "NextToken": "more"})
    stub.add_response("get_metric_data", {"MetricDataResults": [more]})
    if values is None:
        with pytest.raises(UnreachableError, match=r"could not give calls\nFound: PartialData"):
            list(cloudwatch.read(asked, ("costwhy",)))
    else:
        assert (
            next(iter(cloudwatch.read(asked, ("costwhy",))))[1].rows.sort("hour")["value"].to_list()
            == values
        )


def test_every_preset_names_dimensions_that_it_has() -> None:
    for preset in PRESETS.values():
        for series in preset:
            assert series.service in series.dimensions
            assert not series.caller or series.caller in series.dimensions
            assert {m.becomes for m in series.measures} <= set(metrics.METRICS)
            if series.resource:
                assert "{" not in series.resource[1].format_map(
                    dict.fromkeys(series.dimensions, "x")
                )


# ---------------------------------------------------------------- a company whose AWS answers


@dataclass
class Company:
    """The sample company behind AWS's APIs: botocore checks what is asked, and the answers come from its files."""

    records: list[dict[str, Any]] = field(default_factory=list)
    series: dict[tuple[str, str, str | None], list[tuple[datetime, float]]] = field(
        default_factory=dict
    )
    asked: list[tuple[str, str, datetime | None]] = field(
        default_factory=list
    )  # region, operation, start
    down: Callable[[str, str], bool] = lambda _service, _region: False

    def client(self, service: str, region: str | None = None) -> Any:
        """A real client whose requests are answered here."""
        client = boto3.client(service, region_name=region, config=aws.CONFIG)
        held: dict[str, Any] = {}
        client.meta.events.register(
            "provide-client-params", lambda params, **_: held.update(params=dict(params))
        )
        client.meta.events.register(
            "before-call",
            lambda model, **_: self.answer(service, region or "", model.name, held["params"]),
        )
        return client

    def answer(
        self, service: str, region: str, operation: str, params: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        self.asked.append((region, operation, params.get("StartTime")))
        if self.down(service, region):
            refusal = {
                "Error": {
                    "Code": "AccessDeniedException",
                    "Message": f"{KEY_ID} may not, secret {SECRET}",
                },
                "ResponseMetadata": {},
            }
            return SimpleNamespace(status_code=403), refusal
        return SimpleNamespace(status_code=200), getattr(self, f"_{operation}")(region, params)

    def _LookupEvents(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        first, last = (f"{params[name]:%Y-%m-%dT%H:%M:%SZ}" for name in ("StartTime", "EndTime"))
        inside = [
            r for r in self.records if r["awsRegion"] == region and first <= r["eventTime"] <= last
        ]
        start = int(params.get("NextToken", 0))
        page = {"Events": [event(json.dumps(r)) for r in inside[start : start + 50]]}
        return page | ({"NextToken": str(start + 50)} if start + 50 < len(inside) else {})

    def _ListMetrics(self, _region: str, params: dict[str, Any]) -> dict[str, Any]:
        found = [
            (service, caller)
            for metric, service, caller in self.series
            if metric == params["MetricName"]
        ]
        listed = [
            {"service": service} | ({"caller": caller} if caller else {})
            for service, caller in found
        ]
        named = [[{"Name": name, "Value": value} for name, value in one.items()] for one in listed]
        return {
            "Metrics": [
                {"Namespace": "costwhy", "MetricName": params["MetricName"], "Dimensions": one}
                for one in named
            ]
        }

    def _GetMetricData(self, _region: str, params: dict[str, Any]) -> dict[str, Any]:
        results = []
        for query in params["MetricDataQueries"]:
            metric = query["MetricStat"]["Metric"]
            names = {d["Name"]: d["Value"] for d in metric["Dimensions"]}
            held = self.series[metric["MetricName"], names["service"], names.get("caller")]
            points = [
                (time, value)
                for time, value in held
                if params["StartTime"] <= time < params["EndTime"]
            ]
            columns = {
                "Timestamps": [time for time, _ in points],
                "Values": [value for _, value in points],
            }
            results.append({"Id": query["Id"], "StatusCode": "Complete", **columns})
        return {"MetricDataResults": results}


@pytest.fixture
def company(monkeypatch: pytest.MonkeyPatch) -> Company:
    """One call a day in two regions, and a service with calls in every hour of five days."""
    days = [MIDNIGHT - timedelta(days=n) for n in range(5)]
    records = [
        record(f"{region}-{day:%d}", day + HOUR, awsRegion=region)
        for day in days
        for region in (REGION, "us-east-1")
    ]
    hours = [(day + n * HOUR, 10.0) for day in days for n in range(24)]
    made = Company(records, {("calls", "cart", None): hours})
    monkeypatch.setattr(aws, "client", made.client)
    return made


HEAD = '[workspace]\nname = "acme"\ncurrency = "USD"\n'
BILL = '[[cost]]\nformat = "focus"\npath = "bill.csv"\n'
TRAIL = '[[changes]]\nformat = "cloudtrail"\napi = true\nregions = ["eu-west-1", "us-east-1"]\ndays = 4\n'
METRICS = '[[signals]]\nformat = "cloudwatch"\npresets = ["costwhy"]\ndays = 4\n'


def workspace(folder: Path, *more: str) -> Path:
    head = "ChargePeriodStart,ChargePeriodEnd,BillingPeriodStart,BillingCurrency,EffectiveCost,BilledCost,ServiceName"
    (folder / "bill.csv").write_text(
        f"{head}\n2026-10-14T00:00:00Z,,2026-10-01T00:00:00Z,USD,1,1,Amazon S3\n"
    )
    (folder / "costwhy.toml").write_text(HEAD + "".join(more or (BILL, TRAIL, METRICS)))
    return folder


def run(folder: Path, now: datetime = NOW) -> IngestReport:
    return ingest(read_workspace(folder), now=now)


def test_days_are_deliveries_and_only_new_days_and_the_newest_two_are_asked_again(
    company: Company, tmp_path: Path
) -> None:
    folder = workspace(tmp_path)
    first = run(folder)
    lake = open_lake(folder)
    names = set(lake.table("deliveries")["delivery"]) - {"focus:bill.csv", "focus:bill.csv:2026-10"}
    days = [f"2026-10-{n}" for n in (11, 12, 13, 14)]
    assert names == {f"{source}:{day}" for day in days for source in (
        "cloudtrail:api:eu-west-1", "cloudtrail:api:us-east-1", "cloudwatch:api:eu-west-1")}  # fmt: skip
    assert lake.table("changes").height == 2 * 4
    assert lake.table("signals")["value"].sum() == 10 * (3 * 24 + 20)  # 20:30 is now
    company.asked.clear()
    again = run(folder)
    assert (again.version, again.read) == (first.version, 0), "nothing new, nothing written"
    starts = {
        (region, start.day)
        for region, operation, start in company.asked
        if operation == "LookupEvents" and start
    }
    assert starts == {(region, day) for region in (REGION, "us-east-1") for day in (13, 14)}
    company.asked.clear()
    run(folder, NOW + timedelta(days=2))  # the newest two that were read, and two new ones
    starts = {
        (region, start.day)
        for region, operation, start in company.asked
        if operation == "LookupEvents" and start
    }
    assert starts == {(region, day) for region in (REGION, "us-east-1") for day in (13, 14, 15, 16)}
    assert open_lake(folder).table("signals")["value"].sum() == 10 * 4 * 24
    assert open_lake(folder).table("changes").height == 2 * 4, "what is older than `days` stays"


def test_another_way_to_read_a_day_asks_for_it_again(company: Company, tmp_path: Path) -> None:
    folder = workspace(tmp_path)
    run(folder)
    company.asked.clear()
    workspace(tmp_path, BILL, TRAIL, METRICS, '[mapping]\nservice_tags = ["squad"]\n')
    run(folder)
    starts = {
        start.day for _, operation, start in company.asked if operation == "LookupEvents" and start
    }
    assert starts == {11, 12, 13, 14}


def test_a_region_that_costwhy_toml_no_longer_names_is_left_out(
    company: Company, tmp_path: Path
) -> None:
    assert company.records
    folder = workspace(tmp_path)
    run(folder)
    workspace(tmp_path, BILL, TRAIL.replace(', "us-east-1"', ""), METRICS)
    report = run(folder)
    assert open_lake(folder).table("changes")["region"].unique().to_list() == [REGION]
    assert "4 deliveries left out" in report.messages[-1]


def test_a_source_that_is_down_is_said_and_the_rest_goes_on(
    company: Company, tmp_path: Path
) -> None:
    folder = workspace(tmp_path)
    company.down = lambda service, region: service == "cloudwatch" or region == "us-east-1"
    report = run(folder)
    assert [
        message.split(":")[0] for message in report.messages[:2]
    ] == [  # before what is no fault
        "`changes[0]` could not be reached and stays as it was",
        "`signals[0]` could not be reached and stays as it was",
    ]
    assert "AccessDeniedException" in report.messages[0]
    assert_nothing_planted("".join(report.messages))
    assert open_lake(folder).table("changes")["region"].unique().to_list() == [REGION]
    company.down = lambda _service, _region: False
    assert run(folder).messages == ()
    assert open_lake(folder).table("changes").height == 2 * 4


def test_where_nothing_can_be_reached_it_is_an_error_of_exit_code_4(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.down = lambda _service, _region: True
    monkeypatch.setattr(s3_mirror.aws, "client", company.client)
    folder = workspace(tmp_path, BILL.replace("bill.csv", "s3://some-bucket/x/"), TRAIL, METRICS)
    with pytest.raises(UnreachableError) as caught:
        run(folder)
    assert caught.value.exit_code == 4
    assert_nothing_planted(str(caught.value))
    assert not has_lake(folder)


def test_without_a_region_the_one_of_the_configuration_is_asked(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace(tmp_path, BILL, METRICS)
    run(folder)
    assert {region for region, _, _ in company.asked} == {REGION}
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    before = open_lake(folder).version
    report = run(folder)
    assert "no AWS region is named" in report.messages[0]
    assert open_lake(folder).version == before, "what is there stays"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            TRAIL.replace("eu-west-1", "evil.example/"),
            r"`changes\[0\].regions\[0\]`: Expected `str` matching regex",
        ),
        (TRAIL.replace("days = 4", "days = 91"), r"`changes\[0\].days`: Expected `int` <= 90"),
        (
            METRICS.replace('"costwhy"', '"elb"'),
            r"`signals\[0\].presets\[0\]`: 'elb' is not allowed\nTo do: write one of costwhy, alb",
        ),
        (
            TRAIL + TRAIL,
            r"`changes\[0\]` and `changes\[1\]` name the same\nFound: cloudtrail:api:eu-west-1",
        ),
        (TRAIL + 'path = "x/"\n', r"`changes\[0\].path` and `api` exclude each other"),
        (
            TRAIL.replace('"cloudtrail"', '"cdevents"'),
            r"`changes\[0\].api` is no key here\nTo do: write one of format, path",
        ),
        ('[[changes]]\nformat = "cloudtrail"\n', r"`changes\[0\].path` is missing"),
        (
            '[[changes]]\nformat = "cloudtrail"\npath = "bill.csv"\ndays = 3\n',
            r"`changes\[0\].days` has no meaning for files",
        ),
        (
            '[[changes]]\nformat = "cdevents"\npath = "https://x.example/"\n',
            "only addresses on S3 can be read",
        ),
    ],
)
def test_a_wrong_entry_is_one_clear_error(
    company: Company, tmp_path: Path, more: str, message: str
) -> None:
    assert company.records
    with (
        pytest.raises((ConfigError, SourceError), match=message)
        if "https" not in more
        else pytest.raises(Exception, match=message)
    ):
        run(workspace(tmp_path, BILL, more))
    assert not (tmp_path / "lake").exists()


# ---------------------------------------------------------------- the whole company


def test_s3_and_the_apis_give_the_same_answers_as_the_files(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sample company twice: all in files; bills, events and catalogues on S3, CloudTrail and signals from the APIs.

    Log files say in their name when they were delivered, LookupEvents does not: in the first folder the names say nothing.
    """
    assert moto
    plain, asked = tmp_path / "files" / "marigold", tmp_path / "apis" / "marigold"
    shutil.copytree(SAMPLE, plain, ignore=shutil.ignore_patterns("lake"))
    logs = sorted((plain / "cloudtrail").rglob("*.json.gz"))
    for n, log in enumerate(logs):
        log.rename(log.with_name(f"{n}.json.gz"))
    made = Company()
    places = sorted((plain / "cloudtrail").rglob("*.json.gz"))
    made.records = [
        json.loads(bytes(raw))
        for file in places
        for _, raw in read_records(file, ("eventTime", "eventName"))
    ]
    table = pl.concat([pl.read_parquet(f) for f in sorted((plain / "signals").glob("*.parquet"))])
    for time, service, caller, metric, value in table.select(
        "time", "service", "caller", "metric", "value"
    ).iter_rows():
        made.series.setdefault((metric, service, caller), []).append((time, value))

    upload(bucket("marigold"), "marigold", plain, "acme/")
    regions = sorted({r["awsRegion"] for r in made.records})
    text = (SAMPLE / "costwhy.toml").read_text().replace('path = "', 'path = "s3://marigold/acme/')
    text = text.replace('"s3://marigold/acme/lake"', '"lake"')
    text = text.replace(
        'path = "s3://marigold/acme/cloudtrail/"',
        f"api = true\ndays = 60\nregions = {json.dumps(regions)}",
    )
    text = text.replace(
        'format = "signals"\npath = "s3://marigold/acme/signals/"',
        'format = "cloudwatch"\npresets = ["costwhy"]\ndays = 60',
    )
    asked.mkdir(parents=True)
    (asked / "costwhy.toml").write_text(text)
    real = aws.client
    monkeypatch.setattr(
        aws,
        "client",
        lambda service, region=None: (real if service == "s3" else made.client)(service, region),
    )

    end = datetime.fromisoformat(max(r["eventTime"] for r in made.records)) + HOUR
    ingest(read_workspace(plain))
    report = ingest(read_workspace(asked), now=end)
    [fees] = report.messages
    assert "longer than a day count in equal parts over their hours: 3 rows" in fees
    for name, key in (
        ("signals", ["hour", "service", "caller", "metric"]),
        ("changes", ["change_id", "source"]),
    ):
        one, other = (
            open_lake(folder).table(name).drop("delivery").sort(key) for folder in (plain, asked)
        )
        assert_frame_equal(one, other)
    assert json.dumps(explain(open_lake(asked)), sort_keys=True) == json.dumps(
        explain(open_lake(plain)), sort_keys=True
    )
    for file in (f for f in asked.rglob("*") if f.is_file()):
        assert_nothing_planted(file.read_bytes().decode("latin-1"))


# ---------------------------------------------------------------- the least policy


def policies() -> dict[str, set[str]]:
    """Actions of every source's policy in docs/aws.md, by the beginning of its Sid; the lake's is tested with the lake."""
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "aws.md").read_text(), re.DOTALL)
    found: dict[str, set[str]] = {}
    for statement in (s for block in blocks for s in json.loads(block)["Statement"]):
        actions = statement["Action"]
        name = re.match(r"Costwhy(S3|Lake|[A-Za-z]+)", statement["Sid"])
        assert name, statement
        assert statement["Effect"] == "Allow"
        found.setdefault(name[1], set()).update([actions] if isinstance(actions, str) else actions)
    return found


def test_each_policy_allows_the_calls_that_are_made_and_no_other(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert moto
    made: set[str] = set()
    real = aws.client

    def watched(service: str, region: str | None = None) -> Any:
        client = real(service, region)

        def note(model: Any, **_: object) -> None:
            name = model.service_model.signing_name
            made.add(f"{IAM.get(name, name)}:{ACTIONS.get(model.name, model.name)}")

        client.meta.events.register("before-parameter-build", note)
        if service in {
            "cloudtrail",
            "application-autoscaling",
        }:  # moto has no LookupEvents, and activities of groups only
            client.meta.events.register(
                "before-call", lambda **_: (SimpleNamespace(status_code=200), {})
            )
        return client

    bucket(
        "least",
        **{
            "a/data/BILLING_PERIOD=2026-10/x.csv": b"x",
            "a/metadata/BILLING_PERIOD=2026-10/x-Manifest.json": b"{}",
        },
    )
    put("AWS/SQS", "NumberOfMessagesReceived", {3: 1.0}, QueueName="orders")
    monkeypatch.setattr(aws, "client", watched)
    calls: dict[str, set[str]] = {}
    s3_mirror.mirror("s3://least/a", tmp_path / "mirror")
    calls["S3"], made = made, set()
    modules = {
        "CloudTrail": cloudtrail,
        "AutoScaling": autoscaling,
        "CloudWatch": cloudwatch,
        "XRay": xray,
    }
    for name, module in modules.items():
        list(getattr(module, "read_api", module.read)(request()))
        assert made == set(module.CALLS)
        calls[name], made = made, set()
    allowed = policies()
    allowed.pop("Lake")
    assert calls == allowed
