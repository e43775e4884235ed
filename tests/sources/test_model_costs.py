"""What models cost: cost and usage reports of their providers become a bill in tokens and dollars."""

import json
from pathlib import Path

import polars as pl
import pytest
from places import SPOOL

from costwhy.config import Mapping
from costwhy.errors import SourceError
from costwhy.ingest.billing import reduce_file
from costwhy.ingest.cube import Cube, merge
from costwhy.sources.cost import model_costs
from costwhy.sources.cost.model_costs import together

DAY = 86_400
SEPTEMBER = 1_788_220_800  # 2026-09-01T00:00Z


def openai_costs(*results: dict[str, object], day: int = 0) -> dict[str, object]:
    start = SEPTEMBER + day * DAY
    bucket = {
        "object": "bucket",
        "start_time": start,
        "end_time": start + DAY,
        "results": [{"object": "organization.costs.result", **one} for one in results],
    }
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None}  # fmt: skip


def line(amount: float, item: str | None, project: str | None = "proj_a") -> dict[str, object]:
    return {"amount": {"value": amount, "currency": "usd"}, "line_item": item, "project_id": project}  # fmt: skip


def openai_usage(*hours: tuple[int, int, int, int], project: str = "proj_a", model: str = "gpt-4o-2024-08-06") -> dict[str, object]:  # fmt: skip
    """Hour, input tokens, of these cached, output tokens."""
    buckets = [
        {
            "object": "bucket",
            "start_time": SEPTEMBER + hour * 3600,
            "end_time": SEPTEMBER + (hour + 1) * 3600,
            "results": [
                {
                    "object": "organization.usage.completions.result",
                    "input_tokens": tokens,
                    "input_cached_tokens": cached,
                    "output_tokens": out,
                    "num_model_requests": 5,
                    "project_id": project,
                    "model": model,
                    "batch": None,
                }
            ],
        }
        for hour, tokens, cached, out in hours
    ]
    return {"object": "page", "data": buckets}  # fmt: skip


def read(folder: Path, services: dict[str, str] | None = None, **reports: object) -> tuple[Cube, tuple[str, ...]]:  # fmt: skip
    """Reports by the names of their files: JSON documents, or text."""
    files = []
    for name, content in reports.items():
        stem, _, kind = name.rpartition("_")
        files.append(folder / f"{stem}.{kind}")
        files[-1].write_text(content if isinstance(content, str) else json.dumps(content))
    made, notes = together(services or {}, files, folder / "made")
    bill = model_costs.FORMAT.bill
    mapping = Mapping(service_tags=("service", "api_key", "project"))
    return merge([reduce_file(one, bill, mapping, "USD", SPOOL) for one in made], SPOOL), notes


def rows(cube: Cube, *names: str) -> list[tuple[object, ...]]:
    joined = (
        cube.scan("hourly")
        .collect()
        .join(cube.series, on="series_id")
        .with_columns(
            pl.col("EffectiveCost", "ConsumedQuantity").round(9), at=pl.col("hour").dt.hour()
        )
    )
    return sorted(joined.select(names).rows(), key=str)


def test_a_cost_is_spread_over_the_tokens_of_its_day(tmp_path: Path) -> None:
    # input 900 + 100 tokens not cached in two hours, of $10; output 300 + 100, of $8; cached 100, of $1
    cube, notes = read(
        tmp_path,
        costs_json=openai_costs(line(10.0, "gpt-4o-2024-08-06, input"), line(8.0, "gpt-4o-2024-08-06, output"), line(1.0, "gpt-4o-2024-08-06, cached input")),
        usage_json=openai_usage((3, 1000, 100, 300), (4, 100, 0, 100)),
    )  # fmt: skip
    assert notes == ()
    assert rows(cube, "at", "hours", "x_UsageType", "ConsumedQuantity", "EffectiveCost") == [
        (3, 1, "gpt-4o-2024-08-06, cached input", 100.0, 1.0),
        (3, 1, "gpt-4o-2024-08-06, input", 900.0, 9.0),
        (3, 1, "gpt-4o-2024-08-06, output", 300.0, 6.0),
        (4, 1, "gpt-4o-2024-08-06, input", 100.0, 1.0),
        (4, 1, "gpt-4o-2024-08-06, output", 100.0, 2.0),
    ]
    names = ("ProviderName", "ServiceName", "SubAccountId", "ConsumedUnit", "service")
    assert {*rows(cube, *names)} == {("OpenAI", "OpenAI API", "proj_a", "Tokens", "proj_a")}


def test_costs_without_tokens_keep_their_day_and_tokens_without_costs_are_said(tmp_path: Path) -> None:  # fmt: skip
    cube, notes = read(
        tmp_path,
        costs_json=openai_costs(
            line(2.5, "web search"), line(1.5, None), line(4.0, "gpt-5, input")
        ),
        usage_json=openai_usage((30, 700, 0, 50)),
    )
    assert rows(cube, "hours", "x_UsageType", "ConsumedQuantity", "EffectiveCost") == [
        (24, "gpt-5, input", None, 4.0),
        (24, "web search", None, 2.5),
        (24, None, None, 1.5),
    ]
    assert notes == ("750 tokens have no cost in the cost reports: they do not count",)


def test_projects_share_a_cost_that_is_not_told_by_project(tmp_path: Path) -> None:
    cube, _ = read(
        tmp_path,
        costs_json=openai_costs(line(10.0, "gpt-4o, input", None)),
        a_json=openai_usage((1, 300, 0, 0), model="gpt-4o"),
        b_json=openai_usage((1, 700, 0, 0), project="proj_b", model="gpt-4o"),
    )
    assert rows(cube, "SubAccountId", "EffectiveCost") == [("proj_a", 3.0), ("proj_b", 7.0)]


BUCKET = {"starting_at": "2026-09-01T00:00:00Z", "ending_at": "2026-09-02T00:00:00Z"}


def test_anthropic_writes_cents_and_its_own_kinds_of_tokens(tmp_path: Path) -> None:
    # 1,234.5 cents for 1,000 + 234.5 cents for 500 written to the cache, 100 cents for a search
    costs = [
        {"amount": "1234.5", "currency": "USD", "cost_type": "tokens", "model": "claude-opus-5", "token_type": "uncached_input_tokens", "workspace_id": "wrk_1", "description": "Claude Opus 5 Usage - Input Tokens"},
        {"amount": "234.5", "currency": "USD", "cost_type": "tokens", "model": "claude-opus-5", "token_type": "cache_creation.ephemeral_5m_input_tokens", "workspace_id": "wrk_1"},
        {"amount": "100", "currency": "USD", "cost_type": "web_search", "description": "Web Search Usage", "workspace_id": None},
    ]  # fmt: skip
    usage = {"uncached_input_tokens": 1000, "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 0}, "output_tokens": 0,
             "cache_read_input_tokens": 0, "model": "claude-opus-5", "workspace_id": "wrk_1", "api_key_id": "key_1", "server_tool_use": {"web_search_requests": 2}}  # fmt: skip
    cube, notes = read(
        tmp_path,
        {"key_1": "chat"},
        cost_json={"data": [{**BUCKET, "results": costs}], "has_more": False},
        usage_jsonl=json.dumps({**BUCKET, "ending_at": "2026-09-01T01:00:00Z", "results": [usage]}) + "\n",
    )  # fmt: skip
    assert notes == ()
    assert rows(cube, "x_UsageType", "ConsumedQuantity", "EffectiveCost", "service", "hours") == [
        ("Web Search Usage", None, 1.0, None, 24),
        ("claude-opus-5, cache write 5m", 500.0, 2.345, "chat", 1),
        ("claude-opus-5, input", 1000.0, 12.345, "chat", 1),
    ]
    assert {one[0] for one in rows(cube, "ProviderName")} == {"Anthropic"}


def test_the_csv_files_of_anthropics_console_belong_together(tmp_path: Path) -> None:
    cube, notes = read(
        tmp_path,
        cost_csv="usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed\n"
        "2026-09-01,Claude Sonnet 4.5,Default,chat-key,message,≤ 200k,input_no_cache,3.00,3.50,token,global,\n"
        "2026-09-01,Claude Sonnet 4.5,Default,chat-key,message,≤ 200k,output,1.50,1.50,token,global,\n",
        usage_csv="usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,"
        "usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count,inference_geo,speed\n"
        "2026-09-01,claude-sonnet-4-5-20250929,chat-key,Default,message,≤ 200k,1000,0,0,0,100,0,global,\n",
    )  # fmt: skip
    assert notes == ()
    assert rows(cube, "x_UsageType", "ConsumedQuantity", "EffectiveCost", "ListCost", "service", "SubAccountName", "hours") == [
        ("Claude Sonnet 4.5, input", 1000.0, 3.0, 3.5, "chat-key", "Default", 24),
        ("Claude Sonnet 4.5, output", 100.0, 1.5, 1.5, "chat-key", "Default", 24),
    ]  # fmt: skip


def test_a_long_table_with_both_is_read_as_it_is(tmp_path: Path) -> None:
    cube, _ = read(
        tmp_path,
        {"support": "chat"},
        table_csv="Time;Provider;Model;Kind;Tokens;Cost;Currency;Project\n2026-09-01T05:00:00Z;Mistral;large;input;1200;0.6;USD;support\n",
    )  # fmt: skip
    assert rows(cube, "at", "hours", "ProviderName", "x_UsageType", "ConsumedQuantity", "EffectiveCost", "service") == [
        (5, 1, "Mistral", "large, input", 1200.0, 0.6, "chat")
    ]  # fmt: skip


def test_a_flat_table_of_parquet(tmp_path: Path) -> None:
    frame = pl.DataFrame({"start_time": [SEPTEMBER], "end_time": [SEPTEMBER + DAY], "amount.value": [2.5], "amount.currency": ["usd"],
                          "line_item": ["gpt-5, output"], "project_name": ["support"], "project_id": ["proj_s"]})  # fmt: skip
    frame.write_parquet(tmp_path / "costs.parquet")
    made, _ = together({}, [tmp_path / "costs.parquet"], tmp_path / "made")
    cube = reduce_file(made[0], model_costs.FORMAT.bill, Mapping(), "USD", SPOOL)
    assert rows(cube, "x_UsageType", "EffectiveCost", "SubAccountName", "ProviderName") == [("gpt-5, output", 2.5, "support", "OpenAI")]  # fmt: skip


def test_a_report_that_was_fetched_again_counts_once_and_that_is_said(tmp_path: Path) -> None:
    cube, [note] = read(
        tmp_path,
        a_json=openai_costs(line(4.0, "gpt-5, input"), line(1.0, "gpt-5, output")),
        b_json=openai_costs(line(5.0, "gpt-5, input")),
        c_json=openai_costs(line(7.0, "gpt-5, input"), day=1),
    )
    assert round(cube.totals["BilledCost"].sum(), 6) == 13.0
    assert "1 time buckets are in more than one file" in note
    assert "4.00" in note


def test_what_is_no_report_is_refused_and_what_has_no_number_is_set_aside(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there are tokens and no costs"):
        read(tmp_path, usage_json=openai_usage((1, 5, 0, 5)))
    for name, text in (("a_json", "{}"), ("a_json", "[1, 2]"), ("a_csv", "x,y\n1,2\n"), ("a_json", "{"), ("a_csv", ""), ("a_parquet", "PAR1")):  # fmt: skip
        with pytest.raises(SourceError):
            read(tmp_path, **{name: text})
    odd = openai_costs(line(3.0, "gpt-5, input"), {"amount": {"value": "lots", "currency": "usd"}, "line_item": "gpt-5, input", "project_id": "p"},
                       {"amount": {"value": 9.0, "currency": "eur"}, "line_item": "gpt-5, input", "project_id": "q"})  # fmt: skip
    cube, _ = read(tmp_path, costs_json=odd)
    assert (cube.totals["BilledCost"].sum(), cube.set_aside["records"].sum()) == (3.0, 2)
