"""A case in sentences, each with the evidence that it rests on.

Plain text: whoever shows it escapes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from costwhy.behaviours import BY_KIND, DEMAND, VERDICT_WORDS
from costwhy.case.bill_facts import what_is_missing
from costwhy.case.case import Case
from costwhy.text import HALF_CENT, clock, count_of, money

LEAST_TRAFFIC = 0.01  # dollars: traffic that moved less is called nothing
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


def behaviour_cost(row: Mapping[str, Any]) -> float:
    """Dollars of a behaviour row, billed and estimated."""
    return float(row["cost_change"] + (row["nowcast_change"] or 0.0))


def headline(case: Case) -> str:
    """The answer in one sentence, as `$1,048 more since 21 Oct 09:00 UTC: traffic to orders`.

    It names the first behaviour, the second unless the first is most of it, and how many more.
    """
    start, end, rows = clock(case.spike.start), case.spike.end, case.behaviour.to_dicts()
    when = f"since {start}" if end is None else f"from {start} to {clock(end)}"
    words = [behaviour_words(row) for row in rows] or ["nothing that is measured here moved it"]
    causes = words[0]
    if len(rows) > 1 and not behaviour_cost(rows[0]) >= MOST * case.total > 0:
        more = f" and {len(rows) - 2} more" if len(rows) > 2 else ""
        causes = f"{words[0]}{', ' if more else ' and '}{words[1]}{more}"
    return f"{_more(case.total, case.currency)} {when}: {causes}"


def _whose(name: object) -> str:
    return f"{name}’" if str(name).endswith("s") else f"{name}’s"


def sentences(case: Case) -> tuple[Sentence, ...]:
    """The whole case: what, why, which change, who, still running, what is not known."""
    parts = (
        _impact(case),
        _calendar(case),
        _why(case),
        _without_traffic(case),
        _resources(case),
        _change(case),
        _who(case),
        _still(case),
        _doubt(case),
        *(Sentence(text, "coverage") for text in what_is_missing(case.unasked)),
    )
    return tuple(part for part in parts if part is not None)


# ---------------------------------------------------------------- tags that were lost


def lost_sentence(row: Mapping[str, Any], currency: str) -> Sentence:
    """Whose tags went, when, after which change, what that cost since.

    row: of `tables.LOST_TAGS`.
    """
    when, resources = row["when"], row["resources"]
    what = count_of(len(resources), "resource") if resources else "usage"
    team = row["team"] or "an unnamed team"
    service = f" ({row['service']})" if row["service"] else ""
    after = "after no recorded change"
    if row["change_id"]:
        change, actor = row["summary"] or "a change", row["actor"] or "somebody"
        after = f"after this change ({change} by {actor})"
    cost, days = money(row["cost_since"], currency), row["age_days"]
    return Sentence(
        f"Ownership of {what} of {team}{service} disappeared at {when:%H:%M} on "
        f"{when.day} {when:%B}, {after}, {cost} since, {days:.0f} days ago.",
        str(row["change_id"] or "lost_tags"),
    )


# ---------------------------------------------------------------- lines for a terminal


def gap_lines(document: Mapping[str, Any], lost: Sequence[Mapping[str, object]]) -> list[str]:
    """What nobody owns: the sum, tags that were lost, the largest items.

    document: as `explain --json` prints it. lost: rows of `tables.LOST_TAGS`.
    """
    gap, currency = document["ownership_gap"], document["currency"]
    if not gap["cost"] and not lost:
        return []
    cost, share = money(gap["cost"], currency), gap["share"]
    out = ["", f"nobody owns {cost} of the last 30 billed days, {share:.1%} of all usage"]
    out += [f"  {s.text} [{s.evidence}]" for s in (lost_sentence(row, currency) for row in lost)]
    for item in gap["items"][:5]:
        known = item["likely_team"]
        likely = f"likely {known}, {item['source']}" if known else "nothing says whose"
        where = " · ".join(str(v) for v in item["where"].values())
        out.append(f"  {money(item['cost'], currency):>10}  {where}: {likely}")
    return out


def document_lines(document: Mapping[str, Any]) -> list[str]:
    """The document of `explain --json` as lines for a terminal."""
    spikes, currency = document["spikes"], document["currency"]
    first = (
        f"{document['workspace']}: {count_of(len(spikes), 'spike')} as of {document['as_of']}, "
        f"billed through {document['billed_through']}"
    )
    bill = [f"  {sentence}" for sentence in document.get("bill", {}).get("sentences", ())]
    lines = [line for spike in spikes for line in ("", *_spike_lines(spike, currency))]
    return [first, *bill, *lines]


def _spike_lines(spike: Mapping[str, Any], currency: str) -> Iterator[str]:
    total = money(
        spike["excess_cost"] + ((spike["nowcast"] or {}).get("excess_cost") or 0.0), currency
    )
    planned = ", planned" if spike["planned"] else ""
    yield f"{spike['spike_id']}  {total}  {spike['verdict']}{planned}, {_when(spike, currency)}"
    for row in spike["behaviour"]:
        yield f"  {money(behaviour_cost(row), currency):>10}  {behaviour_words(row)}"
    if abs(spike["behaviour_remainder"]) >= HALF_CENT:
        rest = money(spike["behaviour_remainder"], currency)
        yield f"  {rest:>10}  what no behaviour explains"
    for row in spike["triggers"][:3]:
        change, reasons = row["summary"] or row["change_id"], "; ".join(row["reasons"])
        yield f"  {row['probability']:>9.0%}  {change} ({reasons})"
    yield f"  {spike['no_recorded_change']:>9.0%}  no recorded change"
    if spike.get("calendar_cost"):
        yield (
            f"  {money(spike['calendar_cost'], currency):>10}  "
            "the calendar: the windows differ in length, this is not in the excess"
        )
    owner, decided, budget = (spike[name] for name in ("owner", "decided_by", "budget_owner"))
    contacts = [row and (row["contact"] or "no contact") for row in (owner, decided)]
    if owner:
        yield f"  runs it: {owner['team']} ({contacts[0]}, from {owner['source']})"
    else:
        yield "  runs it: nobody is recorded"
    if decided:
        yield f"  changed it: {decided['actor']} of {decided['team']} ({contacts[1]})"
    if budget:
        yield f"  pays: {budget['name']} (from {budget['source']})"


def _when(spike: Mapping[str, Any], currency: str) -> str:
    if spike["status"] == "ended":
        return f"ended, {spike['start']} to {spike['end']}"
    now, later = (money(spike[n], currency) for n in ("cost_per_hour_now", "month_end_excess_cost"))
    return f"running since {spike['start']} at {now} an hour now; by the end of the month {later}"


# ---------------------------------------------------------------- the sentences


def _impact(case: Case) -> Sentence:
    spike = case.spike
    actual, expected, late = (
        money(amount, case.currency)
        for amount in (spike.actual_cost, spike.expected_cost, spike.nowcast_excess_cost)
    )
    more = _more(spike.excess_cost, case.currency)
    if spike.nowcast_hours:
        more += f", and about {late} in {spike.nowcast_hours} hours that are not billed yet"
    return Sentence(f"Billed: {actual} instead of {expected}, {more}.", "timeline")


def _calendar(case: Case) -> Sentence | None:
    if not case.calendar:
        return None
    return Sentence(
        f"The calendar: the window is {'longer' if case.calendar > 0 else 'shorter'} than the "
        f"other, which makes {money(case.calendar, case.currency)} of the difference of their "
        "totals.",
        "timeline",
    )


def _why(case: Case) -> Sentence | None:
    parts = [
        f"{behaviour_words(row)} {money(behaviour_cost(row), case.currency)}"
        for row in case.behaviour.head(3).to_dicts()
    ]
    words = f"{VERDICT_WORDS[case.spike.verdict]}: {'; '.join(parts)}."
    return Sentence(words, "behaviour") if parts else None


def _without_traffic(case: Case) -> Sentence:
    if "signals" in case.unasked:
        return Sentence("Whether it is traffic is not known: there are no signals.", "coverage")
    rows = [(behaviour_cost(row), row["kind"]) for row in case.behaviour.to_dicts()]
    rest = sorted(((cost, kind) for cost, kind in rows if kind != DEMAND), reverse=True)
    if not rest:
        return Sentence("It is traffic alone: every call costs what it did before.", "behaviour")
    demand = sum(cost for cost, kind in rows if kind == DEMAND)
    traffic = "nothing" if abs(demand) < LEAST_TRAFFIC else money(demand, case.currency)
    others = money(sum(cost for cost, _ in rest), case.currency)
    return Sentence(
        f"Traffic alone would have cost {traffic} more; the rest, {others}, "
        f"is {BY_KIND[rest[0][1]].label}.",
        "behaviour",
    )


def _resources(case: Case) -> Sentence | None:
    """Resources that were first, or last, billed when it began."""
    parts = [
        f"{count_of(len(names), 'resource')} {verb} with it ({_few(names)})"
        for names, verb in ((case.resources.began, "began"), (case.resources.ended, "ended"))
        if names
    ]
    return Sentence(f"{'; '.join(parts).capitalize()}.", "drivers") if parts else None


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more


def _change(case: Case) -> Sentence:
    none = case.no_recorded_change
    if not case.triggers.height or case.triggers["probability"][0] <= none:
        return Sentence(f"No recorded change explains it ({none:.0%}).", "triggers")
    best = case.triggers.row(0, named=True)
    change, reasons = best["summary"] or best["change_id"], "; ".join(best["reasons"])
    plan = " It was planned." if case.planned else ""
    return Sentence(
        f"Most likely change ({best['probability']:.0%}): “{change}”, {reasons}.{plan}", "triggers"
    )


def _who(case: Case) -> Sentence:
    owner, then, decided, budget = map(
        case.who.get, ("owner", "owner_then", "decided_by", "budget_owner")
    )
    parts = ["nobody is recorded as owner"]
    if owner:
        contact = owner["contact"] or "no contact known"
        parts = [f"{owner['team']} runs {owner['service']} ({contact})"]
    if then:
        until = f", until {clock(then['until'])}" if isinstance(then["until"], datetime) else ""
        parts.append(f"when it began it was {then['team']}{until}")
    if decided:
        team = decided["team"] or "an unknown team"
        parts.append(f"{decided['actor'] or 'somebody'} of {team} made the change")
    if budget:
        parts.append(f"{budget['team']} pays")
    return Sentence(f"{'; '.join(parts)}.", "owners")


def _still(case: Case) -> Sentence:
    spike = case.spike
    if spike.end is not None:
        return Sentence(f"It ended at {clock(spike.end)}.", "timeline")
    now, a_day, later = (
        money(amount, case.currency)
        for amount in (spike.cost_per_hour_now, case.a_day, spike.month_end_excess_cost)
    )
    return Sentence(
        f"It is still running at {now} an hour now; a day of waiting costs {a_day}, "
        f"as the last 24 hours did; by the end of the month it will be {later}.",
        "timeline",
    )


def _doubt(case: Case) -> Sentence | None:
    rows = case.coverage.to_dicts()
    doubts = [f"{r['source']} has {count_of(len(r['gaps']), 'gap')}" for r in rows if r["gaps"]]
    doubts += [f"{r['source']}: {r['cannot_rule_out']}" for r in rows if r["cannot_rule_out"]]
    return Sentence(f"Cannot be ruled out: {'; '.join(doubts)}.", "coverage") if doubts else None


# ---------------------------------------------------------------- words


def _more(dollars: float, currency: str) -> str:
    return f"{money(abs(dollars), currency)} {'more' if dollars >= 0 else 'less'}"
