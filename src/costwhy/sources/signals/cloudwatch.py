"""Signals from CloudWatch: ListMetrics finds the series of the presets, GetMetricData their hours.

A call may name 500 series and give 100,800 points: eight days of hours. The service of a series is
what the tags of its resource say, else the resource's own name. Where two presets know the same of
one service (a load balancer and the function behind it count the same requests), the first one
counts. Source: AWS, *GetMetricData*.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
import polars as pl

from costwhy.errors import UnreachableError
from costwhy.remote import aws
from costwhy.sources.format import (
    USUAL_DAYS,
    Region,
    Request,
    SourceConfig,
    begin,
    by_region,
    of_day,
    whole_hour,
)
from costwhy.sources.reading import Reading, clean, fit, to_text
from costwhy.sources.signals.cloudwatch_presets import PRESETS, USUAL, Measure, Series
from costwhy.sources.signals.metrics import KEY, signals_format
from costwhy.tables import COUNT, SEEN, SET_ASIDE, SIGNALS

CALLS = ("cloudwatch:ListMetrics", "cloudwatch:GetMetricData", "tag:GetResources")
MOST_SERIES = 500
DAYS_A_CALL = 8  # 500 series x 24 hours x 8 days = 96,000 points
_BROKEN = ("InternalError", "Forbidden")


@dataclass(frozen=True)
class Found:
    """One series that CloudWatch has, and what it is to us."""

    service: str
    caller: str | None
    measure: Measure
    query: Mapping[str, Any]


class Config(SourceConfig, frozen=True, kw_only=True):
    """Metrics of AWS CloudWatch in each of `regions`, for the last `days`; docs/aws.md.

    presets: which metrics count, first ones first; none: all of them
    """

    regions: tuple[Region, ...] = ()
    days: Annotated[int, msgspec.Meta(ge=1, le=455)] = USUAL_DAYS
    presets: tuple[
        Literal["costwhy", "alb", "apigateway", "lambda", "sqs", "dynamodb", "nat", "ecs", "ec2"],
        ...,
    ] = ()


def read(
    request: Request, presets: Sequence[str] = (), service_tags: Sequence[str] = ()
) -> Iterator[tuple[date, Reading]]:
    """Each day with its signals. Raises UnreachableError where CloudWatch does not answer."""
    region = request.place
    client = aws.client("cloudwatch", region)
    try:
        found = find_series(client, region, presets or USUAL, service_tags)
        for start, end in request.windows(DAYS_A_CALL):
            reading = _reading(_points(client, found, start, whole_hour(end)))
            for day in sorted(request.days):
                if start <= begin(day) < end:
                    yield day, of_day(reading, day, "hour")
    except aws.FAULTS as error:
        raise aws.unreachable(f"CloudWatch in {region} could not be read", error) from None


# ---------------------------------------------------------------- which series


# Of a resource: the service and the last part of its ARN, `("sqs", "orders")`
Tags = Mapping[tuple[str, str], Mapping[str, str]]


def find_series(
    client: Any, region: str, presets: Sequence[str], service_tags: Sequence[str]
) -> list[Found]:
    """The series of the presets that CloudWatch has.

    Each metric of a service comes from the first preset that knows it.
    """
    wanted = [(preset, series) for preset in presets for series in PRESETS[preset]]
    kinds = [series.resource[0] for _, series in wanted if series.resource]
    tags = read_tags(region, kinds) if kinds else {}
    first: dict[tuple[str, str], str] = {}
    return [
        one
        for preset, series in wanted
        for one in _of_series(client, series, tags, service_tags)
        if first.setdefault((one.service, one.measure.becomes), preset) == preset
    ]


def _of_series(
    client: Any, series: Series, tags: Tags, service_tags: Sequence[str]
) -> Iterator[Found]:
    """Their service is what the tags of the resource name, else the resource's own name."""
    kind, pattern = series.resource or ("", "")
    for metric in dict.fromkeys(measure.metric for measure in series.measures):
        asked = {"Namespace": series.namespace, "MetricName": metric}
        for listed in (
            one
            for page in client.get_paginator("list_metrics").paginate(**asked)
            for one in page.get("Metrics", [])
        ):
            values = {d["Name"]: d["Value"] for d in listed.get("Dimensions", [])}
            if values.keys() != set(series.dimensions):
                continue
            tagged = service_of(tags.get((kind, pattern.format_map(values)), {}), service_tags)
            # app/front-door/50dc6c495c0c9188: the name is front-door
            parts = values[series.service].split("/")
            service = tagged or to_text(parts[1] if len(parts) == 3 else values[series.service])
            caller = to_text(values[series.caller]) if series.caller else None
            query = {
                "Metric": {
                    **asked,
                    "Dimensions": [{"Name": k, "Value": v} for k, v in sorted(values.items())],
                },
                "Period": 3600,
            }
            for measure in series.measures:
                if service and measure.metric == metric:
                    yield Found(service, caller, measure, {**query, "Stat": measure.statistic})


# ---------------------------------------------------------------- their tags


def read_tags(region: str, kinds: Sequence[str] = ()) -> dict[tuple[str, str], dict[str, str]]:
    """Tags of every resource of a region that ever had one. Source: AWS, *GetResources*.

    kinds: `sqs`, `ecs:service`; empty: all.

    Raises UnreachableError where AWS does not answer.
    """
    try:
        pages = aws.client("resourcegroupstaggingapi", region).get_paginator("get_resources")
        return {
            resource_of(one["ResourceARN"]): {
                tag["Key"]: tag["Value"] for tag in one.get("Tags", [])
            }
            for page in pages.paginate(ResourcesPerPage=100, ResourceTypeFilters=sorted(set(kinds)))
            for one in page.get("ResourceTagMappingList", [])
        }
    except aws.FAULTS as error:
        raise aws.unreachable(f"tags in {region} could not be read", error) from None


def resource_of(arn: str) -> tuple[str, str]:
    """arn:aws:lambda:eu-west-1:111:function:resize -> ("lambda", "function:resize")."""
    parts = arn.split(":", 5)
    return (parts[2], parts[5]) if len(parts) == 6 else ("", arn)


def service_of(tags: Mapping[str, str], names: Sequence[str]) -> str | None:
    """Our service: the first of the tags that is present and says something; null: none."""
    return next((text for name in names if (text := to_text(tags.get(name)))), None)


# ---------------------------------------------------------------- their hours


Point = tuple[datetime, str, str | None, str, float]  # Hour, service, caller, metric and value


def _points(client: Any, found: Sequence[Found], start: datetime, end: datetime) -> list[Point]:
    rows: list[Point] = []
    for first in range(0, len(found) if start < end else 0, MOST_SERIES):
        batch = {f"m{n}": one for n, one in enumerate(found[first : first + MOST_SERIES])}
        pages = client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=[
                {"Id": name, "MetricStat": one.query, "ReturnData": True}
                for name, one in batch.items()
            ],
            StartTime=start,
            EndTime=end,
            ScanBy="TimestampAscending",
        )
        newest: dict[str, Mapping[str, Any]] = {}
        for result in (result for page in pages for result in page["MetricDataResults"]):
            _refuse_broken(result, _BROKEN)
            newest[result["Id"]] = result
            one = batch[result["Id"]]
            rows += [
                (time, one.service, one.caller, one.measure.becomes, value * one.measure.scale)
                for time, value in zip(result["Timestamps"], result["Values"], strict=True)
            ]
        for result in newest.values():  # partial is what more pages complete: there are none
            _refuse_broken(result, (*_BROKEN, "PartialData"))
    return rows


def _refuse_broken(result: Mapping[str, Any], broken: Sequence[str]) -> None:
    """A series that CloudWatch could not give would look like a service that fell silent."""
    if result.get("StatusCode") in broken:
        words = "; ".join(str(message.get("Value", "")) for message in result.get("Messages", []))
        raise UnreachableError(
            f"CloudWatch could not give {clean(str(result.get('Label')), 200)}",
            found=clean(f"{result['StatusCode']} {words}".strip(), 300),
            fix="see whether CloudWatch is up and the policy allows it (docs/aws.md); run it again",
        )


def _reading(points: Sequence[Point]) -> Reading:
    """Series of one service added up.

    Where one is subtracted (deliveries less deletions), the sum is zero at least.
    """
    frame = pl.DataFrame(
        points, schema={name: SIGNALS.schema[name] for name in (*KEY, "value")}, orient="row"
    ).filter(pl.col("value").is_finite())
    total, once = pl.col("value").sum().clip(0), pl.lit(1, COUNT)
    sums = frame.group_by(KEY).agg(total, buckets=once).sort(KEY)
    return Reading(
        sums,
        fit(SET_ASIDE, []),
        SEEN.fit(
            sums.group_by("hour").agg(records=pl.len(), source=pl.lit("signals")).sort("hour")
        ).drop("delivery"),
    )


FORMAT = signals_format(config=Config, live=by_region(read, "presets", "service_tags"))
