"""Who runs it, who changed it, who pays: three answers, kept apart; and the spend that nobody owns.

Who runs a service is asked of five sources in one order (`ORDER`; `[mapping] owners` in costwhy.toml names another): the
catalogue, the team tags of its cost, the CODEOWNERS line of its path, who created its resources, the most frequent team of
its account. The first that answers counts, and each answer says which of them it came from. docs/owners.md writes it down.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.observed import METER, Observed
from costwhy.recorded import Recorded
from costwhy.sources import codeowners

ORDER = ("catalog", "tags", "codeowners", "creator", "account")
DECIDING = ("catalog", "tags", "codeowners")  # an account's most frequent team decided nothing
SWITCH = 0.6  # share of an hour's tagged dollars from which another team runs the service
MAJORITY = 0.5  # share of an account's tagged lines below which its most frequent team is nobody's guess
GAP_DAYS = 30
GAP_ITEMS = 50
LOST_TOGETHER = timedelta(hours=24)  # meters that are billed once a night lose their tags hours before it shows
UNTAGGED_WITHIN = timedelta(hours=24)
NAME_LEAST = 6  # letters of a resource's own name that are looked for in records


@dataclass(frozen=True)
class Answer:
    """A team with its contact and where the answer came from; nulls: not known. since, until: while the source says so."""

    service: str | None
    team: str | None
    contact: str | None
    source: str | None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None


NOBODY = Answer(None, None, None, None)


@dataclass(frozen=True)
class Term:
    """A team that ran a service: since (null: from before the first record) and until (null: still)."""

    team: str
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Directory:
    """The catalogue, the tags and the records of who created what, ready to be asked.

    past: what the catalogue said, with the time at which that was read, oldest first; the last of them is `catalog`.
    hourly: cost by hour, from which tags are dated; empty: they are not dated.
    """

    catalog: pl.DataFrame
    series: pl.DataFrame
    order: tuple[str, ...] = ORDER
    changes: pl.DataFrame = field(default_factory=tables.CHANGES.empty)
    hourly: pl.DataFrame = field(default_factory=tables.HOURLY.empty)
    past: tuple[tuple[datetime, pl.DataFrame], ...] = ()
    _terms: dict[str, tuple[Term, ...]] = field(default_factory=dict, repr=False, compare=False)

    def owner(
        self, service: str | None, path: str | None = None, *, at: datetime | None = None, asked: Sequence[str] | None = None
    ) -> Answer:
        """Who runs this service now, or ran it at a time, by the first source of `asked` (by default, of `order`) that answers."""
        if service is None:
            return NOBODY
        for word in self.order if asked is None else [w for w in self.order if w in asked]:
            found = self._ask(word, service, path, at)
            if found is not None:
                source, term = found
                return Answer(service, term.team, self.contact(term.team, service), source, None, term.since, term.until)
        return replace(NOBODY, service=service)

    def _ask(self, word: str, service: str, path: str | None, at: datetime | None) -> tuple[str, Term] | None:
        if word == "catalog":
            term = self._by_catalog(service, at)
            return ("backstage", term) if term else None
        if word == "tags":
            term = self._by_tags(service, at)
            return ("tags", term) if term else None
        if word == "codeowners":
            entity = self._service(service, self.catalog) or {}
            team = codeowners.owner_of(path or entity.get("path") or f"/services/{service}/", self._paths())
            return ("codeowners", Term(team)) if team else None
        if word == "creator":
            team, _ = self.creator(self.changes.filter(pl.col("service") == service))
            return ("cloudtrail", Term(team)) if team else None
        if "SubAccountId" not in self.series.columns:  # a published case keeps the tags alone
            return None
        accounts = self.series.filter(pl.col("service") == service)["SubAccountId"].drop_nulls().unique().to_list()
        team, share = self.most_frequent(accounts)
        return ("account", Term(team)) if team and share >= MAJORITY else None

    # ------------------------------------------------------------ the catalogue

    def _by_catalog(self, service: str, at: datetime | None) -> Term | None:
        """What the catalogue says now, or said at a time; what was read first stands for the time before."""
        terms = _joined([(read, self._owner_in(service, state)) for read, state in self.past or ((None, self.catalog),)])
        return _term_at(terms, at)

    def _owner_in(self, service: str, state: pl.DataFrame) -> str | None:
        entity = self._service(service, state)
        return str(entity["owner"]) if entity is not None and entity["owner"] else None

    def _service(self, name: str, state: pl.DataFrame) -> dict[str, str] | None:
        return _entity(state, "component", name) or _entity(state, "resource", name)

    def _paths(self) -> pl.DataFrame:
        return self.catalog.filter(pl.col("kind") == "path").sort("position")

    # ------------------------------------------------------------ the tags

    def _by_tags(self, service: str, at: datetime | None) -> Term | None:
        """Whom the team tags name: those of the last tagged hour, or of a time; undated, the most frequent one."""
        if service not in self._terms:
            self._terms[service] = self._tag_terms(service)
        if self._terms[service]:
            return _term_at([(t.team, t.since, t.until) for t in self._terms[service]], at)
        tagged = self.series.filter((pl.col("service") == service) & pl.col("team").is_not_null())["team"].mode().sort()
        return Term(tagged[0]) if tagged.len() else None

    def _tag_terms(self, service: str) -> tuple[Term, ...]:
        """The teams that the tags named, one after the other: another team takes over with SWITCH of an hour's dollars."""
        if self.hourly.is_empty():
            return ()
        tagged = self.series.filter((pl.col("service") == service) & pl.col("team").is_not_null()).select("series_id", "team")
        rows = self.hourly.filter(pl.col("series_id").is_in(tagged["series_id"].implode())).join(tagged, on="series_id")
        sums = rows.group_by("hour", "team").agg(cost=pl.col("EffectiveCost").abs().sum()).filter(pl.col("cost") > 0)
        share = pl.col("cost") / pl.col("cost").sum().over("hour")
        first = sums.with_columns(share=share).sort("hour", "share", "team", descending=[False, True, False]).unique("hour", keep="first")
        terms: list[tuple[str, datetime | None, datetime | None]] = []
        for hour, team, part in first.sort("hour").select("hour", "team", "share").iter_rows():
            if not terms:
                terms.append((team, None, None))
            elif team != terms[-1][0] and part >= SWITCH:
                terms[-1] = (*terms[-1][:2], hour)
                terms.append((team, hour, None))
        return tuple(Term(*t) for t in terms)

    # ------------------------------------------------------------ who created it, whose account it is

    def creator(self, changes: pl.DataFrame) -> tuple[str | None, str | None]:
        """Team and name of the first person among these records who created something and whose team is known."""
        made = changes.filter((pl.col("kind") == "create") & ~pl.col("automated").fill_null(value=False)).sort("time")
        for actor in made["actor"].drop_nulls().unique(maintain_order=True).to_list():
            team = self.team_of(actor)
            if team is not None:
                return team, actor
        return None, None

    def most_frequent(self, accounts: Sequence[str]) -> tuple[str | None, float]:
        """The team that most tagged lines of these accounts name, and its share of them."""
        teams = self.series.filter(pl.col("SubAccountId").is_in(list(accounts)))["team"].drop_nulls()
        counts = teams.value_counts().sort("count", "team", descending=[True, False])
        return (str(counts["team"][0]), float(counts["count"][0] / teams.len())) if teams.len() else (None, 0.0)

    # ------------------------------------------------------------ people

    def contact(self, team: str | None, service: str | None = None) -> str | None:
        """How to reach a team: its Slack channel, its mail, its PagerDuty; else the service's own; else a member's mail."""
        if not team:
            return None
        group = _entity(self.catalog, "group", team) or {}
        own = self._service(service, self.catalog) if service else None
        found = group.get("contact") or group.get("email") or (own or {}).get("contact")
        if found:
            return str(found)
        people = self.catalog.filter((pl.col("kind") == "user") & pl.col("member_of").list.contains(team) & pl.col("email").is_not_null())
        return str(people.sort("name")["email"][0]) if people.height else None

    def team_of(self, actor: str | None) -> str | None:
        """The first team of a person, by entity name, mail address or display name."""
        if not actor:
            return None
        person = actor.split("@")[0].lower()
        users = self.catalog.filter(
            (pl.col("kind") == "user")
            & (
                (pl.col("name").str.to_lowercase() == person)
                | (pl.col("email").str.to_lowercase() == actor.lower())
                | (pl.col("title").str.to_lowercase() == actor.lower())
            )
        )
        groups = users["member_of"][0] if users.height else None
        return None if groups is None or not len(groups) else str(groups[0])

    def person(self, actor: str | None) -> str | None:
        """Mail address of a person known by another spelling; the actor as given otherwise."""
        if not actor or "@" in actor:
            return actor
        users = self.catalog.filter((pl.col("kind") == "user") & ((pl.col("name") == actor) | (pl.col("title") == actor)))
        return users["email"][0] or actor if users.height else actor


def _entity(state: pl.DataFrame, kind: str, name: str) -> dict[str, str] | None:
    rows = state.filter((pl.col("kind") == kind) & (pl.col("name") == name))
    return rows.row(0, named=True) if rows.height else None


def _joined(said: Sequence[tuple[datetime | None, str | None]]) -> list[tuple[str, datetime | None, datetime | None]]:
    """Terms from what was said at times: each begins when another team is first named, the first one before all records."""
    marks = [(None if k == 0 else time, team) for k, (time, team) in enumerate(said) if k == 0 or team != said[k - 1][1]]
    ends = [begin for begin, _ in marks[1:]] + [None]
    return [(team, begin, end) for (begin, team), end in zip(marks, ends, strict=True) if team is not None]


def _term_at(terms: Sequence[tuple[str, datetime | None, datetime | None]], at: datetime | None) -> Term | None:
    """The term that a time falls into; null: the one that goes on, or for a time in no term."""
    if at is None:
        return next((Term(*t) for t in reversed(terms) if t[2] is None), None)
    return next((Term(*t) for t in reversed(terms) if (t[1] is None or t[1] <= at) and (t[2] is None or at < t[2])), None)


def find_owners(
    directory: Directory, service: str | None, trigger: dict[str, object] | None, budget: Answer | None, start: datetime | None = None
) -> pl.DataFrame:
    """The answers as rows of `tables.OWNERS`; a role that nobody is known for has no row.

    start: when the spike began; the row `owner_then` is there only where somebody else ran the service at that time.
    """
    rows = []
    path = trigger.get("path") if trigger and trigger.get("service") == service else None
    owner = directory.owner(service, str(path) if path else None)
    then = owner_then(directory, owner, start) if start is not None else None
    if owner.team is not None:
        rows.append(_row("owner", owner))
    if then is not None:
        rows.append(_row("owner_then", then))
    decided = decided_by(directory, trigger) if trigger else None
    if decided is not None:
        rows.append(_row("decided_by", decided))
    if budget is not None:
        rows.append(_row("budget_owner", budget))
    return tables.OWNERS.fit(pl.DataFrame(rows, schema=tables.OWNERS.schema)) if rows else tables.OWNERS.empty()


def owner_then(directory: Directory, owner: Answer, start: datetime) -> Answer | None:
    """Who ran the service when the spike began, where that was somebody else; null: the same team, or nothing is dated.

    Like is compared with like: the source that names the owner now. A catalogue that was first read after the start cannot
    say; there the tags of that time can, if those of today agree with it.
    """
    word = {"backstage": "catalog", "tags": "tags"}.get(owner.source or "")
    if word is None:
        return None
    then = directory.owner(owner.service, at=start, asked=(word,))
    late = word == "catalog" and (not directory.past or directory.past[0][0] > start)
    if late:
        tags = directory.owner(owner.service, asked=("tags",))
        then = directory.owner(owner.service, at=start, asked=("tags",)) if tags.team == owner.team else then
    return then if then.team is not None and then.team != owner.team else None


def decided_by(directory: Directory, change: dict[str, object]) -> Answer:
    """Who made a change: the person and their team; the team of what was changed where the person's is not known."""
    service, actor, path = (change.get(name) for name in ("service", "actor", "path"))
    person = directory.person(str(actor)) if actor else None
    by_service = directory.owner(str(service) if service else None, str(path) if path else None, asked=DECIDING)
    team = directory.team_of(person) or by_service.team
    contact = directory.contact(team) or (person if person and "@" in person else None)
    return Answer(str(service) if service else None, team, contact, str(change.get("source") or ""), person)


def budget_owner(observed: Observed, meters: Sequence[int]) -> Answer | None:
    """Who pays: the budget tag of most of these meters, else the name of their account."""
    rows = observed.meters[list(meters)]
    tagged = rows["budget_owner"].drop_nulls().mode().sort()
    if tagged.len():
        return Answer(None, tagged[0], None, "tags")
    account = rows.select(pl.coalesce("SubAccountName", "SubAccountId")).to_series().drop_nulls().mode().sort()
    return Answer(None, account[0], None, "account") if account.len() else None


def _row(role: str, answer: Answer) -> dict[str, object]:
    return {
        "role": role,
        "service": answer.service,
        "team": answer.team,
        "actor": answer.actor,
        "contact": answer.contact,
        "source": answer.source,
        "since": answer.since,
        "until": answer.until,
    }


# ---------------------------------------------------------------- what nobody owns


def ownership_gap(observed: Observed, lake_tables: dict[str, pl.DataFrame], directory: Directory) -> tuple[float, float, pl.DataFrame]:
    """Usage charges of the last 30 billed days with neither service nor team: dollars, share of all usage, items (tables.GAP).

    Items are resources where the bill names them, else the provider's service and usage type; their dollars are by the day,
    the first day in proportion to its hours inside the window.
    """
    end = observed.billed_through
    begin = max(observed.hours[0], end - timedelta(days=GAP_DAYS))
    series = lake_tables["series"].filter(pl.col("ChargeCategory").fill_null("Usage") == "Usage")
    hourly = lake_tables["hourly"].filter(pl.col("hour").is_between(begin, end, closed="left")).join(series, on="series_id")
    nobody = pl.col("service").is_null() & pl.col("team").is_null()
    whole = float(hourly["EffectiveCost"].sum())
    lost = float(hourly.filter(nobody)["EffectiveCost"].sum())
    inside = hourly.filter(nobody).group_by("series_id", day=pl.col("hour").dt.truncate("1d")).agg(inside=pl.col("EffectiveCost").sum())
    daily = (
        lake_tables["daily"]
        .join(series.filter(nobody), on="series_id")
        .with_columns(whole=pl.col("EffectiveCost").sum().over("series_id", "day"))
    )
    shares = daily.join(inside, on=["series_id", "day"]).with_columns(
        cost=pl.when(pl.col("whole") != 0).then(pl.col("EffectiveCost") * pl.col("inside") / pl.col("whole")).otherwise(0.0)
    )
    named = pl.col("ResourceId").is_not_null()
    keys = [pl.when(named).then(None).otherwise(pl.col(name)).alias(name) for name in ("ServiceName", "x_UsageType", "SubAccountId")]
    kinds = shares.with_columns(usage_type="x_UsageType", account="SubAccountId").group_by("ResourceId", *keys)
    items = kinds.agg(pl.col("cost").sum(), _usual("account"), _usual("usage_type"))
    items = items.filter(pl.col("cost").abs() >= 0.005).sort("cost", descending=True).head(GAP_ITEMS)
    traces = traces_of(lake_tables)
    guesses = [
        likely_team(directory, traces, Unowned(item["ResourceId"], item["account"], item["usage_type"]))
        for item in items.iter_rows(named=True)
    ]
    rows = [
        {
            "where": _item_where(item),
            "cost": round(item["cost"], 2),
            "likely_team": guesses[k][0],
            "source": guesses[k][1],
        }
        for k, item in enumerate(items.iter_rows(named=True))
    ]
    return (
        lost,
        (lost / whole if whole else 0.0),
        pl.DataFrame(rows, schema=tables.GAP.schema) if rows else tables.GAP.empty(),
    )


def _usual(name: str) -> pl.Expr:
    return pl.col(name).drop_nulls().mode().sort().first()


def _item_where(item: dict[str, object]) -> str:
    if item["ResourceId"]:
        return json.dumps({"ResourceId": item["ResourceId"]})
    return json.dumps({k: item[k] for k in ("ServiceName", "x_UsageType", "SubAccountId") if item[k] is not None})


@dataclass(frozen=True)
class Unowned:
    """Spend without tags: the resource where the bill names one, its account, what is metered."""

    resource: str | None
    account: str | None
    usage_type: str | None = None


@dataclass(frozen=True)
class Traces:
    """What may say whose a resource is: tags that it once had, those like it, who may have created it, services that its name may name."""

    former: Mapping[str, str]
    like: pl.DataFrame  # SubAccountId, x_UsageType, team, n: tagged resources
    changes: pl.DataFrame
    known: Sequence[str]


def traces_of(lake_tables: Mapping[str, pl.DataFrame]) -> Traces:
    """What the lake's daily cost, series and changes say about resources."""
    tagged = (
        lake_tables["daily"]
        .join(lake_tables["series"].filter(pl.col("team").is_not_null()), on="series_id")
        .filter(pl.col("ResourceId").is_not_null())
    )
    former = tagged.sort("day").group_by("ResourceId").agg(pl.col("team").last())
    like = tagged.group_by("SubAccountId", "x_UsageType", "team").agg(n=pl.col("ResourceId").n_unique())
    changes = lake_tables["changes"].filter((pl.col("kind") == "create") & ~pl.col("automated").fill_null(value=False))
    known = sorted(set(lake_tables["series"]["service"].drop_nulls().to_list()), key=lambda name: (-len(name), name))
    return Traces(dict(former.iter_rows()), like, changes, known)


def likely_team(directory: Directory, traces: Traces, what: Unowned) -> tuple[str | None, str | None]:
    """Who probably owns a resource without tags, and what that rests on; nulls where nothing says.

    The directory's order holds here too. What a name says (a service's name in it) stands before the account, which says least.
    """
    at = directory.order.index("account") if "account" in directory.order else len(directory.order)
    for word in (*directory.order[:at], "name", *directory.order[at:]):
        team, why = _trace(word, directory, traces, what)
        if team is not None:
            return team, why
    return None, None


def _trace(word: str, directory: Directory, traces: Traces, what: Unowned) -> tuple[str | None, str | None]:
    resource = what.resource or ""
    tail = re.split(r"[:/]", resource)[-1]
    if word == "catalog" and tail:
        entity = _entity(directory.catalog, "resource", tail)
        return (str(entity["owner"]), "backstage") if entity is not None and entity["owner"] else (None, None)
    if word == "tags" and resource in traces.former:
        return traces.former[resource], "tags before they were lost"
    if word == "creator" and len(tail) >= NAME_LEAST:
        team, actor = directory.creator(_naming(traces.changes, [tail]))
        return team, f"created by {actor}" if team else None
    if word == "name" and resource:
        named = next((s for s in traces.known if re.search(rf"(^|[^a-z0-9]){re.escape(s.lower())}($|[^a-z0-9])", resource.lower())), None)
        owner = directory.owner(named, asked=DECIDING) if named else NOBODY
        return owner.team, f"named like {named}" if owner.team else None
    if word == "account" and what.account:
        return _neighbours(directory, traces, what)
    return None, None


def _neighbours(directory: Directory, traces: Traces, what: Unowned) -> tuple[str | None, str | None]:
    """The team of most tagged resources of the same usage type in the account; else of most tagged lines of the account."""
    same = traces.like.filter((pl.col("SubAccountId") == what.account) & (pl.col("x_UsageType") == what.usage_type))
    best = same.sort("n", "team", descending=[True, False]).head(1)
    if best.height and best["n"][0] >= MAJORITY * float(same["n"].sum()):
        return best["team"][0], f"most {what.usage_type} of account {what.account} ({best['n'][0] / same['n'].sum():.0%})"
    team, share = directory.most_frequent([str(what.account)])
    return (team, f"most frequent in account {what.account} ({share:.0%})") if share >= MAJORITY else (None, None)


def _naming(changes: pl.DataFrame, tails: Sequence[str]) -> pl.DataFrame:
    """Records that name a resource, by the last part of its ARN."""
    texts = pl.concat_str("resource", "after", separator=" ", ignore_nulls=True)
    return changes.filter(texts.str.contains_any(list(tails)).fill_null(value=False)) if tails else changes.head(0)


# ---------------------------------------------------------------- tags that were lost


def find_lost_tags(observed: Observed, lake_tables: Mapping[str, pl.DataFrame], recorded: Recorded) -> pl.DataFrame:
    """Tags that named an owner and are gone, while the usage goes on: `tables.LOST_TAGS`, most dollars since first."""
    lost: dict[tuple[str | None, str | None], list[tuple[int, int]]] = {}
    for handed in observed.handed:
        key = (observed.meters["service"][handed.meter], observed.meters["team"][handed.meter])
        lost.setdefault(key, []).append((handed.hour, handed.meter))
    rows = [
        _lost_row(observed, lake_tables, recorded, (service, team, together))
        for (service, team), meters in lost.items()
        for together in _together(sorted(meters))
    ]
    frame = tables.LOST_TAGS.fit(pl.DataFrame(rows, schema=tables.LOST_TAGS.schema)) if rows else tables.LOST_TAGS.empty()
    return frame.sort("cost_since", "when", "service", descending=[True, False, False])


def _together(meters: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Meters by the hour in which their tags ended, those of one day together."""
    cuts = [0, *(k + 1 for k, (a, b) in enumerate(pairwise(meters)) if b[0] - a[0] > LOST_TOGETHER / timedelta(hours=1)), len(meters)]
    return [meters[a:b] for a, b in pairwise(cuts)]


def _lost_row(
    observed: Observed,
    lake_tables: Mapping[str, pl.DataFrame],
    recorded: Recorded,
    what: tuple[str | None, str | None, list[tuple[int, int]]],
) -> dict[str, object]:
    service, team, meters = what
    when = observed.hours[min(max(hour for hour, _ in meters), len(observed.hours) - 1)]  # the last to show is the first without a doubt
    resources = _resources(observed, lake_tables, [m for _, m in meters], when)
    change = _untagging(recorded, when, resources, service)
    return {
        "when": when,
        "service": service,
        "team": team,
        "resources": resources,
        "cost_since": round(sum(float(observed.cost[m, hour : observed.billed].sum()) for hour, m in meters), 2),
        "age_days": (observed.as_of - when) / timedelta(days=1),
        **{name: change.get(name) for name in ("change_id", "summary", "actor")},
    }


def _resources(observed: Observed, lake_tables: Mapping[str, pl.DataFrame], meters: Sequence[int], when: datetime) -> list[str]:
    """Resources that these meters named in the week before, and that are billed without their tags since."""
    series, daily = lake_tables["series"], lake_tables["daily"].filter(pl.col("ResourceId").is_not_null())
    had = series.join(observed.meters[list(meters)], on=list(METER), how="semi", nulls_equal=True)["series_id"]
    bare = series.filter(pl.col("service").is_null() | pl.col("team").is_null())["series_id"]
    before = pl.col("day").is_between(when - timedelta(days=8), when)
    named = set(daily.filter(before & pl.col("series_id").is_in(had.implode()))["ResourceId"].to_list())
    later = (pl.col("day") >= when - timedelta(days=1)) & pl.col("series_id").is_in(bare.implode())
    return sorted(named & set(daily.filter(later)["ResourceId"].to_list()))


def _untagging(recorded: Recorded, when: datetime, resources: Sequence[str], service: str | None) -> dict[str, object]:
    """The record after which the tags were gone: of tags before others, naming the resources before naming the service; the last such."""
    near = recorded.between(when - UNTAGGED_WITHIN, when + timedelta(hours=1))
    rows = recorded.rows[near]
    if rows.is_empty():
        return {}
    tails = [tail for tail in (re.split(r"[:/]", r)[-1] for r in resources) if len(tail) >= NAME_LEAST]
    whole = [r for r in resources if len(r) >= NAME_LEAST]
    naming = rows["change_id"].is_in(_naming(rows, [*tails, *whole])["change_id"].implode()).to_numpy()
    there = np.array([s is not None and s == service for s in recorded.service[near]], dtype=bool)
    tags = recorded.doing[near] == "tag"
    score = 4 * tags + 2 * naming + there
    fits = (naming | there) & (score > 1)  # of the service alone, and no tag call: any deployment would do
    best = max((k for k in range(rows.height) if fits[k]), key=lambda k: (int(score[k]), k), default=None)
    return {} if best is None else rows.row(best, named=True)
