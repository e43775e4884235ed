"""Signals from CloudWatch: ListMetrics finds the series of the presets, GetMetricData gives their hours.

A call may name 500 series and give 100,800 points: eight days of hours. The service of a series is what the tags of its
resource say, else the resource's own name. Where two presets know the same of one service (a load balancer and the function
behind it see the same requests), the first one counts. Source: AWS, *GetMetricData*.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from costwhy.errors import UnreachableError
from costwhy.remote import aws
from costwhy.sources import aws_tags
from costwhy.sources.aws_days import Request, days_of, of_day
from costwhy.sources.intake import clean, fit, to_text
from costwhy.sources.reading import Reading
from costwhy.sources.signals.cloudwatch_presets import PRESETS, USUAL, Measure, Series
from costwhy.tables import SEEN, SET_ASIDE, SIGNALS

CALLS = ("cloudwatch:ListMetrics", "cloudwatch:GetMetricData", "tag:GetResources")
MOST_DAYS = 455
USUAL_DAYS = 14
MOST_SERIES = 500
DAYS_A_CALL = 8  # 500 series x 24 hours x 8 days = 96,000 points
_KEY = ("hour", "service", "caller", "metric")
_BROKEN = ("InternalError", "Forbidden")


@dataclass(frozen=True)
class Found:
    """One series that CloudWatch has, and what it is to us."""

    service: str
    caller: str | None
    measure: Measure
    query: Mapping[str, Any]


def read(request: Request) -> Iterator[tuple[date, Reading]]:
    """Each day with its signals, as `signals.read` gives them. Raises UnreachableError where CloudWatch does not answer."""
    if not request.days:
        return
    client = aws.client("cloudwatch", request.region)
    try:
        found = find_series(client, request)
        for start, end in request.windows(DAYS_A_CALL):
            reading = _reading(_points(client, found, start, end.replace(minute=0, second=0, microsecond=0)))
            for day in days_of(start, end):
                yield day, of_day(reading, day, "hour")
    except aws.FAULTS as error:
        raise aws.unreachable(f"CloudWatch in {request.region} could not be read", error) from None


# ---------------------------------------------------------------- which series


def find_series(client: Any, request: Request) -> list[Found]:
    """The series of the presets that CloudWatch has, each service's metric from the first preset that knows it."""
    presets = request.presets or USUAL
    kinds = [series.resource[0] for preset in presets for series in PRESETS[preset] if series.resource]
    tags = aws_tags.read(request.region, kinds) if kinds else {}
    listed = (
        (preset, one) for preset in presets for series in PRESETS[preset] for one in _of_series(client, series, tags, request.service_tags)
    )
    first: dict[tuple[str, str], str] = {}
    return [one for preset, one in listed if first.setdefault((one.service, one.measure.becomes), preset) == preset]


def _of_series(client: Any, series: Series, tags: Mapping[tuple[str, str], Mapping[str, str]], names: Sequence[str]) -> Iterator[Found]:
    for metric in dict.fromkeys(measure.metric for measure in series.measures):
        for page in client.get_paginator("list_metrics").paginate(Namespace=series.namespace, MetricName=metric):
            for listed in page.get("Metrics", []):
                values = {d["Name"]: d["Value"] for d in listed.get("Dimensions", [])}
                if values.keys() == set(series.dimensions):
                    yield from _found(series, metric, values, tags, names)


def _found(
    series: Series, metric: str, values: Mapping[str, str], tags: Mapping[tuple[str, str], Mapping[str, str]], names: Sequence[str]
) -> Iterator[Found]:
    resource = series.resource and (series.resource[0], series.resource[1].format_map(values))
    tagged = aws_tags.service_of(tags.get(resource, {}), names) if resource else None
    service = tagged or own_name(values[series.service])
    caller = to_text(values[series.caller]) if series.caller else None
    dimensions = [{"Name": name, "Value": value} for name, value in sorted(values.items())]
    for measure in series.measures:
        if service and measure.metric == metric:
            stated = {"Namespace": series.namespace, "MetricName": metric, "Dimensions": dimensions}
            yield Found(service, caller, measure, {"Metric": stated, "Period": 3600, "Stat": measure.statistic})


def own_name(value: str) -> str | None:
    """The name within a dimension's value: app/front-door/50dc6c495c0c9188 -> front-door."""
    parts = value.split("/")
    return to_text(parts[1] if len(parts) == 3 else value)


# ---------------------------------------------------------------- their hours


def _points(client: Any, found: Sequence[Found], start: datetime, end: datetime) -> list[tuple[datetime, str, str | None, str, float]]:
    """Hour, service, caller, metric and value of every point in [start, end)."""
    rows: list[tuple[datetime, str, str | None, str, float]] = []
    if start >= end:
        return rows
    for first in range(0, len(found), MOST_SERIES):
        batch = found[first : first + MOST_SERIES]
        queries = [{"Id": f"m{n}", "MetricStat": one.query, "ReturnData": True} for n, one in enumerate(batch)]
        pages = client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries, StartTime=start, EndTime=end, ScanBy="TimestampAscending"
        )
        newest: dict[str, Mapping[str, Any]] = {}
        for page in pages:
            for result in page["MetricDataResults"]:
                one = batch[int(result["Id"][1:])]
                _refuse_broken(result, _BROKEN)
                newest[result["Id"]] = result
                points = zip(result["Timestamps"], result["Values"], strict=True)
                rows += [(time, one.service, one.caller, one.measure.becomes, value * one.measure.scale) for time, value in points]
        for result in newest.values():  # partial is what more pages complete: there are none
            _refuse_broken(result, (*_BROKEN, "PartialData"))
    return rows


def _refuse_broken(result: Mapping[str, Any], broken: Sequence[str]) -> None:
    """A series that CloudWatch could not give would look like a service that fell silent."""
    if result.get("StatusCode") in broken:
        said = "; ".join(str(message.get("Value", "")) for message in result.get("Messages", []))
        raise UnreachableError(
            f"CloudWatch could not give {clean(str(result.get('Label')), 200)}",
            found=clean(f"{result['StatusCode']} {said}".strip(), 300),
            todo="see whether CloudWatch is up and the policy allows it (docs/aws.md), and run it again",
        )


def _reading(points: Sequence[tuple[datetime, str, str | None, str, float]]) -> Reading:
    """Series of one service added up; where a part is taken off (deliveries less deletions) no less than nothing is left."""
    schema = {name: SIGNALS.schema[name] for name in (*_KEY, "value")}
    frame = pl.DataFrame(points, schema=schema, orient="row").filter(pl.col("value").is_finite())
    sums = frame.group_by(_KEY).agg(pl.col("value").sum().clip(0), buckets=pl.lit(1, SIGNALS.schema["buckets"])).sort(_KEY)
    seen = sums.group_by("hour").agg(records=pl.len().cast(SEEN.schema["records"])).sort("hour")
    seen = seen.select(source=pl.lit("signals"), account=pl.lit(None, pl.String), hour="hour", records="records")
    return Reading(sums, fit(SET_ASIDE, []), seen)
