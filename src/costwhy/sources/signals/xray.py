"""Calls and errors on the edges between services, from X-Ray's service graph, hour by hour.

X-Ray counts the traces that it sampled: shares are right, sums are low by the sampling. It does not count retries.
Source: AWS, *GetServiceGraph*.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from costwhy.remote import aws
from costwhy.sources.aws_days import Request
from costwhy.sources.intake import Intake, to_text
from costwhy.sources.reading import Reading
from costwhy.tables import SIGNALS

CALLS = ("xray:GetServiceGraph",)
MOST_DAYS = 30
USUAL_DAYS = 14
_HOUR = timedelta(hours=1)
_OUTSIDE = "client"
Edge = tuple[str, str | None]
"""Service that handled the calls, and its caller; null: from outside."""


def read(request: Request) -> Iterator[tuple[date, Reading]]:
    """Each day with its signals, as `signals.read` gives them. Raises UnreachableError where X-Ray does not answer."""
    client = aws.client("xray", request.region)
    for start, end in request.windows(1):
        intake = Intake(SIGNALS, "signals")
        hour = start
        while hour < end:
            try:
                _read_hour(intake, client, hour, min(hour + _HOUR, end))
            except aws.FAULTS as error:
                raise aws.unreachable(f"X-Ray in {request.region} could not be read", error) from None
            hour += _HOUR
        yield start.date(), intake.reading()


def _read_hour(intake: Intake, client: Any, start: datetime, end: datetime) -> None:
    nodes: list[Mapping[str, Any]] = []
    for page in client.get_paginator("get_service_graph").paginate(StartTime=start, EndTime=end):
        nodes += page.get("Services", [])
    calls, errors = count(nodes)
    for metric, counts in (("calls", calls), ("errors", errors)):
        for (service, caller), value in sorted(counts.items(), key=lambda item: (item[0][0], item[0][1] or "")):
            intake.keep({"hour": start, "service": service, "caller": caller, "metric": metric, "value": float(value), "buckets": 1})
            intake.see(None, start)


def count(nodes: Iterable[Mapping[str, Any]]) -> tuple[Counter[Edge], Counter[Edge]]:
    """Calls and errors by edge. A service may be several nodes of one name: what goes between these is no call."""
    listed = list(nodes)
    names = {node["ReferenceId"]: _name(node) for node in listed if "ReferenceId" in node}
    calls, errors = Counter[Edge](), Counter[Edge]()
    for node in listed:
        for edge in node.get("Edges", []):
            service, caller = names.get(edge.get("ReferenceId")), _name(node)
            if service is None or service == caller:
                continue
            said = edge.get("SummaryStatistics", {})
            calls[service, caller] += said.get("TotalCount", 0)
            errors[service, caller] += sum(said.get(kind, {}).get("TotalCount", 0) for kind in ("ErrorStatistics", "FaultStatistics"))
    return calls, errors


def _name(node: Mapping[str, Any]) -> str | None:
    """The service of a node; null: the world outside."""
    return None if node.get("Type") == _OUTSIDE else to_text(node.get("Name"))
