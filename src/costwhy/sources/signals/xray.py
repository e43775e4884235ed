"""Calls and errors on the edges between services, from X-Ray's service graph, hour by hour.

X-Ray counts the traces that it sampled: shares are right, sums are low by the sampling. It does not
count retries.
Source: AWS, *GetServiceGraph*.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec

from costwhy.remote import aws
from costwhy.sources import aws_regions
from costwhy.sources.aws_regions import Region
from costwhy.sources.by_day import Live, Request
from costwhy.sources.format import SourceConfig
from costwhy.sources.reading import Collector, Reading, to_text
from costwhy.sources.signals.metrics import signals_format
from costwhy.tables import SIGNALS

CALLS = ("xray:GetServiceGraph",)
_HOUR = timedelta(hours=1)
_OUTSIDE = "client"
Edge = tuple[str, str | None]  # Service that handled the calls, and its caller; null: from outside


class Config(SourceConfig, frozen=True, kw_only=True):
    """The service graph of AWS X-Ray in each of `regions`, for the last `days`; docs/aws.md."""

    regions: tuple[Region, ...] = ()
    days: Annotated[int, msgspec.Meta(ge=1, le=30)] = aws_regions.USUAL_DAYS


def live(entry: Config, _key: str, _folder: Path, _tags: Sequence[str]) -> Live:
    """What an entry asks."""
    return aws_regions.live(entry.format, entry.regions, entry.days, read, (), ())


def read(request: Request) -> Iterator[tuple[date, Reading]]:
    """Each day with its signals. Raises UnreachableError where X-Ray does not answer."""
    client = aws.client("xray", request.place)
    for start, end in request.windows(1):
        collector = Collector(SIGNALS, "signals")
        hour = start
        while hour < end:
            try:
                _read_hour(collector, client, hour, min(hour + _HOUR, end))
            except aws.FAULTS as error:
                problem = f"X-Ray in {request.place} could not be read"
                raise aws.unreachable(problem, error) from None
            hour += _HOUR
        yield start.date(), collector.reading()


def _read_hour(collector: Collector, client: Any, start: datetime, end: datetime) -> None:
    nodes: list[Mapping[str, Any]] = []
    for page in client.get_paginator("get_service_graph").paginate(StartTime=start, EndTime=end):
        nodes += page.get("Services", [])
    calls, errors = count(nodes)
    for metric, counts in (("calls", calls), ("errors", errors)):
        for edge in sorted(counts, key=lambda edge: (edge[0], edge[1] or "")):
            row = {"hour": start, "service": edge[0], "caller": edge[1], "metric": metric}
            collector.keep({**row, "value": float(counts[edge]), "buckets": 1})
            collector.see(None, start)


def count(nodes: Iterable[Mapping[str, Any]]) -> tuple[Counter[Edge], Counter[Edge]]:
    """Calls and errors by edge; what goes between nodes of one name stays inside a service."""
    listed = list(nodes)
    names = {node["ReferenceId"]: _name(node) for node in listed if "ReferenceId" in node}
    calls, errors = Counter[Edge](), Counter[Edge]()
    for node in listed:
        for edge in node.get("Edges", []):
            service, caller = names.get(edge.get("ReferenceId")), _name(node)
            if service is None or service == caller:
                continue
            counts = edge.get("SummaryStatistics", {})
            calls[service, caller] += counts.get("TotalCount", 0)
            for kind in ("ErrorStatistics", "FaultStatistics"):
                errors[service, caller] += counts.get(kind, {}).get("TotalCount", 0)
    return calls, errors


def _name(node: Mapping[str, Any]) -> str | None:
    """The service of a node; null: the world outside."""
    return None if node.get("Type") == _OUTSIDE else to_text(node.get("Name"))


FORMAT = signals_format(config=Config, live=live)
