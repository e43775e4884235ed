"""Pieces of a page: a case as escaped HTML. Every external text passes through `esc`; nothing else makes HTML here."""

import html
import json
import re
from collections.abc import Iterable, Mapping

import polars as pl

from costwhy.behaviours import VERDICT_WORDS
from costwhy.case.case import Case
from costwhy.case.story import Sentence, behaviour_words, headline, lost_sentence, tell
from costwhy.model.backtest import CENT
from costwhy.text import clock, money

STYLE = """<style>
.cw{--soft:color-mix(in srgb,currentColor 62%,transparent);--line:color-mix(in srgb,currentColor 14%,transparent);--wash:color-mix(in srgb,currentColor 5%,transparent);
--hot:#e5734f;--blue:#4c8dd6;font-size:14px;line-height:1.45;overflow-wrap:anywhere}
.cw h1{font-size:clamp(21px,2.6vw,31px);line-height:1.18;font-weight:640;letter-spacing:-.012em;margin:.1em 0 .5em;max-width:34em;text-wrap:balance}
.cw .eyebrow{font-size:12px;color:var(--soft);margin:0;display:flex;gap:.4em 1em;flex-wrap:wrap}
.cw .facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(132px,1fr));gap:0;border-top:1px solid var(--line);border-bottom:1px solid var(--line);margin:0}
.cw .facts div{padding:10px 14px 10px 0}.cw .facts dt{font-size:12px;color:var(--soft);margin:0}.cw .facts dd{font-size:19px;font-weight:600;margin:2px 0 0;font-variant-numeric:tabular-nums}
.cw .facts dd small{font-size:12px;font-weight:400;color:var(--soft);display:block}
.cw .say{margin:.2em 0 0;padding:0;list-style:none;max-width:60em}.cw .say li{padding:3px 0}.cw .say i{color:var(--soft);font-style:normal;font-size:12px;margin-left:.5em}
.cw .change{display:grid;grid-template-columns:60px minmax(0,1fr);gap:2px 14px;padding:10px 0;border-bottom:1px solid var(--line)}
.cw .change b{font-size:18px;white-space:nowrap;font-variant-numeric:tabular-nums;font-weight:600}.cw .change.none b{color:var(--soft)}
.cw .change .bar{height:4px;border-radius:2px;background:var(--line);margin-top:4px}.cw .change .bar span{display:block;height:4px;border-radius:2px;background:var(--hot)}
.cw .change p{margin:0}.cw .change .meta{color:var(--soft);font-size:12.5px}
.cw .chain{display:flex;flex-wrap:wrap;gap:8px 0;margin:6px 0 2px}.cw .chain div{padding:8px 26px 8px 12px;background:var(--wash);border-radius:6px;margin-right:14px;position:relative;min-width:96px;max-width:260px}
.cw .chain div:not(:last-child)::after{content:"→";position:absolute;right:-13px;top:50%;transform:translateY(-50%);color:var(--soft)}
.cw .chain dt{font-size:11.5px;color:var(--soft)}.cw .chain dd{margin:0;font-weight:560}
.cw h2{font-size:15px;font-weight:640;margin:26px 0 2px}.cw h2+p{margin:0 0 6px;color:var(--soft)}
.cw table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}.cw td,.cw th{padding:5px 10px 5px 0;border-bottom:1px solid var(--line);text-align:left;font-weight:400;vertical-align:top}
.cw th{color:var(--soft);font-size:12px}.cw td.n,.cw th.n{text-align:right;white-space:nowrap}
.cw code{font-size:12.5px;background:var(--wash);padding:1px 4px;border-radius:3px}
.cw .columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,260px),1fr));gap:0 28px}.cw .columns>div{min-width:0}
.cw td,.cw th{overflow-wrap:break-word}.cw summary{cursor:pointer;padding:10px 0;border-bottom:1px solid var(--line);color:var(--soft)}
@media (max-width:480px){.cw table{display:block;overflow-x:auto}.cw td,.cw th{padding-right:8px}.cw .facts{grid-template-columns:1fr 1fr}.cw .chain div{max-width:100%}}
</style>"""

VEGA_LITE = "application/vnd.vegalite.v6+json"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


def esc(text: object) -> str:
    """External text, fit for HTML: escaped, without control and direction characters; nothing for None."""
    return "" if text is None else html.escape(_CONTROL.sub("", str(text)), quote=True)


def page(*parts: str) -> str:
    """The parts in the page's own class."""
    return f'<div class="cw">{"".join(parts)}</div>'


def top(workspace: str, case: Case | None) -> str:
    """Whose bill, as of when, and the answer."""
    if case is None:
        return page(
            f'<p class="eyebrow"><span>{esc(workspace)}</span></p>',
            "<h1>No spike: nothing costs more than its traffic explains.</h1>",
        )
    until = f"billed through {clock(case.billed_through)}, known until {clock(case.as_of)}"
    return page(f'<p class="eyebrow"><span>costwhy</span><span>{esc(workspace)}</span><span>{esc(until)}</span></p>') + answer(case)


def columns(*parts: str) -> str:
    """Finished pieces of HTML beside each other, under each other where there is no room."""
    return page('<div class="columns">', *(f"<div>{part}</div>" for part in parts), "</div>")


def chart(spec: str) -> str:
    """Vega-Lite as a piece of a marimo page. The data stand in it, so the piece is the same for every viewer and can be kept."""

    def attribute(value: str) -> str:  # as marimo reads it: JSON, escaped, without what it takes for TeX
        return html.escape(json.dumps(value), quote=True).replace("\\", "&#92;").replace("$", "&#36;")

    return f"<marimo-mime-renderer data-mime='{attribute(VEGA_LITE)}' data-data='{attribute(spec)}'></marimo-mime-renderer>"


def folded(title: str, body: str) -> str:
    """A finished piece that opens when its title is picked."""
    return page(f"<details><summary>{esc(title)}</summary>{body}</details>")


def note(text: str) -> str:
    """A small line over a chart."""
    return page(f'<p class="eyebrow">{esc(text)}</p>')


def answer(case: Case) -> str:
    """The answer line first, then the numbers that everybody asks for."""
    s, cur = case.spike, case.currency
    late = (
        f"<small>{money(float(str(s['nowcast_excess_cost'])), cur)} estimated, not billed yet</small>"
        if s["nowcast_hours"]
        else "<small>billed</small>"
    )
    total = case.total
    running = s["status"] == "running"
    facts = [
        ("Excess so far", money(total, cur) + late),
        (
            "Now, an hour",
            (money(float(str(s["cost_per_hour_now"])), cur) + f"<small>{money(case.a_day, cur)} a day of waiting</small>")
            if running
            else "nothing<small>it is over</small>",
        ),
        (
            "By the end of the month",
            money(float(str(s["month_end_excess_cost"])), cur)
            + ("<small>if nothing is done</small>" if running else "<small>final</small>"),
        ),
        (
            "Kind",
            esc(VERDICT_WORDS[str(s["verdict"])]) + f"<small>{'planned' if case.planned else 'not planned'}</small>",
        ),
        ("Status", esc(s["status"]) + f"<small>since {esc(clock(s['start']))}</small>"),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return page(f"<h1>{esc(headline(case))}</h1>", f'<dl class="facts">{cells}</dl>')


def sentences(parts: Iterable[Sentence]) -> str:
    """The case in sentences, each with the table that it rests on."""
    return page('<ul class="say">', *(f"<li>{esc(p.text)} <i>{esc(p.evidence)}</i></li>" for p in parts), "</ul>")


def story(case: Case) -> str:
    """All sentences of the case."""
    return sentences(tell(case))


def section(title: str, note: str = "") -> str:
    """A heading with a line under it."""
    return page(f"<h2>{esc(title)}</h2>", f"<p>{esc(note)}</p>" if note else "")


def triggers(case: Case) -> str:
    """Changes ranked, and *no recorded change* among them."""
    rows = [
        _change(r["probability"], r["summary"] or r["change_id"], _meta(r), "; ".join(r["reasons"]))
        for r in case.triggers.head(5).iter_rows(named=True)
    ]
    none = _change(case.no_recorded_change, "No recorded change", "", "nothing that was recorded explains it", cls=" none")
    place = sum(p > case.no_recorded_change for p in case.triggers.head(5)["probability"])
    rows.insert(place, none)
    return page(*rows)


def _meta(row: Mapping[str, object]) -> str:
    count = len(row["also"] or ())  # type: ignore[arg-type]
    also = f", with {count} more record{'s' if count != 1 else ''}" if count else ""
    parts = [clock(row["time"]), row["service"], row["kind"], row["actor"], row["ticket"]]  # type: ignore[arg-type]
    return " · ".join(str(p) for p in parts if p) + also


def _change(probability: float, title: str, meta: str, why: str, cls: str = "") -> str:
    share = f'<div><b>{probability:.0%}</b><div class="bar"><span style="width:{100 * probability:.0f}%"></span></div></div>'
    return (
        f'<div class="change{cls}">{share}<div><p>{esc(title)}</p><p class="meta">{esc(meta)}</p><p class="meta">{esc(why)}</p></div></div>'
    )


def chain(case: Case) -> str:
    """Dollars to behaviour to change to person to team to contact."""
    owner, decided, budget = case.who
    lead = case.behaviour.row(0, named=True) if case.behaviour.height else None
    best = case.triggers.row(0, named=True) if case.triggers.height and case.triggers["probability"][0] > case.no_recorded_change else None
    total = case.total
    steps = [
        ("dollars", money(total, case.currency)),
        ("behaviour", behaviour_words(lead) if lead else "unknown"),
        ("change", (best["summary"] or best["change_id"]) if best else "none recorded"),
    ]
    if best is not None and decided is not None:
        steps += [
            ("changed by", decided["actor"] or "unknown"),
            ("of team", decided["team"] or "unknown"),
            ("contact", decided["contact"] or "not known"),
        ]
    steps.append(
        (
            "run by",
            f"{owner['team']} ({owner['service']}, {owner['contact'] or 'no contact'}; from {owner['source']})"
            if owner
            else "nobody is recorded",
        )
    )
    then = case.owner_then
    if then is not None:
        until = f", until {clock(then['until'])}" if then["until"] else ""  # type: ignore[arg-type]
        steps.append(("run by when it began", f"{then['team']} (from {then['source']}{until})"))
    if budget is not None:
        steps.append(("paid by", f"{budget['team']} (from {budget['source']})"))
    return page('<dl class="chain">', *(f"<div><dt>{name}</dt><dd>{esc(value)}</dd></div>" for name, value in steps), "</dl>")


def drivers(case: Case) -> str:
    """Where in the bill the change sits, with the remainder."""
    rows = [
        (" · ".join(f"{v}" for v in json.loads(r["where"]).values()) or "everything", r["cost_change"])
        for r in case.drivers.head(8).iter_rows(named=True)
    ]
    rest = float(str(case.spike["excess_cost"])) - sum(d for _, d in rows)
    body = "".join(
        f'<tr><td>{esc(name)}</td><td class="n">{money(value, case.currency)}</td></tr>' for name, value in [*rows, ("the rest", rest)]
    )
    total = f'<tr><td>billed excess</td><td class="n">{money(float(str(case.spike["excess_cost"])), case.currency)}</td></tr>'
    return page(f'<table><tr><th>where in the bill</th><th class="n">change</th></tr>{body}{total}</table>')


def behaviours(case: Case) -> str:
    """Behaviour rows with dollars that add up to the excess."""
    rows = "".join(
        f'<tr><td>{esc(behaviour_words(r))}</td><td><code>{esc(r["kind"])}</code></td><td class="n">{money(r["cost_change"], case.currency)}</td>'
        f'<td class="n">{money(r["nowcast_change"] or 0.0, case.currency)}</td></tr>'
        for r in case.behaviour.iter_rows(named=True)
    )
    rest = f'<tr><td>remainder</td><td></td><td class="n">{money(case.behaviour_remainder, case.currency)}</td><td></td></tr>'
    total = (
        f'<tr><td>excess</td><td></td><td class="n">{money(float(str(case.spike["excess_cost"])), case.currency)}</td>'
        f'<td class="n">{money(float(str(case.spike["nowcast_excess_cost"])), case.currency)}</td></tr>'
    )
    return page(
        f'<table><tr><th>behaviour</th><th></th><th class="n">billed</th><th class="n">estimated</th></tr>{rows}{rest}{total}</table>'
    )


def paths(case: Case) -> str:
    """Which dependencies carried the money: from the caller to the bill line."""
    rows = "".join(
        f'<tr><td>{esc(" → ".join(r["path"]))}</td><td class="n">{money(r["cost_change"], case.currency)}</td></tr>'
        for r in case.dependencies.head(8).iter_rows(named=True)
    )
    return (
        page(f'<table><tr><th>path</th><th class="n">change</th></tr>{rows}</table>')
        if rows
        else page("<p>No dependency is recorded for it.</p>")
    )


def coverage(case: Case) -> str:
    """What was covered, with gaps, and what cannot be ruled out."""

    def times(r: Mapping[str, object]) -> str:
        return f"{clock(r['from'])} to {clock(r['to'])}" if r["from"] is not None else "no record"  # type: ignore[arg-type]

    rows = "".join(
        f"<tr><td>{esc(r['source'])}</td><td>{esc(times(r))}</td><td>{len(r['gaps'] or [])}</td><td>{esc(r['cannot_rule_out'])}</td></tr>"
        for r in case.coverage.iter_rows(named=True)
    )
    return page(f"<table><tr><th>source</th><th>covered</th><th>gaps</th><th>cannot be ruled out</th></tr>{rows}</table>")


def clocks(case: Case) -> str:
    """Two clocks: when it happened, when it could be known."""
    rows = "".join(
        f"<tr><td>{esc(r['what'])}</td><td>{esc(clock(r['happened_at']))}</td><td>{esc(clock(r['known_at']))}</td><td>{esc(r['words'])}</td></tr>"
        for r in case.clocks.iter_rows(named=True)
    )
    return page(f"<table><tr><th></th><th>happened</th><th>could be known</th><th></th></tr>{rows}</table>")


def board_top(workspace: str, words: str, facts: Iterable[tuple[str, str, str]]) -> str:
    """Whose spend, the answer, and the numbers that everybody asks for. facts: name, value, meaning."""
    cells = "".join(f"<div><dt>{esc(n)}</dt><dd>{esc(v)}<small>{esc(m)}</small></dd></div>" for n, v, m in facts)
    return page(
        f'<p class="eyebrow"><span>costwhy</span><span>{esc(workspace)}</span></p>',
        f"<h1>{esc(words)}</h1>",
        f'<dl class="facts">{cells}</dl>',
    )


def verdicts(rows: pl.DataFrame) -> str:
    """What owners said of a spike, newest first. rows: tables.VERDICTS."""
    body = "".join(
        f"<tr><td>{esc(clock(r['at']))}</td><td>{esc(r['verdict'].replace('_', ' '))}</td><td>{esc(r['who'])}</td><td>{esc(r['note'])}</td></tr>"
        for r in rows.iter_rows(named=True)
    )
    return page(
        f"<table><tr><th>when</th><th>verdict</th><th>who</th><th>note</th></tr>{body}</table>"
        if body
        else "<p>Nobody has said anything of it yet.</p>"
    )


def estimates(rows: pl.DataFrame, currency: str) -> str:
    """How good past estimates were, in a sentence. rows: tables.NOWCAST."""
    if rows.is_empty():
        return page("<p>Every hour is billed, or there are too few days to look back on: no estimate can be held against a bill.</p>")
    one, whole = rows.filter(pl.col("service").is_not_null()), rows.filter(pl.col("service").is_null())
    off = (pl.col("error") / pl.col("billed_cost")).abs()
    typical, company = (frame.filter(pl.col("billed_cost") != 0).select(off.median()).item() or 0.0 for frame in (one, whole))
    wrong = one.filter(pl.col("error").abs() > CENT)  # what was known to the cent is always held
    share = int(wrong["inside"].sum()) / max(1, wrong.height)
    held = f"Of the {wrong.height} not known to the cent the 80\u00a0% interval held {share:.0%}." if wrong.height else ""
    dollars = money(float(whole.select(pl.col("error").abs().median()).item()), currency)
    return page(
        f"<p>On {whole.height} past days the {int(rows.item(0, 'hours'))} hours without a bill were estimated within {company:.1%} of the bill "
        f"that came, {dollars} (median), one service's within {typical:.1%} in {one.height} cases. {held}</p>"
    )


def lost_tags(lost: pl.DataFrame, currency: str) -> str:
    """Whose tags went, when, after which change, and what was spent since; nothing where none were lost."""
    told = [lost_sentence(row, currency) for row in lost.iter_rows(named=True)]
    return sentences(told) if told else ""


def gap(cost: float, share: float, items: pl.DataFrame, currency: str) -> str:
    """What nobody owns, ranked."""
    rows = "".join(
        f"<tr><td>{esc(' · '.join(str(v) for v in json.loads(r['where']).values()))}</td><td>{esc(r['likely_team'] or 'nobody known')}"
        f'{esc(", " + r["source"] if r["source"] else "")}</td><td class="n">{money(r["cost"], currency)}</td></tr>'
        for r in items.head(10).iter_rows(named=True)
    )
    lead = f"<p>{money(cost, currency)} of the last 30 billed days, {share:.1%} of all usage, carries neither a service nor a team.</p>"
    return page(lead, f'<table><tr><th>what</th><th>likely team</th><th class="n">cost</th></tr>{rows}</table>')
