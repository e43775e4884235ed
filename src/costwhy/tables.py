"""The data dictionary: every table that costwhy stores or returns, column by column.

PascalCase names are FOCUS columns, verbatim; snake_case names are costwhy's own. Times are UTC,
money is in the workspace's currency. A null means what its column states, else *not known*.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import polars as pl

from costwhy.behaviours import BY_KIND, RETRIES  # RETRIES: also the name of a column
from costwhy.errors import InputError

TIME = pl.Datetime("us", "UTC")
TEXT = pl.String
NUMBER = pl.Float64
COUNT = pl.Int64
TEXTS = pl.List(pl.String)
Rows = pl.DataFrame | pl.LazyFrame
Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


@dataclass(frozen=True)
class Column:
    """One column: name, polars type, what it means, its unit, where it comes from."""

    name: str
    dtype: pl.DataType | type[pl.DataType]
    meaning: str
    unit: str = ""
    origin: str = "costwhy"


@dataclass(frozen=True)
class Table:
    """A named table with its columns in order."""

    name: str
    meaning: str
    columns: tuple[Column, ...]

    @cached_property
    def schema(self) -> pl.Schema:
        return pl.Schema({column.name: column.dtype for column in self.columns})

    def empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self.schema)

    def of(self, rows: Sequence[Mapping[str, object] | tuple[object, ...]]) -> pl.DataFrame:
        """These rows: mappings, whose absent columns are null, or values in the columns' order."""
        return pl.DataFrame(rows, schema=self.schema, orient="row")

    def fit(self, frame: Frame) -> Frame:
        """The frame with this table's columns, in order, cast to its types; absent ones are null.

        Raises InputError when a column cannot be cast or is not of this table.
        """
        given = frame.collect_schema()
        unknown = [name for name in given if name not in self.schema]
        if unknown:
            raise InputError(
                f"table {self.name!r} has no column {unknown[0]!r}",
                found=", ".join(self.schema.names()),
            )
        columns = [
            (pl.col(name) if name in given else pl.lit(None)).cast(dtype).alias(name)
            for name, dtype in self.schema.items()
        ]
        try:
            return frame.select(columns)
        except pl.exceptions.PolarsError as error:
            raise InputError(
                f"table {self.name!r} cannot hold these values", found=str(error)
            ) from error


def _focus(
    name: str, meaning: str, dtype: pl.DataType | type[pl.DataType] = TEXT, unit: str = ""
) -> Column:
    return Column(name, dtype, meaning, unit, "FOCUS")


DELIVERY = Column(
    "delivery",
    TEXT,
    "what is delivered and replaced as a whole: source and billing period, or source and file",
)

DIMENSIONS = (
    _focus("ProviderName", "who offers the service"),
    _focus("BillingAccountId", "the account that is invoiced"),
    _focus("SubAccountId", "the account that used it"),
    _focus("SubAccountName", "its name"),
    _focus("RegionId", "where; null: not bound to a region"),
    _focus("ServiceCategory", "kind of service: Compute, Storage, ..."),
    _focus("ServiceName", "the provider's service"),
    Column("x_ServiceCode", TEXT, "AWS's code of the service", "", "AWS"),
    Column(
        "x_UsageType",
        TEXT,
        "what is metered; SkuId where a provider has no usage type; null: a charge without usage",
        "",
        "AWS",
    ),
    Column("x_Operation", TEXT, "the API operation", "", "AWS"),
    _focus("ChargeCategory", "Usage, Purchase, Tax, Credit, Adjustment"),
    _focus("PricingCategory", "Standard, Committed, Dynamic; null: no price"),
    _focus("CommitmentDiscountStatus", "Used or Unused; null: no commitment"),
    _focus("ConsumedUnit", "unit of ConsumedQuantity"),
    Column(
        "service",
        TEXT,
        "our service, from the first service tag present; null: no such tag",
        "",
        "Tags",
    ),
    Column(
        "team", TEXT, "our team, from the first team tag present; null: no such tag", "", "Tags"
    ),
    Column(
        "budget_owner",
        TEXT,
        "who pays, from the first budget tag present; null: no such tag",
        "",
        "Tags",
    ),
)
DIMENSION_NAMES = tuple(column.name for column in DIMENSIONS)

MEASURES = (
    _focus(
        "EffectiveCost",
        "amortised cost: commitments spread over what they cover",
        NUMBER,
        "currency",
    ),
    _focus("BilledCost", "what the invoice says", NUMBER, "currency"),
    _focus("ListCost", "at list prices", NUMBER, "currency"),
    _focus(
        "ConsumedQuantity",
        "usage, in ConsumedUnit; null: charge without a quantity",
        NUMBER,
        "ConsumedUnit",
    ),
)
MEASURE_NAMES = tuple(column.name for column in MEASURES)

PERIOD = Column("billing_period", TEXT, "month of the invoice, YYYY-MM", "", "BillingPeriodStart")
SERIES_ID = Column(
    "series_id",
    pl.Int64,
    "hash of the dimensions: the same combination has the same id in every delivery",
)
SERVICE = Column("service", TEXT, "our service")

SERIES = Table(
    "series",
    "one row for each combination of dimensions that was ever billed",
    (SERIES_ID, *DIMENSIONS),
)
HOURLY = Table(
    "hourly",
    "cost by hour and series, without resource",
    (
        DELIVERY,
        PERIOD,
        Column("hour", TIME, "start of the hour in which the charge period starts"),
        SERIES_ID,
        *MEASURES,
        Column("rows", COUNT, "line items summed here"),
        Column(
            "hours",
            COUNT,
            "length of the charge period: 1, 24 of a bill by the day; null: 1",
            "hours",
        ),
    ),
)
DAILY = Table(
    "daily",
    "cost by day, series and resource; longer charges have an equal part on each of their days",
    (
        DELIVERY,
        PERIOD,
        Column("day", TIME, "start of the day"),
        SERIES_ID,
        _focus("ResourceId", "the resource; null: none named"),
        *MEASURES,
    ),
)
OVERVIEW = Table(
    "overview",
    "cost by hour, account and service: a small table for the first chart; a longer charge period "
    "has an equal part in each of its hours",
    (
        DELIVERY,
        Column("hour", TIME, "start of the hour"),
        _focus("SubAccountId", "account"),
        SERVICE,
        *MEASURES[:3],
    ),
)
CHANGES = Table(
    "changes",
    "recorded changes: deployments, API writes, scaling",
    (
        DELIVERY,
        Column("change_id", TEXT, "the record's own id: CloudTrail eventID, CDEvents context.id"),
        Column("time", TIME, "when it happened"),
        Column(
            "known_at", TIME, "when its record could first be read (log delivery); null: at once"
        ),
        Column("source", TEXT, "its format in costwhy.toml"),
        Column(
            "kind",
            TEXT,
            "deploy, rollback, scaling, schedule, config, create, delete, tag, flag, "
            "commitment, other",
        ),
        Column("event", TEXT, "CDEvents type, or eventSource:eventName"),
        SERVICE,
        Column("environment", TEXT, "production, staging, ..."),
        Column("resource", TEXT, "resource name or ARN that was touched"),
        Column("account", TEXT, "account in which it happened"),
        Column("region", TEXT, "region in which it happened"),
        Column("actor", TEXT, "the person where named, else the user, session or pipeline"),
        Column("actor_kind", TEXT, "person, pipeline, role, service"),
        Column("role", TEXT, "role or pipeline through which the actor acted"),
        Column(
            "automated",
            pl.Boolean,
            "true: a routine of the provider or of a machine, not a decision",
        ),
        Column("summary", TEXT, "commit or change title, or the API call in words"),
        Column("url", TEXT, "link to the change"),
        Column("ticket", TEXT, "ticket number"),
        Column("path", TEXT, "repository path of the change, for CODEOWNERS"),
        Column("before", TEXT, "JSON of the values before the change, where the record has them"),
        Column("after", TEXT, "JSON of the values that it set or asked for"),
        Column("planned_reason", TEXT, "why it was planned; null: no plan"),
        Column("planned_cost_per_day", NUMBER, "expected extra cost", "currency/day"),
        Column("planned_until", TIME, "end of the plan"),
    ),
)
SIGNALS = Table(
    "signals",
    "calls, retries, errors, bytes and capacity of the services, by hour",
    (
        DELIVERY,
        Column("hour", TIME, "start of the hour"),
        Column("service", TEXT, "who handled the calls"),
        Column("caller", TEXT, "who made them; null: from outside; schedule:NAME: a timer"),
        Column("metric", TEXT, "calls, retries, errors, bytes, capacity"),
        Column("value", NUMBER, "sum over the hour; of capacity the mean"),
        Column("buckets", COUNT, "time buckets summed here: the weight of a mean"),
    ),
)
CATALOG = Table(
    "catalog",
    "services, teams, people and paths, from service catalogues and CODEOWNERS",
    (
        DELIVERY,
        Column("source", TEXT, "backstage, codeowners"),
        Column("kind", TEXT, "component, resource, system, group, user, path"),
        Column("name", TEXT, "entity name, or the CODEOWNERS pattern"),
        Column("owner", TEXT, "team that owns it; null: none named"),
        Column("title", TEXT, "display name"),
        Column("email", TEXT, "mail address of a group or user"),
        Column(
            "contact", TEXT, "Slack channel, mail address or PagerDuty id: the first that is given"
        ),
        Column("depends_on", TEXTS, "names of entities that it depends on"),
        Column("member_of", TEXTS, "groups of a user"),
        Column("path", TEXT, "repository path of a component"),
        Column("position", COUNT, "order in CODEOWNERS: the last pattern that matches wins"),
        Column(
            "section",
            TEXT,
            "section of GitLab's CODEOWNERS, empty before the first one, ^ before an optional "
            "one; null: not GitLab's",
        ),
        Column("lifecycle", TEXT, "production, experimental, deprecated"),
    ),
)
SEEN = Table(
    "seen",
    "number of records read, by source and hour: what `coverage` is computed from",
    (
        DELIVERY,
        Column("source", TEXT, "cost, signals, or the format of the changes"),
        Column("account", TEXT, "account, where the source has one"),
        Column("hour", TIME, "start of the hour"),
        Column("records", COUNT, "records in it"),
    ),
)
SET_ASIDE = Table(
    "set_aside",
    "rows and records that could not be read, with the reason",
    (
        DELIVERY,
        Column("source", TEXT, "format of the source"),
        Column("file", TEXT, "file"),
        Column("place", TEXT, "row or line number in the file, where known"),
        Column("reason", TEXT, "why it could not be read"),
        Column("record", TEXT, "the beginning of the record"),
        Column("records", COUNT, "number of such records that this row stands for"),
        PERIOD,
        _focus("BillingCurrency", "their currency; null: not known"),
        *MEASURES[:2],
    ),
)
FILES = Table(
    "files",
    "every file below a source: what was read of it, or why it was not read",
    (
        DELIVERY,
        Column("source", TEXT, "the entry of costwhy.toml: format and path"),
        Column("file", TEXT, "file; of a packed one also its name in the archive"),
        Column("bytes", COUNT, "size", "bytes"),
        Column("state", TEXT, "read, or not read"),
        Column("reason", TEXT, "why it was not read; of a file that was read: what to know of it"),
        Column("rows", COUNT, "line items or records that count"),
        Column("rows_set_aside", COUNT, "rows set aside"),
        *MEASURES[:2],
    ),
)
DELIVERIES = Table(
    "deliveries",
    "what was read and when; a delivery with a known digest is not read again",
    (
        DELIVERY,
        Column("digest", TEXT, "SHA-256 over the names and contents of the files"),
        Column("files", TEXTS, "files of the delivery"),
        Column("read_at", TIME, "when it was read"),
        Column("rows", COUNT, "line items or records read"),
        Column("rows_set_aside", COUNT, "rows set aside"),
        *MEASURES[:3],
        Column(
            "notes", TEXTS, "what to know of what was read: columns that are missing, and so on"
        ),
    ),
)

LAKE_TABLES = (
    SERIES,
    HOURLY,
    DAILY,
    OVERVIEW,
    CHANGES,
    SIGNALS,
    CATALOG,
    SEEN,
    SET_ASIDE,
    FILES,
    DELIVERIES,
)

# ---------------------------------------------------------------- the reconciliation of a lake

RECONCILIATION = Table(
    "reconciliation",
    "rows and money of the bills: read, and set aside; together they are what the files hold",
    (
        Column("line", TEXT, "period, or total: of all periods and sources in this currency"),
        Column("source", TEXT, "the entry of costwhy.toml: format and path; null in a total"),
        Column("billing_period", TEXT, "2026-10; null: not known, or a total"),
        _focus("BillingCurrency", "currency of the amounts in this line; null: not known"),
        Column("files", COUNT, "files that were read; one with several periods counts in each"),
        Column("rows", COUNT, "line items that count"),
        Column("BilledCost", NUMBER, "of these rows", "currency", "FOCUS"),
        Column("EffectiveCost", NUMBER, "of these rows", "currency", "FOCUS"),
        Column("rows_set_aside", COUNT, "line items that were set aside"),
        Column("BilledCost_set_aside", NUMBER, "of these; null: no amount is known", "currency"),
        Column("EffectiveCost_set_aside", NUMBER, "of these; null: not known", "currency"),
        Column("rows_of_unknown_cost", COUNT, "rows set aside of which neither amount is known"),
    ),
)
REASONS = Table(
    "reasons",
    "why rows and records were set aside, most first",
    (
        Column("source", TEXT, "cost: rows of a bill; else the format of the records"),
        Column("file", TEXT, "file"),
        Column("reason", TEXT, "why"),
        Column("place", TEXT, "where they are, as far as it is known: line 3, 4"),
        Column("records", COUNT, "rows or records"),
        *(c for c in SET_ASIDE.columns if c.name == "BillingCurrency"),
        Column("BilledCost", NUMBER, "of these rows; null: not known", "currency", "FOCUS"),
        Column("EffectiveCost", NUMBER, "of these rows; null: not known", "currency", "FOCUS"),
    ),
)
NOT_READ = Table(
    "not_read",
    "files below a source that were not read, largest first",
    tuple(c for c in FILES.columns if c.name in {"source", "file", "bytes", "reason"}),
)

# ---------------------------------------------------------------- results of an investigation

WHERE = Column(
    "where",
    TEXT,
    "JSON object of FOCUS columns, service and team: the values that the rows have in common",
)
CHANGE = Column(
    "cost_change", NUMBER, "cost that it added in the billed hours of the spike", "currency"
)
PLACE = (
    Column("kind", TEXT, ", ".join(BY_KIND)),
    Column("service", TEXT, "the service that handles the calls, or whose usage it is"),
    Column("caller", TEXT, "the service that calls; schedule:NAME: a timer"),
    Column("usage_type", TEXT, "x_UsageType of the bill"),
)
ESTIMATED = Column("estimated", pl.Boolean, "true: not billed yet, estimated from signals")

SPIKES = Table(
    "spikes",
    "one row for each incident, largest excess first",
    (
        Column("spike_id", TEXT, "first hour, service and the provider's service"),
        Column("title", TEXT, "the spike in a few words"),
        Column("start", TIME, "first hour"),
        Column("end", TIME, "hour after the last; null: running"),
        Column("status", TEXT, "running or ended"),
        Column("shape", TEXT, "step, pulse, ramp, new"),
        WHERE,
        Column(
            "expected_cost",
            NUMBER,
            "cost of the spike's own rows without the spike, billed hours",
            "currency",
        ),
        Column("actual_cost", NUMBER, "their cost as billed", "currency"),
        Column("excess_cost", NUMBER, "actual less expected cost", "currency"),
        Column("excess_low", NUMBER, "10 % quantile of the excess", "currency"),
        Column("excess_high", NUMBER, "90 % quantile of the excess", "currency"),
        Column("nowcast_hours", COUNT, "hours of the spike that are not billed yet"),
        Column("nowcast_excess_cost", NUMBER, "estimated excess in these hours", "currency"),
        Column("nowcast_low", NUMBER, "10 % quantile of the estimate", "currency"),
        Column("nowcast_high", NUMBER, "90 % quantile of the estimate", "currency"),
        Column("cost_per_hour_now", NUMBER, "excess an hour now; 0: it has ended", "currency/h"),
        Column(
            "month_end_excess_cost",
            NUMBER,
            "excess from the start to the end of the month if nothing is done",
            "currency",
        ),
        Column("verdict", TEXT, "growth, inefficiency, price, accounting, mixed"),
    ),
)
DRIVERS = Table(
    "drivers",
    "combinations of dimensions in which the cost changed: disjoint, largest first",
    (WHERE, CHANGE),
)
BEHAVIOUR = Table(
    "behaviour",
    "the excess by behaviour; rows and remainder sum to the excess",
    (
        *PLACE,
        CHANGE,
        Column(
            "nowcast_change", NUMBER, "cost that it added in the hours not billed yet", "currency"
        ),
    ),
)
TRIGGERS = Table(
    "triggers",
    "recorded changes that may have caused the spike, most probable first",
    (
        Column("change_id", TEXT, "the record's own id: CloudTrail eventID, CDEvents context.id"),
        Column("also", TEXTS, "further records of the same decision"),
        Column("probability", NUMBER, "that it caused the spike"),
        Column("reasons", TEXTS, "the evidence in words"),
        *(
            c
            for c in CHANGES.columns
            if c.name not in {"delivery", "change_id", "before", "automated"}
        ),
    ),
)
OWNERS = Table(
    "owners",
    "who runs it, who changed it and who pays: three separate answers",
    (
        Column(
            "role",
            TEXT,
            "owner (now), owner_then (at the start, where another), decided_by, budget_owner",
        ),
        SERVICE,
        Column("team", TEXT, "team, or name of the budget"),
        Column("actor", TEXT, "person or pipeline (decided_by)"),
        Column("contact", TEXT, "Slack channel, mail address or PagerDuty id"),
        Column("source", TEXT, "backstage, tags, codeowners, cloudtrail, account"),
        Column(
            "since",
            TIME,
            "since when the source names this team; null: since before its records, or not dated",
        ),
        Column("until", TIME, "until when it does; null: it still does, or not dated"),
    ),
)
TIMELINE = Table(
    "timeline",
    "the spike's own rows by hour, from before the spike to now",
    (
        Column("hour", TIME, "start of the hour"),
        Column("actual_cost", NUMBER, "billed, or estimated", "currency"),
        Column("expected_cost", NUMBER, "without the spike", "currency"),
        ESTIMATED,
        Column(
            "state",
            TEXT,
            "estimated: no bill yet; provisional: billed, may be restated (open month); final",
        ),
    ),
)
NOWCAST = Table(
    "nowcast",
    "estimates of past days, as they would have been made then, beside the bill of these days",
    (
        Column("day", TIME, "the first hour that was not billed then"),
        Column("hours", COUNT, "hours that were estimated", "h"),
        Column(
            "service",
            TEXT,
            "service, or the provider's where none is tagged; null: the whole bill",
        ),
        Column("estimated_cost", NUMBER, "the estimate", "currency"),
        Column("billed_cost", NUMBER, "the bill", "currency"),
        Column("error", NUMBER, "estimate less bill", "currency"),
        Column("low", NUMBER, "10 % quantile, from the errors known then", "currency"),
        Column("high", NUMBER, "90 % quantile", "currency"),
        Column("inside", pl.Boolean, "true: the bill lies between low and high"),
    ),
)
CLOCKS = Table(
    "clocks",
    "when things happened, and when each could first be known",
    (
        Column("what", TEXT, "change, signals, bill, end"),
        Column("happened_at", TIME, "when it happened"),
        Column(
            "known_at",
            TIME,
            "when it could first be known: log delivery, end of the hour, delivery of the bill",
        ),
        Column("words", TEXT, "the same in a sentence"),
    ),
)
LEDGER = Table(
    "ledger",
    "excess by behaviour and hour",
    (Column("hour", TIME, "start of the hour"), *PLACE, CHANGE, ESTIMATED),
)
CALLS = Table(
    "calls",
    "calls and retries on the edges of the spike, by hour",
    (
        Column("hour", TIME, "start of the hour"),
        Column("service", TEXT, "who handled them"),
        Column("caller", TEXT, "who made them"),
        Column("calls", NUMBER, "attempts, retries included"),
        Column(RETRIES, NUMBER, "attempts that repeat an earlier one"),
        Column("expected_calls", NUMBER, "attempts expected without the spike"),
    ),
)
DEPENDENCIES = Table(
    "dependencies",
    "chains of calls from the caller that caused the change to the bill line that grew",
    (
        Column("path", TEXTS, "services in the order of the calls, then the provider's service"),
        CHANGE,
    ),
)
COVERAGE = Table(
    "coverage",
    "which sources covered the spike, and what they cannot rule out",
    (
        Column("source", TEXT, "name of the source"),
        Column("from", TIME, "first hour with records"),
        Column("to", TIME, "end of the last hour with records"),
        Column("gaps", TEXTS, "periods START/END without records where some were expected"),
        Column("cannot_rule_out", TEXT, "what this source does not record"),
    ),
)
GAP = Table(
    "ownership_gap",
    "usage charges of the last 30 billed days with neither service nor team",
    (
        WHERE,
        Column("cost", NUMBER, "EffectiveCost", "currency"),
        Column("likely_team", TEXT, "the team that probably owns it; null: nothing says"),
        Column("source", TEXT, "what likely_team was inferred from"),
    ),
)
LOST_TAGS = Table(
    "lost_tags",
    "tags that named an owner and are gone, while the usage goes on",
    (
        Column("when", TIME, "first hour billed without them"),
        SERVICE,
        Column("team", TEXT, "the team that they named; null: they named a service only"),
        Column("resources", TEXTS, "resources that lost their tags; empty: the bill names none"),
        Column("cost_since", NUMBER, "EffectiveCost since then, in billed hours", "currency"),
        Column("age_days", NUMBER, "from then to the end of the newest hour", "days"),
        Column(
            "change_id",
            TEXT,
            "the recorded change that probably removed them; null: none is recorded",
        ),
        Column("summary", TEXT, "that change in words"),
        Column("actor", TEXT, "who made it"),
    ),
)

VERDICTS = Table(
    "verdicts",
    "verdicts of owners on spikes, newest first; the newest of a spike counts",
    (
        Column("spike_id", TEXT, "the spike's id at that time"),
        Column("verdict", TEXT, "planned, accepted, fixing, fixed, not_ours"),
        Column("note", TEXT, "the owner's own words"),
        Column("who", TEXT, "who gave the verdict"),
        Column("at", TIME, "when"),
        Column(
            "excess_per_hour",
            NUMBER,
            "excess an hour at that time; 0: the spike had ended",
            "currency/h",
        ),
        Column("start", TIME, "the spike's first hour as known at that time"),
        *PLACE,
    ),
)
PLANS = Table(
    "plans",
    "planned extra cost, newest first",
    (
        SERVICE,
        Column("reason", TEXT, "why"),
        Column("start", TIME, "start of the plan"),
        Column("until", TIME, "end of the plan"),
        Column(
            "cost_per_day", NUMBER, "extra cost that is expected; null: no limit", "currency/day"
        ),
        Column("who", TEXT, "who planned it"),
        Column("at", TIME, "when it was registered"),
    ),
)
SAVINGS = Table(
    "savings",
    "savings by fixes of spikes, measured after 7, 14 and 30 billed days",
    (
        Column("spike_id", TEXT, "the spike"),
        Column("who", TEXT, "who gave the verdict `fixed`"),
        Column("days", COUNT, "billed days after the fix that are measured", "days"),
        Column("from", TIME, "time of the fix"),
        Column("to", TIME, "end of these days"),
        Column(
            "saved", NUMBER, "cost of these days at the spike's rates, less their bill", "currency"
        ),
        Column("possible", NUMBER, "the same if every rate were back at its baseline", "currency"),
        Column("outcome", TEXT, "verified, regressed, inconclusive"),
    ),
)
BY_NAME = {table.name: table for table in LAKE_TABLES}
PHYSICAL = (
    "ProviderName",
    "BillingAccountId",
    "SubAccountId",
    "SubAccountName",
    "RegionId",
    "ServiceCategory",
    "ServiceName",
    "x_ServiceCode",
    "x_UsageType",
    "x_Operation",
    "ChargeCategory",
    "ConsumedUnit",
)
METER = (*PHYSICAL, "service", "team", "budget_owner")
