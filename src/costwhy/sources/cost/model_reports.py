"""Usage and cost reports of model providers, as records: JSON of their APIs, and long tables.

| report | known by |
|---|---|
| OpenAI, `organization/costs` | `start_time`, `amount.value`, `line_item`, `project_id` |
| OpenAI, `organization/usage` | `start_time`, `input_tokens`, `input_cached_tokens`, ... |
| Anthropic, `cost_report` | `starting_at`, `amount` in cents, `model`, `token_type` |
| Anthropic, `usage_report` | `starting_at`, `uncached_input_tokens`, `cache_creation`, ... |
| Anthropic's console, as CSV | `usage_date_utc`, `cost_usd`, or `usage_..._tokens_...` |
| any other long table | a time, `model`, `kind`, `tokens`, `cost` and `currency` |

A page of an API, a list of its buckets, or a row of a table: all give one record for each result.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from costwhy.errors import SourceError
from costwhy.sources import delimited, packed, records, times
from costwhy.sources.reading import to_text
from costwhy.tables import TIME

STARTS = ("start_time", "starting_at", "start_time_iso", "usage_date_utc", "time", "date", "day")
ENDS = ("end_time", "ending_at", "end_time_iso")
PARTS = ("data", "results", "result", "buckets")  # lists of records
INPUT, CACHED, OUTPUT = "input", "cached input", "output"
WRITE_5M, WRITE_1H = "cache write 5m", "cache write 1h"
KINDS = {  # of tokens, as reports name them
    **dict.fromkeys(("uncached_input_tokens", "input_no_cache", "input_tokens"), INPUT),
    **dict.fromkeys(("usage_input_tokens_no_cache", "input_uncached_tokens"), INPUT),
    **dict.fromkeys(("input", "prompt_tokens", "prompt"), INPUT),
    **dict.fromkeys(("cache_read_input_tokens", "input_cache_read", "cached_input"), CACHED),
    **dict.fromkeys(("usage_input_tokens_cache_read", "input_cached_tokens"), CACHED),
    **dict.fromkeys(("cache_read", "cache_read_tokens"), CACHED),
    **dict.fromkeys(("cache_creation_ephemeral_5m_input_tokens", "input_cache_write_5m"), WRITE_5M),
    **dict.fromkeys(("usage_input_tokens_cache_write_5m", "cache_write_5m"), WRITE_5M),
    **dict.fromkeys(("cache_creation_ephemeral_1h_input_tokens", "input_cache_write_1h"), WRITE_1H),
    **dict.fromkeys(("usage_input_tokens_cache_write_1h", "cache_write_1h"), WRITE_1H),
    **dict.fromkeys(("output_tokens", "usage_output_tokens", "output"), OUTPUT),
    **dict.fromkeys(("completion_tokens", "completion"), OUTPUT),
}
COSTS = ("amount_value", "cost_usd", "cost", "total_cost", "spend", "amount_usd", "amount")
_TEXTS = (
    *("provider", "organization", "account", "account_name", "key", "key_name", "model"),
    *("kind", "tier", "item", "currency"),
)
FACTS = pl.Schema(
    [
        ("start", TIME),
        ("end", TIME),
        *((name, pl.String()) for name in _TEXTS),
        *((name, pl.Float64()) for name in ("cost", "list_cost", "tokens")),
        ("is_cost", pl.Boolean()),
    ]
)

Record = Mapping[str, Any]


def read_facts(file: Path) -> pl.DataFrame:
    """FACTS of a report: one for each cost, and one for each kind of tokens of a usage record.

    start, end  of the time bucket, UTC; null: no time
    cost        in `currency`; null: no number
    is_cost     a cost; else tokens without one

    Raises SourceError where the file cannot be read, or is no such report.
    """
    facts = [fact for record in _records(file) for fact in _facts(record)]
    if not facts:
        raise SourceError(
            "no record has a cost or tokens of a model",
            fix="docs/model-costs.md has the names of the columns",
        )
    return pl.DataFrame(facts, schema=FACTS)


# ---------------------------------------------------------------- records


def _records(file: Path) -> Iterator[Record]:
    name = file.name.lower()
    if ".parquet" in name:
        with packed.opened(file) as plain:
            yield from map(_flat, pl.read_parquet(plain).iter_rows(named=True))
    elif records.head_of(file)[:1] in {b"{", b"["}:
        for place, text in records.read_documents(file):
            try:
                yield from _of_document(msgspec.json.decode(text or b"", strict=False))
            except records.NO_JSON as error:
                fault = f"{place or 'the file'} is not JSON: {records.first_line(error)}"
                raise SourceError(fault) from error
    else:
        for _, row in delimited.read_rows(file, ()):
            yield _flat({k: None if delimited.is_null(v) else v for k, v in row.items()})


def _of_document(document: object, above: Record | None = None) -> Iterator[Record]:
    if isinstance(document, list):
        for one in document:
            yield from _of_document(one, above)
    elif isinstance(document, dict):
        lists = [one for part in PARTS if isinstance(one := document.get(part), list)]
        own = {k: v for k, v in document.items() if not isinstance(v, list)}
        for one in lists:
            yield from _of_document(one, {**(above or {}), **own})
        if not lists:
            yield _flat({**(above or {}), **own})


def _flat(record: Record, before: str = "") -> dict[str, Any]:
    """`amount.value` and {"amount": {"value": ...}} are both amount_value."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        plain = before + "".join(c if c.isalnum() else "_" for c in str(name).strip().lower())
        flat |= _flat(value, f"{plain}_") if isinstance(value, dict) else {plain: value}
    return flat


# ---------------------------------------------------------------- what they say


def _facts(record: Record) -> Iterator[dict[str, object]]:
    cost_name = next((name for name in COSTS if name in record), None)
    tokens = dict(_tokens(record))
    if cost_name is None and not any(tokens.values()):
        return
    start, end = _period(record)
    what = {"start": start, "end": end, **_names(record)}
    if cost_name is None:
        for kind, count in tokens.items():
            if count:
                yield {**what, "kind": kind, "tokens": count, "is_cost": False}
        return
    quantity = _first_number(record, ("tokens", "quantity", "total_tokens"))
    yield {
        **what,
        "kind": _kind(record),
        "tokens": sum(tokens.values()) or None if quantity is None else quantity,
        "cost": _money(record, cost_name),
        "list_cost": _first_number(record, ("list_price_usd", "list_cost")),
        "currency": _currency(record, cost_name),
        "is_cost": True,
    }


def _tokens(record: Record) -> Iterator[tuple[str, float]]:
    """Tokens by kind. OpenAI's input tokens include those that were cached."""
    for name, kind in KINDS.items():
        count = _number(record.get(name))
        if count is not None and (name.endswith("tokens") or name.startswith("usage_")):
            cached = _number(record.get("input_cached_tokens")) if name == "input_tokens" else None
            yield kind, max(0.0, count - (cached or 0.0))


def _period(record: Record) -> tuple[datetime | None, datetime | None]:
    written = next((record[name] for name in STARTS if record.get(name) is not None), None)
    start = _moment(written)
    end = next((m for name in ENDS if (m := _moment(record.get(name))) is not None), None)
    if start is None or (end is not None and end > start):
        return start, end
    by_day = len(str(written).strip()) <= len("2026-09-01")
    return start, start + timedelta(days=1 if by_day else 0, hours=0 if by_day else 1)


def _moment(value: object) -> datetime | None:
    """A time in UTC; one without a zone is UTC, as in every report of these providers."""
    if value is None:
        return None
    try:
        return times.to_time(value)
    except ValueError:
        try:
            return datetime.fromisoformat(str(value).strip()).replace(tzinfo=UTC)
        except ValueError:
            return None


def _names(record: Record) -> dict[str, object]:
    def first(*names: str) -> str | None:
        return next((text for name in names if (text := to_text(record.get(name)))), None)

    item = first("line_item", "description", "cost_type")
    model, _, _ = (first("line_item") or "").rpartition(", ")
    found = first("model", "model_version", "model_name") or model or None
    account_name = first("project_name", "workspace_name", "workspace", "project")
    return {
        "provider": first("provider") or _provider(record, found),
        "organization": first("organization_id"),
        "account": first("project_id", "workspace_id") or account_name,
        "account_name": account_name,
        "key": first("api_key_id") or first("api_key_name", "api_key"),
        "key_name": first("api_key_name", "api_key"),
        "model": found,
        "tier": first("service_tier", "batch", "usage_type"),
        "item": item,
    }


def _provider(record: Record, model: str | None) -> str | None:
    if str(record.get("object", "")).startswith("organization."):
        return "OpenAI"
    if {"starting_at", "usage_date_utc"} & {*record} or "claude" in (model or "").lower():
        return "Anthropic"
    known = {"line_item", "input_cached_tokens", "num_model_requests"} & {*record}
    return "OpenAI" if "start_time" in record and known else None


def _kind(record: Record) -> str | None:
    written = to_text(record.get("token_type") or record.get("kind") or record.get("type"))
    if written is None:
        _, mark, written = str(record.get("line_item") or "").rpartition(", ")
        written = written if mark else None
    if written is None:
        return None
    plain = "".join(c if c.isalnum() else "_" for c in written.strip().lower())
    return KINDS.get(plain, written)


def _money(record: Record, name: str) -> float | None:
    """Anthropic's cost report has decimal cents; all others have dollars."""
    value = _number(record[name])
    return value / 100 if value is not None and _in_cents(record, name) else value


def _in_cents(record: Record, name: str) -> bool:
    return name == "amount" and "starting_at" in record


def _currency(record: Record, name: str) -> str | None:
    written = to_text(record.get("amount_currency") or record.get("currency"))
    return (written or ("USD" if name.endswith("_usd") else "")).upper() or None


def _first_number(record: Record, names: tuple[str, ...]) -> float | None:
    return next((n for name in names if (n := _number(record.get(name))) is not None), None)


def _number(value: object) -> float | None:
    try:
        number = float(str(value)) if not isinstance(value, bool) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
