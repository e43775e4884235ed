"""Every table that costwhy stores or returns: each column with its type, meaning, unit and origin.

PascalCase names are FOCUS columns, verbatim; snake_case names are costwhy's own. Times are UTC, money is in the
workspace's currency. A null has the meaning that the column states; without one it means *not known*.
"""

from dataclasses import dataclass

import polars as pl

from costwhy.errors import InputError

TIME = pl.Datetime("us", "UTC")
TEXT = pl.String
NUMBER = pl.Float64
COUNT = pl.Int64
TEXTS = pl.List(pl.String)


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

    @property
    def schema(self) -> pl.Schema:
        """Column names and polars types, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    def empty(self) -> pl.DataFrame:
        """No rows, right types."""
        return pl.DataFrame(schema=self.schema)

    def fit(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with exactly this table's columns, in order, cast to its types; absent columns are null.

        Raises InputError when a column cannot be cast or is not of this table.
        """
        strange = [name for name in frame.columns if name not in self.schema]
        if strange:
            raise InputError(f"table {self.name!r} has no column {strange[0]!r}", found=", ".join(self.schema.names()))
        absent = [pl.lit(None, dtype=t).alias(n) for n, t in self.schema.items() if n not in frame.columns]
        try:
            return frame.with_columns(absent).select(pl.col(n).cast(t) for n, t in self.schema.items())
        except pl.exceptions.PolarsError as error:
            raise InputError(f"table {self.name!r} cannot hold these values", found=str(error)) from error


def _focus(name: str, meaning: str, dtype: pl.DataType | type[pl.DataType] = TEXT, unit: str = "") -> Column:
    return Column(name, dtype, meaning, unit, "FOCUS")


DELIVERY = Column("delivery", TEXT, "what was delivered whole and is replaced whole: source and billing period, or source and file")

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
        "what is metered; SkuId where a provider has no usage type; null: charge without usage",
        "",
        "AWS",
    ),
    Column("x_Operation", TEXT, "the API operation", "", "AWS"),
    _focus("ChargeCategory", "Usage, Purchase, Tax, Credit, Adjustment"),
    _focus("PricingCategory", "Standard, Committed, Dynamic; null: no price"),
    _focus("CommitmentDiscountStatus", "Used or Unused; null: no commitment"),
    _focus("ConsumedUnit", "unit of ConsumedQuantity"),
    Column("service", TEXT, "our service, from the first service tag present; null: no such tag", "", "Tags"),
    Column("team", TEXT, "our team, from the first team tag present; null: no such tag", "", "Tags"),
    Column("budget_owner", TEXT, "who pays, from the first budget tag present; null: no such tag", "", "Tags"),
)
DIMENSION_NAMES = tuple(column.name for column in DIMENSIONS)

MEASURES = (
    _focus("EffectiveCost", "amortised cost: commitments spread over what they cover", NUMBER, "currency"),
    _focus("BilledCost", "what the invoice says", NUMBER, "currency"),
    _focus("ListCost", "at list prices", NUMBER, "currency"),
    _focus("ConsumedQuantity", "usage, in ConsumedUnit; null: charge without a quantity", NUMBER, "ConsumedUnit"),
)
MEASURE_NAMES = tuple(column.name for column in MEASURES)

PERIOD = Column("billing_period", TEXT, "month of the invoice, YYYY-MM", "", "BillingPeriodStart")
SERIES_ID = Column("series_id", pl.Int64, "stable hash of the dimensions: the same combination has the same id in every delivery")
SERVICE = Column("service", TEXT, "our service; null: not known")

SERIES = Table("series", "one row for each combination of dimensions that was ever billed", (SERIES_ID, *DIMENSIONS))
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
    ),
)
DAILY = Table(
    "daily",
    "cost by day, series and resource",
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
    "small table for the first chart: hour x account x service",
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
        Column("known_at", TIME, "when it could first be known (log delivery); null: at once"),
        Column("source", TEXT, "its format in costwhy.toml"),
        Column("kind", TEXT, "deploy, rollback, scaling, schedule, config, create, delete, tag, commitment, flag, other"),
        Column("event", TEXT, "CDEvents type, or eventSource:eventName"),
        SERVICE,
        Column("environment", TEXT, "production, staging, ...; null: not said"),
        Column("resource", TEXT, "resource name or ARN that was touched"),
        Column("account", TEXT, "account in which it happened"),
        Column("region", TEXT, "region in which it happened"),
        Column("actor", TEXT, "the person where named, else the user, session or pipeline"),
        Column("actor_kind", TEXT, "person, pipeline, role, service"),
        Column("role", TEXT, "role or pipeline through which the actor acted"),
        Column("automated", pl.Boolean, "true: made by the provider's or a machine's own routine, not a decision"),
        Column("summary", TEXT, "commit or change title, or the API call in words"),
        Column("url", TEXT, "link to the change"),
        Column("ticket", TEXT, "ticket number"),
        Column("path", TEXT, "repository path of the change, for CODEOWNERS"),
        Column("before", TEXT, "JSON of the values before, where the record has them"),
        Column("after", TEXT, "JSON of the values asked for"),
        Column("planned_reason", TEXT, "why it was planned; null: no plan"),
        Column("planned_cost_per_day", NUMBER, "expected extra cost", "currency/day"),
        Column("planned_until", TIME, "end of the plan"),
    ),
)
SIGNALS = Table(
    "signals",
    "what the services did, by hour",
    (
        DELIVERY,
        Column("hour", TIME, "start of the hour"),
        Column("service", TEXT, "who handled the calls"),
        Column("caller", TEXT, "who made them; null: from outside; schedule:NAME: a timer"),
        Column("metric", TEXT, "calls, retries, errors, bytes, capacity"),
        Column("value", NUMBER, "sum over the hour; capacity: mean"),
        Column("buckets", COUNT, "time buckets in it, to weigh means"),
    ),
)
CATALOG = Table(
    "catalog",
    "services, teams, people and paths, as catalogues and CODEOWNERS name them",
    (
        DELIVERY,
        Column("source", TEXT, "backstage, codeowners"),
        Column("kind", TEXT, "component, resource, system, group, user, path"),
        Column("name", TEXT, "entity name, or the CODEOWNERS pattern"),
        Column("owner", TEXT, "team that owns it; null: none named"),
        Column("title", TEXT, "display name"),
        Column("email", TEXT, "mail address of a group or user"),
        Column("contact", TEXT, "Slack channel, mail or PagerDuty id, first that is there"),
        Column("depends_on", TEXTS, "names of entities that it depends on"),
        Column("member_of", TEXTS, "groups of a user"),
        Column("path", TEXT, "repository path of a component"),
        Column("position", COUNT, "order in CODEOWNERS: the last pattern that matches wins"),
        Column("lifecycle", TEXT, "production, experimental, deprecated"),
    ),
)
SEEN = Table(
    "seen",
    "records read by source and hour, noise included: what coverage rests on",
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
    "rows and records that could not be read",
    (
        DELIVERY,
        Column("source", TEXT, "format of the source"),
        Column("file", TEXT, "file"),
        Column("place", TEXT, "row or line number in the file, where known"),
        Column("reason", TEXT, "why it could not be read"),
        Column("record", TEXT, "the beginning of the record"),
        Column("records", COUNT, "how many like it this row stands for"),
    ),
)
DELIVERIES = Table(
    "deliveries",
    "what was read, when, and its digest: the same digest is not read twice",
    (
        DELIVERY,
        Column("digest", TEXT, "SHA-256 over the names and contents of the files"),
        Column("files", TEXTS, "files of the delivery"),
        Column("read_at", TIME, "when it was read"),
        Column("rows", COUNT, "line items or records read"),
        Column("rows_set_aside", COUNT, "rows set aside"),
        *MEASURES[:3],
    ),
)

LAKE_TABLES = (SERIES, HOURLY, DAILY, OVERVIEW, CHANGES, SIGNALS, CATALOG, SEEN, SET_ASIDE, DELIVERIES)

# ---------------------------------------------------------------- results of an investigation

WHERE = Column("where", TEXT, "JSON object of FOCUS columns, service, team: what the rows have in common; values exact")
CHANGE = Column("cost_change", NUMBER, "dollars that it added, billed hours of the spike", "currency")
KIND = Column(
    "kind",
    TEXT,
    "demand, schedule, fan_out, retries, usage_per_call, capacity, cross_region, unit_price, unlinked_usage, unmetered",
)
PLACE = (
    KIND,
    Column("service", TEXT, "who handles the calls, or whose usage it is"),
    Column("caller", TEXT, "who calls; schedule:NAME: a timer"),
    Column("usage_type", TEXT, "x_UsageType of the bill"),
)
ESTIMATED = Column("estimated", pl.Boolean, "true: not billed yet, estimated from live signals")

SPIKES = Table(
    "spikes",
    "one row for each incident, largest excess first",
    (
        Column("spike_id", TEXT, "start, service and provider's service"),
        Column("title", TEXT, "the spike in a few words"),
        Column("start", TIME, "first hour, whole"),
        Column("end", TIME, "hour after the last; null: running"),
        Column("status", TEXT, "running or ended"),
        Column("shape", TEXT, "step, pulse, ramp, new"),
        WHERE,
        Column("expected_cost", NUMBER, "what the spike's own rows would have cost, billed hours", "currency"),
        Column("actual_cost", NUMBER, "what they cost", "currency"),
        Column("excess_cost", NUMBER, "the difference", "currency"),
        Column("excess_low", NUMBER, "10 % quantile of the excess", "currency"),
        Column("excess_high", NUMBER, "90 % quantile", "currency"),
        Column("nowcast_hours", COUNT, "hours of the spike that are not billed yet"),
        Column("nowcast_excess_cost", NUMBER, "estimated excess in them", "currency"),
        Column("nowcast_low", NUMBER, "10 % quantile", "currency"),
        Column("nowcast_high", NUMBER, "90 % quantile", "currency"),
        Column("cost_per_hour_now", NUMBER, "excess an hour now; 0: ended", "currency/h"),
        Column(
            "month_end_excess_cost",
            NUMBER,
            "excess from the start to the end of the month if nothing is done",
            "currency",
        ),
        Column("verdict", TEXT, "growth, inefficiency, price, accounting, mixed"),
    ),
)
DRIVERS = Table("drivers", "dimension combinations that carry the change: disjoint, largest first", (WHERE, CHANGE))
BEHAVIOUR = Table(
    "behaviour",
    "which behaviour moved the money; rows and remainder add up to the excess",
    (
        *PLACE,
        CHANGE,
        Column("nowcast_change", NUMBER, "the same in the hours not billed yet", "currency"),
    ),
)
TRIGGERS = Table(
    "triggers",
    "recorded changes weighed, most probable first",
    (
        Column("change_id", TEXT, "the record's own id: CloudTrail eventID, CDEvents context.id"),
        Column("also", TEXTS, "further records of the same decision"),
        Column("probability", NUMBER, "that it caused the spike"),
        Column("reasons", TEXTS, "sentences with numbers"),
        *(c for c in CHANGES.columns if c.name not in {"delivery", "change_id", "before", "automated"}),
    ),
)
OWNERS = Table(
    "owners",
    "who runs it, who changed it, who pays: three answers, kept apart",
    (
        Column("role", TEXT, "owner (now), owner_then (when it began, only where another), decided_by, budget_owner"),
        SERVICE,
        Column("team", TEXT, "team, or name of the budget"),
        Column("actor", TEXT, "person or pipeline (decided_by)"),
        Column("contact", TEXT, "Slack channel, mail"),
        Column("source", TEXT, "backstage, tags, codeowners, cloudtrail, account"),
        Column("since", TIME, "when the source first said so; null: since before its first record, or not dated"),
        Column("until", TIME, "when it ceased to say so; null: it still does, or not dated"),
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
        Column("state", TEXT, "estimated: no bill yet; provisional: billed, but its month is not closed and may be restated; final"),
    ),
)
NOWCAST = Table(
    "nowcast",
    "estimates of past days, made as they would have been then, against the bill that has come since",
    (
        Column("day", TIME, "first hour that was not billed then"),
        Column("hours", COUNT, "hours that were estimated", "h"),
        Column("service", TEXT, "service, or the provider's where none is tagged; null: the whole bill"),
        Column("estimated_cost", NUMBER, "what was estimated", "currency"),
        Column("billed_cost", NUMBER, "what was billed", "currency"),
        Column("error", NUMBER, "estimated less billed", "currency"),
        Column("low", NUMBER, "10 % quantile, from the errors known then", "currency"),
        Column("high", NUMBER, "90 % quantile", "currency"),
        Column("inside", pl.Boolean, "the bill lay between them"),
    ),
)
CLOCKS = Table(
    "clocks",
    "when things happened, and when each could first be known",
    (
        Column("what", TEXT, "change, signals, bill, end"),
        Column("happened_at", TIME, "when it happened"),
        Column("known_at", TIME, "when it could be known: log delivery, end of the hour, delivery of the bill"),
        Column("words", TEXT, "the same in a sentence"),
    ),
)
LEDGER = Table("ledger", "excess by behaviour and hour", (Column("hour", TIME, "start of the hour"), *PLACE, CHANGE, ESTIMATED))
CALLS = Table(
    "calls",
    "calls and retries on the edges of the spike, by hour",
    (
        Column("hour", TIME, "start of the hour"),
        Column("service", TEXT, "who handled them"),
        Column("caller", TEXT, "who made them"),
        Column("calls", NUMBER, "attempts, retries included"),
        Column("retries", NUMBER, "repeated attempts"),
        Column("expected_calls", NUMBER, "attempts without the spike"),
    ),
)
DEPENDENCIES = Table(
    "dependencies",
    "paths from the caller who caused it to the bill line that grew",
    (
        Column("path", TEXTS, "services, then the provider's service"),
        CHANGE,
    ),
)
COVERAGE = Table(
    "coverage",
    "which sources covered the window, and what cannot be ruled out",
    (
        Column("source", TEXT, "source"),
        Column("from", TIME, "first hour with records"),
        Column("to", TIME, "end of the last hour with records"),
        Column("gaps", TEXTS, "hours without records where some were expected"),
        Column("cannot_rule_out", TEXT, "what this source would not show"),
    ),
)
GAP = Table(
    "ownership_gap",
    "usage charges of the last 30 billed days with neither service nor team",
    (
        WHERE,
        Column("cost", NUMBER, "EffectiveCost", "currency"),
        Column("likely_team", TEXT, "inferred; null where nothing says"),
        Column("source", TEXT, "what the inference rests on"),
    ),
)
LOST_TAGS = Table(
    "lost_tags",
    "tags that named an owner and are gone, while what they named is used on",
    (
        Column("when", TIME, "first hour billed without them"),
        SERVICE,
        Column("team", TEXT, "whom they named; null: they named the service only"),
        Column("resources", TEXTS, "resources that lost them; empty: the bill names none"),
        Column("cost_since", NUMBER, "EffectiveCost since then, billed hours", "currency"),
        Column("age_days", NUMBER, "from then to the end of the newest hour", "days"),
        Column("change_id", TEXT, "the recorded change after which they were gone; null: none is recorded"),
        Column("summary", TEXT, "that change in words"),
        Column("actor", TEXT, "who made it"),
    ),
)

RESULT_TABLES = (
    SPIKES,
    DRIVERS,
    BEHAVIOUR,
    TRIGGERS,
    OWNERS,
    TIMELINE,
    CLOCKS,
    LEDGER,
    CALLS,
    DEPENDENCIES,
    COVERAGE,
    GAP,
    LOST_TAGS,
    NOWCAST,
)

VERDICTS = Table(
    "verdicts",
    "what owners say of a spike, newest first; the newest of a spike counts",
    (
        Column("spike_id", TEXT, "the spike's id when it was said"),
        Column("verdict", TEXT, "planned, accepted, fixing, fixed, not_ours"),
        Column("note", TEXT, "in their own words"),
        Column("who", TEXT, "who said it"),
        Column("at", TIME, "when"),
        Column("excess_per_hour", NUMBER, "what the spike cost an hour then; 0: it had ended", "currency/h"),
        Column("start", TIME, "the spike's first hour, as it was known then"),
        *PLACE,
    ),
)
PLANS = Table(
    "plans",
    "what is going to cost more on purpose, newest first",
    (
        SERVICE,
        Column("reason", TEXT, "why"),
        Column("start", TIME, "from"),
        Column("until", TIME, "the plan's end"),
        Column("cost_per_day", NUMBER, "what it may cost more; null: whatever it costs", "currency/day"),
        Column("who", TEXT, "who planned it"),
        Column("at", TIME, "when it was registered"),
    ),
)
SAVINGS = Table(
    "savings",
    "fixes of spikes, looked at after 7, 14 and 30 billed days",
    (
        Column("spike_id", TEXT, "the spike"),
        Column("who", TEXT, "who said that it is fixed"),
        Column("days", COUNT, "after so many days"),
        Column("from", TIME, "the fix"),
        Column("to", TIME, "the end of these days"),
        Column("saved", NUMBER, "what they would have cost with the spike's rates, less what they cost", "currency"),
        Column("possible", NUMBER, "what would have been saved had all been normal", "currency"),
        Column("outcome", TEXT, "verified, regressed, inconclusive"),
    ),
)
OWNER_TABLES = (VERDICTS, PLANS, SAVINGS)
BY_NAME = {table.name: table for table in LAKE_TABLES}
TAGGED = ("service", "team", "budget_owner")
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
METER = (*PHYSICAL, *TAGGED)
