"""A retry loop against a language model, told in dollars: from a CUR, and from its provider's reports."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import costwhy as cw
from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import Lake, open_lake

FIRST, DAYS = datetime(2026, 9, 1, tzinfo=UTC), 28
HOURS = DAYS * 24
ONSET, END = 20 * 24 + 10, 23 * 24
PRICES = {"input": 3e-6, "output": 15e-6}  # dollars a token
TOKENS = {"input": 1800, "output": 220}  # a call
AGAIN = np.where((np.arange(HOURS) >= ONSET) & (np.arange(HOURS) < END), 2.4, 1.02)
NOISE = np.random.default_rng(3)
FIRST_ATTEMPTS = np.round(
    900 * (1 + 0.5 * np.sin(np.arange(HOURS) * 2 * np.pi / 24)) * NOISE.lognormal(0, 0.01, HOURS)
)
CALLS = np.round(FIRST_ATTEMPTS * AGAIN)
EXCESS = sum(
    ((CALLS - FIRST_ATTEMPTS * 1.02)[ONSET:END] * TOKENS[k]).sum() * PRICES[k] for k in PRICES
)


def at(hour: int) -> datetime:
    return FIRST + timedelta(hours=hour)


def write_signals(folder: Path) -> None:
    rows = [
        {"time": at(k).isoformat(), "service": service, "caller": caller, "metric": metric, "value": float(values[k])}
        for service, caller, metric, values in (
            ("assistant", None, "calls", FIRST_ATTEMPTS),
            ("model", "assistant", "calls", CALLS),
            ("model", "assistant", "retries", CALLS - FIRST_ATTEMPTS),
        )
        for k in range(HOURS)
    ]  # fmt: skip
    (folder / "signals").mkdir(parents=True)
    pl.DataFrame(rows, infer_schema_length=None).write_csv(folder / "signals" / "calls.csv")


def bedrock(folder: Path) -> str:
    """By the hour, in thousands of tokens, with the service as a tag."""
    rows = [
        {
            "line_item_usage_start_date": at(k), "line_item_usage_end_date": at(k + 1), "bill_billing_period_start_date": FIRST,
            "line_item_line_item_type": "Usage", "line_item_currency_code": "USD", "line_item_product_code": "AmazonBedrock",
            "line_item_unblended_cost": CALLS[k] * TOKENS[kind] * PRICES[kind], "line_item_usage_amount": CALLS[k] * TOKENS[kind] / 1000,
            "pricing_unit": "1K tokens", "line_item_usage_type": f"USE1-Claude4.5Sonnet-{kind}-tokens", "line_item_operation": "InvokeModelInference",
            "line_item_usage_account_id": "42", "line_item_resource_id": None, "resource_tags": '{"user_service": "assistant"}',
        }
        for k in range(HOURS) for kind in PRICES
    ]  # fmt: skip
    (folder / "billing").mkdir()
    pl.DataFrame(rows).write_parquet(folder / "billing" / "bill.parquet")
    return 'format = "cur2"\npath = "billing/"'


def reports(folder: Path) -> str:
    """Tokens by the hour, dollars by the day, as OpenAI's API gives them."""
    (folder / "models").mkdir()
    usage = [
        {
            "start_time": int(at(k).timestamp()), "end_time": int(at(k + 1).timestamp()),
            "results": [{
                "input_tokens": int(CALLS[k] * TOKENS["input"]), "output_tokens": int(CALLS[k] * TOKENS["output"]),
                "input_cached_tokens": 0, "num_model_requests": int(CALLS[k]), "project_id": "proj_a", "model": "gpt-5-2025-08-07",
            }],
        }
        for k in range(HOURS)
    ]  # fmt: skip
    costs = [
        {
            "start_time": int(at(day * 24).timestamp()), "end_time": int(at(day * 24 + 24).timestamp()),
            "results": [
                {
                    "amount": {"value": float(CALLS[day * 24 : day * 24 + 24].sum() * TOKENS[kind] * PRICES[kind]), "currency": "usd"},
                    "line_item": f"gpt-5-2025-08-07, {kind}", "project_id": "proj_a",
                }
                for kind in PRICES
            ],
        }
        for day in range(DAYS)
    ]  # fmt: skip
    for name, buckets in (("usage", usage), ("costs", costs)):
        page = {"object": "page", "data": buckets, "has_more": False}
        (folder / "models" / f"{name}.json").write_text(json.dumps(page))
    return 'format = "model_costs"\npath = "models/"\nservices = { "proj_a" = "assistant" }'


@pytest.fixture(scope="module", params=[bedrock, reports], ids=["CUR", "reports"])
def lake(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp("models")
    write_signals(folder)
    entry = request.param(folder)
    (folder / "costwhy.toml").write_text(
        '[workspace]\nname = "acme"\ncurrency = "USD"\n'
        f'[[cost]]\n{entry}\n[[signals]]\nformat = "signals"\npath = "signals/"\n'
    )
    ingest(read_workspace(folder))
    return open_lake(folder)


def test_the_bill_is_what_the_tokens_cost(lake: Lake) -> None:
    cost = sum(CALLS.sum() * TOKENS[kind] * PRICES[kind] for kind in PRICES)
    assert lake.table("hourly")["EffectiveCost"].sum() == pytest.approx(cost, abs=0.005)
    assert lake.table("hourly")["hour"].n_unique() == HOURS


def test_the_retry_loop_is_found_with_its_dollars(lake: Lake) -> None:
    [spike] = cw.find_spikes(lake).iter_rows(named=True)
    case = cw.investigate(lake, spike["spike_id"])
    assert case.spike.start == at(ONSET)
    assert case.behaviour["kind"][0] == "retries"
    assert case.spike.excess_cost == pytest.approx(EXCESS, rel=0.03)
    assert case.spike.verdict == "inefficiency"
