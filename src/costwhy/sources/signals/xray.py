"""Calls and errors on the edges between services, from X-Ray's service graph, hour by hour.

X-Ray counts the traces that it sampled: shares are right, sums are low by the sampling. It does not
count retries.
Source: AWS, *GetServiceGraph*.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from math import ceil
from typing import Annotated, Any

import msgspec

from costwhy.remote import aws
from costwhy.sources.format import USUAL_DAYS, Region, Request, SourceConfig, by_region
from costwhy.sources.reading import Collector, Reading, to_text
from costwhy.sources.signals.metrics import signals_format
from costwhy.tables import SIGNALS

CALLS = ("xray:GetServiceGraph",)
_HOUR = timedelta(hours=1)
# calls or errors, the service that handled the calls, and its caller; null: from outside
Edge = tuple[str, str, str | None]


class Config(SourceConfig, frozen=True, kw_only=True):
    """The service graph of AWS X-Ray in each of `regions`, for the last `days`; docs/aws.md."""

    regions: tuple[Region, ...] = ()
    days: Annotated[int, msgspec.Meta(ge=1, le=30)] = USUAL_DAYS


def read(request: Request) -> Iterator[tuple[date, Reading]]:
    """Each day with its signals. Raises UnreachableError where X-Ray does not answer."""
    client = aws.client("xray", request.place)
    for start, end in request.windows(1):
        collector = Collector(SIGNALS, "signals")
        try:
            for hour in (start + n * _HOUR for n in range(ceil((end - start) / _HOUR))):
                _read_hour(collector, client, hour, min(hour + _HOUR, end))
        except aws.FAULTS as error:
            raise aws.unreachable(f"X-Ray in {request.place} could not be read", error) from None
        yield start.date(), collector.reading()


def _read_hour(collector: Collector, client: Any, start: datetime, end: datetime) -> None:
    counts = count(
        [
            node
            for page in client.get_paginator("get_service_graph").paginate(
                StartTime=start, EndTime=end
            )
            for node in page.get("Services", [])
        ]
    )
    for metric, service, caller in sorted(counts, key=lambda key: (*key[:2], key[2] or "")):
        collector.keep(
            {
                "hour": start,
                "service": service,
                "caller": caller,
                "metric": metric,
                "value": float(counts[metric, service, caller]),
                "buckets": 1,
            }
        )
        collector.see(None, start)


def count(nodes: Sequence[Mapping[str, Any]]) -> Counter[Edge]:
    """Calls and errors by edge; what goes between nodes of one name stays inside a service."""
    names = {node["ReferenceId"]: _name(node) for node in nodes if "ReferenceId" in node}
    counts = Counter[Edge]()
    for caller, edge in ((_name(node), edge) for node in nodes for edge in node.get("Edges", [])):
        service = names.get(edge.get("ReferenceId"))
        if service is not None and service != caller:
            given = edge.get("SummaryStatistics", {})
            counts["calls", service, caller] += given.get("TotalCount", 0)
            for kind in ("ErrorStatistics", "FaultStatistics"):
                counts["errors", service, caller] += given.get(kind, {}).get("TotalCount", 0)
    return counts


def _name(node: Mapping[str, Any]) -> str | None:
    return None if node.get("Type") == "client" else to_text(node.get("Name"))


FORMAT = signals_format(config=Config, live=by_region(read))
