"""Who runs it, who changed it, who pays: three answers, kept apart; and the spend that nobody owns.

Who runs a service is asked of five sources in one order (`ORDER`; `[mapping] owners` in costwhy.toml names another): the
catalogue, the team tags of its cost, the CODEOWNERS line of its path, who created its resources, the most frequent team of
its account. The first that answers counts, and each answer says which of them it came from. docs/owners.md writes it down.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl

from costwhy import tables
from costwhy.model.observed import Observed
from costwhy.sources.owners import codeowners

ORDER = ("catalog", "tags", "codeowners", "creator", "account")
DECIDING = ("catalog", "tags", "codeowners")  # an account's most frequent team decided nothing
SWITCH = 0.6  # share of an hour's tagged dollars from which another team runs the service
MAJORITY = 0.5  # share of an account's tagged lines below which its most frequent team is nobody's guess


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
        return entity_of(state, "component", name) or entity_of(state, "resource", name)

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
        group = entity_of(self.catalog, "group", team) or {}
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


def entity_of(state: pl.DataFrame, kind: str, name: str) -> dict[str, str] | None:
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
