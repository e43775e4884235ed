"""A case in sentences, each with the evidence that it rests on. Plain text: whoever shows it escapes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from costwhy.behaviours import BY_KIND, DEMAND, VERDICT_WORDS
from costwhy.case.case import Case
from costwhy.text import clock, money

LEAST_TOLD = 0.01
MOST = 0.75  # of the excess: a first row that carries it is the whole headline


@dataclass(frozen=True)
class Sentence:
    """One statement and the table of the case that it rests on."""

    text: str
    evidence: str


def behaviour_words(row: Mapping[str, object]) -> str:
    """A behaviour row as a noun phrase: webhooks' retries against accounts-store."""
    service, caller, usage = (row[name] for name in ("service", "caller", "usage_type"))
    return BY_KIND[str(row["kind"])].phrase.format(
        service=service or "untagged",
        services=_whose(service),
        callers=_whose(caller),
        timer=str(caller or "").removeprefix("schedule:"),
        usage=usage,
    )


def headline(case: Case) -> str:
    """The answer in one sentence: $1,048 more since 21 Oct 09:00 UTC: webhooks’ retries against accounts-store."""
    s = case.spike
    when = f"since {clock(s.start)}" if s.end is None else f"from {clock(s.start)} to {clock(s.end)}"
    return f"{money(abs(case.total), case.currency)} {'more' if case.total >= 0 else 'less'} {when}: {_causes(case)}"


def _causes(case: Case) -> str:
    """The first behaviour, the second where the first is less than most of it, and how many more."""
    rows = case.behaviour.to_dicts()
    if not rows:
        return "nothing that is measured here moved it"
    words = [behaviour_words(row) for row in rows]
    if len(rows) == 1 or _row_total(rows[0]) >= MOST * case.total > 0:
        return words[0]
    more = f" and {len(rows) - 2} more" if len(rows) > 2 else ""
    return f"{words[0]}{', ' if more else ' and '}{words[1]}{more}"


def _whose(name: object) -> str:
    return f"{name}’" if str(name).endswith("s") else f"{name}’s"


def tell(case: Case) -> tuple[Sentence, ...]:
    """The whole case in order: what, why, which change, who, still running, what is not known."""
    parts = (_impact(case), _calendar(case), _why(case), _counterfactual(case), _change(case), _who(case), _still(case), _doubt(case))
    return tuple(part for part in parts if part is not None)


def lost_sentence(row: Mapping[str, object], currency: str) -> Sentence:
    """A row of `tables.LOST_TAGS`: whose tags went, when, after which change, what that cost since. Evidence: the change's id."""
    when, resources = _at(row["when"]), row["resources"]
    assert isinstance(resources, list)
    what = f"{len(resources)} resource{'s' if len(resources) != 1 else ''}" if resources else "usage"
    team = str(row["team"] or "an unnamed team") + (f" ({row['service']})" if row["service"] else "")
    after = (
        f"after this change ({row['summary'] or 'a change'} by {row['actor'] or 'somebody'})"
        if row["change_id"]
        else "after no recorded change"
    )
    return Sentence(
        f"Ownership of {what} of {team} disappeared at {when:%H:%M} on {when.day} {when:%B}, "
        f"{after}, {money(_f(row['cost_since']), currency)} since, {_f(row['age_days']):.0f} days ago.",
        str(row["change_id"] or "lost_tags"),
    )


def gap_lines(document: Mapping[str, object], lost: Sequence[Mapping[str, object]]) -> list[str]:
    """What nobody owns, as text lines: the sum, tags that were lost (rows of `tables.LOST_TAGS`), the largest items."""
    gap, currency = document["ownership_gap"], str(document["currency"])
    assert isinstance(gap, dict)
    if not gap["cost"] and not lost:
        return []
    out = ["", f"nobody owns {money(gap['cost'], currency)} of the last 30 billed days, {gap['share']:.1%} of all usage"]
    out += [f"  {s.text} [{s.evidence}]" for s in (lost_sentence(row, currency) for row in lost)]
    for item in gap["items"][:5]:
        likely = f"likely {item['likely_team']}, {item['source']}" if item["likely_team"] else "nothing says whose"
        out.append(f"  {money(item['cost'], currency):>10}  {' · '.join(str(v) for v in item['where'].values())}: {likely}")
    return out


def lines(document: Mapping[str, object]) -> list[str]:
    """The contract's document as text lines for a terminal."""
    spikes = document["spikes"]
    assert isinstance(spikes, list)
    currency = str(document["currency"])
    out = [
        f"{document['workspace']}: {len(spikes)} spike{'' if len(spikes) == 1 else 's'} as of {document['as_of']}, billed through {document['billed_through']}"
    ]
    for s in spikes:
        out.append("")
        out.append(
            f"{s['spike_id']}  {money(s['excess_cost'] + ((s['nowcast'] or {}).get('excess_cost') or 0.0), currency)}  {s['verdict']}"
            f"{', planned' if s['planned'] else ''}, {_when(s, currency)}"
        )
        out.extend(
            f"  {money(b['cost_change'] + (b['nowcast_change'] or 0.0), currency):>10}  {behaviour_words(b)}" for b in s["behaviour"]
        )
        out.extend(f"  {t['probability']:>9.0%}  {t['summary'] or t['change_id']} ({'; '.join(t['reasons'])})" for t in s["triggers"][:3])
        out.append(f"  {s['no_recorded_change']:>9.0%}  no recorded change")
        if s.get("calendar_cost"):
            out.append(
                f"  {money(s['calendar_cost'], currency):>10}  the calendar: the windows differ in length, this is not in the excess"
            )
        owner, decided = s["owner"], s["decided_by"]
        out.append(
            f"  runs it: {owner['team']} ({owner['contact'] or 'no contact'}, from {owner['source']})"
            if owner
            else "  runs it: nobody is recorded"
        )
        if decided:
            out.append(f"  changed it: {decided['actor']} of {decided['team']} ({decided['contact'] or 'no contact'})")
        if s["budget_owner"]:
            out.append(f"  pays: {s['budget_owner']['name']} (from {s['budget_owner']['source']})")
    return out


def _when(s: Mapping[str, Any], currency: str) -> str:
    """Since when, or from when to when; and what it costs while it runs."""
    if s["status"] == "ended":
        return f"ended, {s['start']} to {s['end']}"
    by_then = f"; by the end of the month {money(s['month_end_excess_cost'], currency)}"
    return f"running since {s['start']} at {money(s['cost_per_hour_now'], currency)} an hour now{by_then}"


def _row_total(row: Mapping[str, object]) -> float:
    return _f(row["cost_change"]) + _f(row["nowcast_change"] or 0.0)


def _at(value: object) -> datetime:
    assert isinstance(value, datetime)
    return value


def _impact(case: Case) -> Sentence:
    s, cur = case.spike, case.currency
    late = f", and about {money(s.nowcast_excess_cost, cur)} in {s.nowcast_hours} hours that are not billed yet" if s.nowcast_hours else ""
    return Sentence(
        f"Billed: {money(s.actual_cost, cur)} instead of {money(s.expected_cost, cur)}, "
        f"{money(abs(s.excess_cost), cur)} {'more' if s.excess_cost >= 0 else 'less'}{late}.",
        "timeline",
    )


def _f(value: object) -> float:
    return float(str(value))


def _calendar(case: Case) -> Sentence | None:
    """Of two windows of unequal length: what the calendar makes of the difference of their totals."""
    if not case.calendar:
        return None
    which = "longer" if case.calendar > 0 else "shorter"
    return Sentence(
        f"The calendar: the window is {which} than the other, which makes {money(case.calendar, case.currency)} of the difference of their totals.",
        "timeline",
    )


def _why(case: Case) -> Sentence | None:
    rows = case.behaviour.head(3).to_dicts()
    if not rows:
        return None
    parts = [f"{behaviour_words(r)} {money(r['cost_change'] + (r['nowcast_change'] or 0.0), case.currency)}" for r in rows]
    return Sentence(f"{VERDICT_WORDS[case.spike.verdict]}: {'; '.join(parts)}.", "behaviour")


def _counterfactual(case: Case) -> Sentence | None:
    """Traffic alone would have cost $X more; the rest, $Y, is retries."""
    rows = [(r["kind"], r["cost_change"] + (r["nowcast_change"] or 0.0)) for r in case.behaviour.iter_rows(named=True)]
    demand = sum(d for kind, d in rows if kind == DEMAND)
    rest = sorted(((d, kind) for kind, d in rows if kind != DEMAND), reverse=True)
    if not rest:
        return Sentence("It is traffic alone: every call costs what it did before.", "behaviour")
    words = BY_KIND[rest[0][1]].label
    traffic = "nothing" if abs(demand) < LEAST_TOLD else money(demand, case.currency)
    return Sentence(
        f"Traffic alone would have cost {traffic} more; the rest, {money(sum(d for d, _ in rest), case.currency)}, is {words}.",
        "behaviour",
    )


def _change(case: Case) -> Sentence:
    if not case.triggers.height or case.triggers["probability"][0] <= case.no_recorded_change:
        return Sentence(f"No recorded change explains it ({case.no_recorded_change:.0%}).", "triggers")
    best = case.triggers.row(0, named=True)
    plan = " It was planned." if case.planned else ""
    return Sentence(
        f"Most likely change ({best['probability']:.0%}): “{best['summary'] or best['change_id']}”, {'; '.join(best['reasons'])}.{plan}",
        "triggers",
    )


def _who(case: Case) -> Sentence:
    owner, decided, budget = case.who
    then = case.owner_then
    parts = [
        f"{owner['team']} runs {owner['service']} ({owner['contact'] or 'no contact known'})" if owner else "nobody is recorded as owner"
    ]
    if then:
        parts[0] += f"; when it began it was {then['team']}" + (f", until {clock(_at(then['until']))}" if then["until"] else "")
    if decided:
        parts.append(f"{decided['actor'] or 'somebody'} of {decided['team'] or 'an unknown team'} made the change")
    if budget:
        parts.append(f"{budget['team']} pays")
    return Sentence(f"{'; '.join(parts)}.", "owners")


def _still(case: Case) -> Sentence:
    s, cur = case.spike, case.currency
    if s.end is not None:
        return Sentence(f"It ended at {clock(s.end)}.", "timeline")
    now = s.cost_per_hour_now
    return Sentence(
        f"It is still running at {money(now, cur)} an hour now; a day of waiting costs {money(case.a_day, cur)}, as the last 24 hours did; "
        f"by the end of the month it will be {money(s.month_end_excess_cost, cur)}.",
        "timeline",
    )


def _doubt(case: Case) -> Sentence | None:
    notes = [f"{r['source']}: {r['cannot_rule_out']}" for r in case.coverage.iter_rows(named=True) if r["cannot_rule_out"]]
    gaps = [
        f"{r['source']} has {len(r['gaps'])} gap{'s' if len(r['gaps']) != 1 else ''}"
        for r in case.coverage.iter_rows(named=True)
        if r["gaps"]
    ]
    return Sentence(f"Cannot be ruled out: {'; '.join([*gaps, *notes])}.", "coverage") if notes or gaps else None
