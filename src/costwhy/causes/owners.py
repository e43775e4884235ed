"""Who runs a service, who changed it, who pays: three answers that are kept apart.

Five sources are asked who runs a service, in one order (`ORDER`, or `[mapping] owners` in
costwhy.toml): the catalogue, the team tags of its cost, the CODEOWNERS line of its path, who
created its resources, the most frequent team of its account. The first that names a team counts,
and the answer says which it was. `docs/owners.md` has the rules.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cache, cached_property, partial
from itertools import groupby, zip_longest
from operator import itemgetter
from typing import Any

import polars as pl

from costwhy import tables
from costwhy.model.observed import Observed
from costwhy.sources.owners import codeowners

ORDER = ("catalog", "tags", "codeowners", "creator", "account")
DECIDING = ("catalog", "tags", "codeowners")  # who owns what was changed; the others only guess
SOURCES = {"catalog": "backstage", "creator": "cloudtrail"}  # the other words name themselves
SWITCH = 0.6  # share of an hour's tagged dollars from which another team runs the service
MAJORITY = 0.5  # share of an account's tagged lines that its most frequent team must have


@dataclass(frozen=True)
class Answer:
    """A team, its contact, and the source that names it; nulls: not known.

    since, until  while the source names it; null: before its first record, still, or not dated
    """

    service: str | None = None
    team: str | None = None
    contact: str | None = None
    source: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def covers(self, time: datetime | None) -> bool:
        """Whether the source names it at that time; null: still."""
        if time is None:
            return self.until is None
        return (self.since is None or self.since <= time) and (
            self.until is None or time < self.until
        )


@dataclass(frozen=True)
class Directory:
    """What the sources say about owners.

    catalog  as it is now (tables.CATALOG)
    series   the lines of the bill with their tags (tables.SERIES)
    order    the sources to ask
    changes  who created what (tables.CHANGES)
    hourly   cost by hour, which dates the tags; None: they are not dated
    past     the catalogue at each time at which it was read, oldest first
    """

    catalog: pl.DataFrame
    series: pl.DataFrame
    order: tuple[str, ...] = ORDER
    changes: pl.DataFrame = field(default_factory=tables.CHANGES.empty)
    hourly: pl.LazyFrame | None = None
    past: tuple[tuple[datetime, pl.DataFrame], ...] = ()

    def owner(
        self,
        service: str | None,
        path: str | None = None,
        *,
        at: datetime | None = None,
        asked: Sequence[str] = ORDER,
    ) -> Answer:
        """Who runs a service now, or ran it at a time.

        path: of a change in its repository, for CODEOWNERS; asked: the sources that may answer
        """
        words = [word for word in self.order if word in asked] if service is not None else []
        for word in words:
            for term in self._terms(word, str(service), path):
                if term.covers(at):
                    return replace(
                        term,
                        service=service,
                        contact=self.contact(term.team, service),
                        source=SOURCES.get(word, word),
                    )
        return Answer(service)

    def _terms(self, word: str, service: str, path: str | None) -> list[Answer]:
        match word:
            case "catalog":
                now: list[tuple[datetime | None, pl.DataFrame]] = [(None, self.catalog)]
                return _dated(
                    (read, _service(state, service).get("owner"))
                    for read, state in self.past or now
                )
            case "tags":
                return self._by_tags(service)
            case "codeowners":
                own = _service(self.catalog, service).get("path") or f"/services/{service}/"
                team = codeowners.owner_of(path or own, self.catalog)
            case "creator":
                team, _ = self.creator(self.changes.filter(pl.col("service") == service))
            case _:
                team = self._by_account(service)
        return [Answer(team=team)] if team else []

    @cached_property
    def _by_tags(self) -> Callable[[str], list[Answer]]:
        return cache(partial(_terms_of_tags, self.series, self.hourly))

    def _by_account(self, service: str) -> str | None:
        if "SubAccountId" not in self.series.columns:  # a published case keeps the tags alone
            return None
        team, share = self.most_frequent(
            self.series.filter(pl.col("service") == service)["SubAccountId"]
            .drop_nulls()
            .unique()
            .to_list()
        )
        return team if share >= MAJORITY else None

    def creator(self, changes: pl.DataFrame) -> tuple[str | None, str | None]:
        """The first person who created something by these records and has a team: team, name."""
        made = changes.filter(
            (pl.col("kind") == "create") & ~pl.col("automated").fill_null(value=False)
        ).sort("time")
        actors = made["actor"].drop_nulls().unique(maintain_order=True).to_list()
        teams = ((self.team_of(actor), actor) for actor in actors)
        return next((found for found in teams if found[0] is not None), (None, None))

    def most_frequent(self, accounts: Sequence[str]) -> tuple[str | None, float]:
        """The team that most tagged lines of these accounts name, and its share of them."""
        teams = self.series.filter(pl.col("SubAccountId").is_in(accounts))["team"].drop_nulls()
        counts = teams.value_counts().sort("count", "team", descending=[True, False])
        return next(((team, n / teams.len()) for team, n in counts.iter_rows()), (None, 0.0))

    # ------------------------------------------------------------ people

    def contact(self, team: str | None, service: str | None = None) -> str | None:
        """How to reach a team.

        Its Slack channel, its mail address, its PagerDuty id; else the service's own contact; else
        the mail address of a member.
        """
        if not team:
            return None
        group = entity_of(self.catalog, team, "group")
        own = _service(self.catalog, service) if service else {}
        member = pl.col("member_of").list.contains(team) & pl.col("email").is_not_null()
        mails = self._users.filter(member).sort("name")["email"].to_list()
        ways = (group.get("contact"), group.get("email"), own.get("contact"), *mails)
        return next((way for way in ways if way), None)

    def team_of(self, actor: str | None) -> str | None:
        """The first team of a person, by entity name, mail address or display name."""
        if not actor:
            return None
        name, mail, title = (pl.col(n).str.to_lowercase() for n in ("name", "email", "title"))
        whole = actor.lower()
        same = (name == whole.split("@")[0]) | (mail == whole) | (title == whole)
        teams = self._users.filter(same)["member_of"].head(1).to_list()
        return next((team for named in teams for team in named or ()), None)

    def mail_of(self, actor: str | None) -> str | None:
        """The mail address of a person given by entity or display name, else the actor as given."""
        if not actor or "@" in actor:
            return actor
        users = self._users.filter((pl.col("name") == actor) | (pl.col("title") == actor))
        return next(iter(users["email"]), None) or actor

    @cached_property
    def _users(self) -> pl.DataFrame:
        return self.catalog.filter(pl.col("kind") == "user")


def entity_of(catalog: pl.DataFrame, name: str, *kinds: str) -> dict[str, Any]:
    """The entity of that name, of the first of these kinds that has one; empty: there is none."""
    named = catalog.filter(pl.col("name") == name)
    return next(
        (row for kind in kinds for row in named.filter(pl.col("kind") == kind).to_dicts()), {}
    )


def _service(catalog: pl.DataFrame, name: str) -> dict[str, Any]:
    return entity_of(catalog, name, "component", "resource")


def _terms_of_tags(series: pl.DataFrame, hourly: pl.LazyFrame | None, service: str) -> list[Answer]:
    """The teams that the tags of a service name; if they are not dated, the most frequent one.

    Another team takes over in the hour in which it has SWITCH of the tagged dollars.
    """
    tagged = series.filter((pl.col("service") == service) & pl.col("team").is_not_null())
    undated = _dated([(None, _mode(tagged["team"]))])
    if hourly is None:
        return undated
    sure = (
        hourly.join(tagged.lazy().select("series_id", "team"), on="series_id")
        .group_by("hour", "team")
        .agg(cost=pl.col("EffectiveCost").abs().sum())
        .collect()
        .filter(pl.col("cost") > 0)
        .with_columns(share=pl.col("cost") / pl.col("cost").sum().over("hour"))
        .sort("hour", "share", "team", descending=[False, True, False])
        .unique("hour", keep="first", maintain_order=True)
        .filter((pl.col("share") >= SWITCH) | (pl.int_range(pl.len()) == 0))
        .select("hour", "team")
    )
    return _dated(sure.iter_rows()) or undated


def _mode(values: pl.Series) -> str | None:
    return next(iter(values.drop_nulls().mode().sort()), None)


def _dated(named: Iterable[tuple[datetime | None, str | None]]) -> list[Answer]:
    """Teams with their dates, from (time, team) in order; what is named first holds before it."""
    runs = [(team, next(run)[0]) for team, run in groupby(named, key=itemgetter(1))]
    since = [None if nth == 0 else time for nth, (_, time) in enumerate(runs)]
    dates = zip_longest(runs, since, since[1:])
    return [Answer(team=team, since=a, until=b) for (team, _), a, b in dates if team]


# ---------------------------------------------------------------- the answers of a case


def find_owners(
    directory: Directory,
    service: str | None,
    trigger: dict[str, Any] | None,
    budget: Answer | None,
    start: datetime | None = None,
) -> pl.DataFrame:
    """The answers as rows of `tables.OWNERS`; a role that nobody is known for has no row.

    start: of the spike; `owner_then` is there only if another team ran the service at that time.
    """
    owner = directory.owner(
        service, trigger["path"] if trigger and trigger["service"] == service else None
    )
    answers = {
        "owner": owner if owner.team is not None else None,
        "owner_then": owner_then(directory, owner, start) if start is not None else None,
        "decided_by": decided_by(directory, trigger) if trigger else None,
        "budget_owner": budget,
    }
    return tables.OWNERS.of(
        [{"role": role, **asdict(answer)} for role, answer in answers.items() if answer is not None]
    )


def owner_then(directory: Directory, owner: Answer, start: datetime) -> Answer | None:
    """Who ran the service when the spike began; null: the same team, or nothing is dated.

    Only the source that names the owner now is asked. A catalogue that was first read after the
    start cannot say who it was; then the tags of that time count, if those of today agree with it.
    """
    word = {"backstage": "catalog", "tags": "tags"}.get(owner.source or "")
    if word is None:
        return None
    read_later = word == "catalog" and (not directory.past or directory.past[0][0] > start)
    if read_later and directory.owner(owner.service, asked=("tags",)).team == owner.team:
        word = "tags"
    then = directory.owner(owner.service, at=start, asked=(word,))
    return then if then.team is not None and then.team != owner.team else None


def decided_by(directory: Directory, change: dict[str, Any]) -> Answer:
    """Who made a change, and their team: if that is not known, the owner of what was changed."""
    service = change["service"]
    person = directory.mail_of(change["actor"])
    team = (
        directory.team_of(person) or directory.owner(service, change["path"], asked=DECIDING).team
    )
    contact = directory.contact(team) or (person if person and "@" in person else None)
    return Answer(service, team, contact, change["source"], person)


def budget_owner(observed: Observed, meters: Sequence[int]) -> Answer | None:
    """Who pays: the budget tag of most of these meters, else the name of their account."""
    rows = observed.meters[list(meters)].with_columns(
        account=pl.coalesce("SubAccountName", "SubAccountId")
    )
    named = {"tags": _mode(rows["budget_owner"]), "account": _mode(rows["account"])}
    return next((Answer(team=team, source=source) for source, team in named.items() if team), None)
