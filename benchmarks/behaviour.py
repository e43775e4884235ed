"""Dollars by behaviour: how many stand on the right row, and how long the split takes in a large company. One table for each part.

    uv run python benchmarks/behaviour.py [--part cases,companies,speed] [--seeds 50-59] [--fit]

*right* is the share of the true dollars on the right row, *stray* what stands on wrong rows, as a share of the true dollars, *first*
whether the largest row is the right one; all of the incidents that were found, as ../shared/cases/score.py counts. --fit: where
`rates.fit` and `spikes.find` spend their time in the large company.
"""

import argparse
import cProfile
import pstats
import resource
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from known import Told, cases, companies, told_of_case, told_of_company
from large import KINDS, Size, observed

from costwhy.model.autoscaler import AutoscalerRule
from costwhy.model.baseline import Baseline, Window, split
from costwhy.model.meters import MeterModel
from costwhy.model.observed import Observed
from costwhy.model.rates import Model, Rate, fit
from costwhy.spikes.detect import find

WEEK = Window(900, 900 + 168)
PARTS = ("cases", "companies", "speed")


def dollars(told: Iterable[Told]) -> None:
    """One line for each sort of incident, one for all."""
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for t in told:
        for judged in t.score["judged"]:
            rows[judged["kind"]].append(judged)
            rows["all"].append(judged)
    print(f"{'incident':18s} found  right  stray(median)  first")
    for kind in (*sorted(k for k in rows if k != "all"), "all"):
        of = {name: [float(j[name]) for j in rows[kind]] for name in ("dollars", "stray", "place")}
        print(
            f"{kind:18s} {len(rows[kind]):5d} {np.mean(of['dollars']):6.1%} {np.median(of['stray']):14.1%} {np.mean(of['place']):6.1%}"
        )


# ---------------------------------------------------------------- speed


def modelled(o: Observed) -> Model:
    """The large company's model without learning it: two of three meters follow calls, of the third half have a rule."""
    handled, services = o.handled, len(o.services)
    meters = []
    for m in range(o.meters.height):
        kind, s = KINDS[m // services][2], m % services
        rule = (
            AutoscalerRule(2.0, float(handled[s].mean()) / 10, 1.0, m % 3, 1.0)
            if kind == "time" and s % 2
            else None
        )
        meters.append(MeterModel(kind, transfer=False, service=s, rule=rule))
    price = np.divide(o.cost, o.usage, out=np.zeros_like(o.cost), where=o.usage > 0)
    none, known_until = np.zeros_like(price), np.full(len(meters), o.billed)
    return Model(
        o,
        handled,
        tuple(meters),
        price,
        none,
        o.usage,
        o.cost,
        none,
        known_until,
        np.zeros(services),
        np.zeros_like(o.calls),
    )


def resets(model: Model) -> list[Baseline]:
    """A spike of five rates near the entries, so that nearly every service is reached."""
    o, hours = model.observed, WEEK.hours
    out = [Baseline(_rate("demand", 0, o.edges[0].service, None), o.calls[0, hours] * 0.7)]
    for row in (60, 400, 10_000):
        edge = o.edges[row]
        ratio = o.calls[row, hours] / model.handled[o.services.index(str(edge.caller)), hours]
        out.append(Baseline(_rate("fan_out", row, edge.service, edge.caller), ratio * 0.5))
    return [
        *out,
        Baseline(
            _rate("usage_per_call", 100, o.services[100], None),
            model.usage[100, hours] / model.handled[100, hours] * 0.5,
        ),
    ]


def _rate(kind: str, row: int, service: str, caller: str | None) -> Rate:
    return Rate("ratio", np.zeros(0), 0.0, 0.0, kind, row, service, caller, None, None)


def timed(size: Size) -> str:
    """Seconds of one split, best and worst of five; and that the parts are the whole."""
    model = modelled(observed(size))
    spike, graph = resets(model), model.observed.graph
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        parts = split(model, WEEK, spike)
        seconds.append(time.perf_counter() - begin)
    reached = graph.reach(
        np.array([model.observed.services.index(str(r.rate.service)) for r in spike])
    ).sum()
    circles = (graph.depth[graph.caller] == graph.depth[graph.called]).sum()
    whole = sum(float(p.sum()) for p in parts)
    return (
        f"{size.services} services, {len(model.observed.edges)} edges ({circles} in circles), {len(model.meters)} meters, {size.hours} hours; "
        f"{len(spike)} rates set back over 168 hours, {reached} services reached, ${whole:,.0f}: {min(seconds):.2f} s (worst of 5: {max(seconds):.2f} s)"
    )


def profile() -> None:
    """Where learning the large company and looking for its spikes spend their time."""
    o = observed(Size())
    model = _watched("fit", lambda: fit(o))
    _watched("find", lambda: find(model))


def _watched(name, step):
    watch, begin = cProfile.Profile(), time.perf_counter()
    made = watch.runcall(step)
    print(
        f"{name}: {time.perf_counter() - begin:.0f} s, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB"
    )
    pstats.Stats(watch).sort_stats("cumtime").print_stats("costwhy", 22)
    return made


def main() -> None:
    """Every part that is wished."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", default=",".join(PARTS))
    parser.add_argument("--seeds", default="50-59")
    parser.add_argument("--fit", action="store_true")
    wish = parser.parse_args()
    parts = wish.part.split(",")
    with ProcessPoolExecutor(2) as pool:
        if "cases" in parts:
            print("\nThe cases with known answers")
            dollars(pool.map(told_of_case, cases()))
        if "companies" in parts:
            planned = companies(wish.seeds)
            told = [t for t in pool.map(told_of_company, planned, chunksize=2) if t is not None]
            print(
                f"\n{len(told)} simulated companies, seeds {wish.seeds}; {len(planned) - len(told)} had no place for their incident"
            )
            dollars(told)
    if "speed" in parts:
        print("\nSpeed of split")
        print(timed(Size()))
        print(f"all services in one circle, nearly: {timed(Size(circle=2000))}")
    if wish.fit:
        profile()


if __name__ == "__main__":
    main()
