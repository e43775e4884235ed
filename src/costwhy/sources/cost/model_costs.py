"""What models cost: usage and cost reports of their providers, as a bill. docs/model-costs.md

A cost report has dollars by day, project and kind of tokens; a usage report has the tokens, often
by the hour. Where both are there, a cost is spread over the tokens of its day, project, model and
kind, which have one price: so the bill has the hours of the tokens, and its sums are those of the
cost report. Costs without tokens keep their own length. Tokens without a cost are no bill: that is
said. The files of a source are read together, and each has the rows of its own costs.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import polars as pl

from costwhy.errors import SourceError
from costwhy.sources import records
from costwhy.sources.cost import focus
from costwhy.sources.cost.exports import bill_format
from costwhy.sources.cost.model_reports import FACTS, read_facts
from costwhy.sources.files import Files
from costwhy.sources.format import Bill, FilesConfig, Together
from costwhy.text import clean

NUMBERS = ("cost", "list_cost", "tokens")
SAME = [name for name in FACTS if name not in {*NUMBERS, "currency", "account_name", "key_name"}]
MATCH = ("account", "key", "model", "kind", "tier")  # by which costs and tokens belong together
_NAMES = ("account", "account_name", "key", "key_name")  # usage may be more exact
UNREADABLE = (*records.UNREADABLE, pl.exceptions.PolarsError)


class Config(FilesConfig, frozen=True, kw_only=True):
    """`services`: our service by the name or id of a project, workspace, API key or model."""

    services: dict[str, str] = msgspec.field(default_factory=dict)


def together(services: Mapping[str, str], files: Sequence[Path], folder: Path) -> Together:
    """Each file's costs as a FOCUS file in `folder`, and what is said of all.

    Raises SourceError where a file is no such report, or where no file has costs.
    """
    facts, notes = _once(pl.concat([_read(file, k) for k, file in enumerate(files)]))
    costs, usage = facts.filter("is_cost"), facts.filter(~pl.col("is_cost"))
    if costs.is_empty():
        raise SourceError(
            "there are tokens and no costs",
            found=", ".join(file.name for file in files[:3]),
            fix="export the cost report too, and lay it beside the usage report",
        )
    rows, left = _spread(costs, usage)
    if left:
        notes += (f"{left:,.0f} tokens have no cost in the cost reports: they do not count",)
    made = []
    for number, file in enumerate(files):
        own = folder / f"models-{number}"
        own.mkdir(parents=True, exist_ok=True)
        made.append(own / file.name)
        _as_focus(rows.filter(file=number), services).write_parquet(made[-1])
    return tuple(made), notes


def _read(file: Path, number: int) -> pl.DataFrame:
    try:
        return read_facts(file).with_columns(file=pl.lit(number))
    except UNREADABLE as error:
        raise SourceError(f"{file.name} cannot be read", found=records.first_line(error)) from error


def _once(facts: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """A bucket that several files have counts once: that of the last file by name."""
    sums = [pl.when(pl.col(n).count() > 0).then(pl.col(n).sum()).alias(n) for n in NUMBERS]
    first = pl.col("account_name", "key_name", "currency").drop_nulls().first()
    facts = facts.group_by(*SAME, "file", maintain_order=True).agg(first, *sums)
    last = pl.col("file") == pl.col("file").max().over(SAME)
    gone = facts.filter(~last)
    if gone.is_empty():
        return facts, ()
    note = (
        f"{gone.height} time buckets are in more than one file: of each, the last file by name "
        f"counts; the others have {gone['cost'].sum():,.2f}"
    )
    return facts.filter(last), (note,)


# ---------------------------------------------------------------- costs over tokens


def _spread(costs: pl.DataFrame, usage: pl.DataFrame) -> tuple[pl.DataFrame, float]:
    """Costs with the tokens and the hours of the usage that they are for; tokens without a cost.

    cost' = cost x tokens / all tokens of the cost,  tokens' = tokens x cost / all costs of them
    """
    costs = costs.with_row_index("row")
    bare = costs.filter(pl.col("tokens").is_null(), pl.col("start").is_not_null())
    by = [d for d in MATCH if bare[d].count() and usage[d].count()]
    unused = float(usage["tokens"].sum())
    if not {"model", "kind"} <= {*by}:
        return costs.drop("row"), unused
    keys = [pl.col("provider").fill_null("").alias("by"), *(_key(d).alias(f"by {d}") for d in by)]
    group = ["by", *(f"by {d}" for d in by)]
    bare = bare.with_columns(*keys)
    found = _found(usage.with_columns(*keys), bare, group)
    rows = bare.join(found, on=[*group, "start"], how="inner", suffix=" used").with_columns(
        pl.col("cost", "list_cost") * (pl.col("tokens used") / pl.col("tokens all")),
        *(pl.coalesce(f"{name} used", name).alias(name) for name in _NAMES),
        tokens=pl.col("tokens used")
        * pl.when(pl.col("cost all") != 0)
        .then(pl.col("cost") / pl.col("cost all"))
        .otherwise(1 / pl.col("n")),
        start="hour",
        end="end used",
    )
    rest = costs.join(rows, on="row", how="anti")
    spread = pl.concat([rest, rows.select(costs.columns)]).drop("row")
    return spread, unused - float(found["tokens"].sum())


def _found(usage: pl.DataFrame, costs: pl.DataFrame, group: list[str]) -> pl.DataFrame:
    """The usage that costs are for: `start` of the cost, `hour` of the usage, and the sums."""
    whole = costs.group_by(*group, "start").agg(
        pl.col("cost").sum().alias("cost all"), pl.col("end").max().alias("end all"), n=pl.len()
    )
    return (
        usage.filter(pl.col("start").is_not_null())
        .rename({"start": "hour"})
        .sort("hour")
        .join_asof(
            whole.sort("start"),
            left_on="hour",
            right_on="start",
            by=group,
            strategy="backward",
            coalesce=False,
            check_sortedness=False,
        )
        .filter(pl.col("hour") < pl.col("end all"), pl.col("tokens") > 0)
        .with_columns(pl.col("tokens").sum().over([*group, "start"]).alias("tokens all"))
    )


def _key(name: str) -> pl.Expr:
    """What two reports write alike: Claude Sonnet 4.5 is claude-sonnet-4-5-20250929."""
    plain = pl.col(name).fill_null("").str.to_lowercase()
    if name == "model":
        plain = plain.str.replace(r"[-@]\d{4}-?\d{2}-?\d{2}$", "").str.replace_all(r"[^a-z0-9]", "")
    return plain


# ---------------------------------------------------------------- as a bill


def _as_focus(rows: pl.DataFrame, services: Mapping[str, str]) -> pl.DataFrame:
    names = ("key", "key_name", "account", "account_name", "model")
    service = pl.coalesce(
        pl.col(n).replace_strict(dict(services), default=None, return_dtype=pl.String)
        for n in names
    )
    tags = pl.struct(
        service=service,
        project=pl.coalesce("account_name", "account"),
        workspace=pl.coalesce("account_name", "account"),
        api_key=pl.coalesce("key_name", "key"),
        model="model",
    )
    metered = pl.col("model").is_not_null() & pl.col("kind").is_not_null()
    return rows.select(
        ChargePeriodStart="start",
        ChargePeriodEnd="end",
        BillingPeriodStart=pl.col("start").dt.truncate("1mo"),
        BillingCurrency="currency",
        EffectiveCost="cost",
        BilledCost="cost",
        ListCost=pl.coalesce("list_cost", "cost"),
        ChargeCategory=pl.lit("Usage"),
        ProviderName="provider",
        ServiceCategory=pl.lit("AI and Machine Learning"),
        ServiceName=pl.col("provider") + " API",
        SubAccountId="account",
        SubAccountName="account_name",
        x_UsageType=pl.when(metered)
        .then(pl.col("model") + ", " + pl.col("kind"))
        .otherwise(pl.coalesce("model", "item")),
        ConsumedQuantity="tokens",
        ConsumedUnit=pl.when(pl.col("tokens").is_not_null()).then(pl.lit("Tokens")),
        ResourceId=pl.coalesce("key", "account"),
        Tags=tags.map_elements(_as_json, return_dtype=pl.String),
    )


def _as_json(tags: Mapping[str, str | None]) -> str:
    return json.dumps({name: clean(value) for name, value in tags.items() if value})


def _bill(entry: Config) -> Bill:
    return Bill(
        focus.require_columns,
        focus.expressions,
        together=partial(together, entry.services),
    )


FORMAT = bill_format(
    config=Config,
    bill=_bill(Config(format="model_costs", path=".")),
    settle=_bill,
    files=Files((".json", ".jsonl", ".ndjson", ".csv", ".parquet")),
)
