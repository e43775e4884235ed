"""What holds of the split of a bill for any company: any call graph, any window, any rates set back."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costwhy.errors import InputError
from costwhy.model.baseline import Baseline, Window, baseline, calls_with, cost_with, split
from costwhy.model.call_graph import call_graph
from costwhy.model.flow import flow_into
from costwhy.model.observed import Edge, Observed
from costwhy.model.rates import Model, fit
from costwhy.tables import METER

HOURS = 12 * 24
FIRST = datetime(2026, 9, 7, tzinfo=UTC)
LINES = (
    ("Requests", "Requests"),
    ("BoxUsage", "Hrs"),
    ("eu-DataTransfer-Out-Bytes", "GB"),
    ("Tax", ""),
)
MANY = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int, services: int, *, circles: bool) -> Observed:
    """A random company: calls N = A N + d with the spectral radius of A under 0.7, four lines of the bill at some of the services, one at none."""
    rng = np.random.default_rng(seed)
    names = tuple(f"s{k}" for k in range(services))
    a = np.triu(
        rng.uniform(0, 2, (services, services)) * (rng.random((services, services)) < 0.5), 1
    ).T  # a[i, j]: j calls i
    if circles:
        a += rng.uniform(0, 1, a.shape) * (rng.random(a.shape) < 0.2)
        a *= 0.7 / max(0.7, float(np.abs(np.linalg.eigvals(a)).max()))
    season = 1 + 0.5 * np.sin(2 * np.pi * np.arange(HOURS) / 24)
    outside = (
        (rng.random(services) < 0.5)[:, None]
        * rng.lognormal(6, 1, (services, 1))
        * season
        * rng.lognormal(0, 0.05, (services, HOURS))
    )
    outside[0] += 100.0
    handled = np.linalg.solve(np.eye(services) - a, outside)
    pairs = [(i, j) for i in range(services) for j in range(services) if a[i, j] > 0]
    entries = [i for i in range(services) if outside[i].any()]
    calls = np.array([outside[i] for i in entries] + [a[i, j] * handled[j] for i, j in pairs])
    edges = tuple(Edge(names[i], None) for i in entries) + tuple(
        Edge(names[i], names[j]) for i, j in pairs
    )
    retries = calls * rng.uniform(0, 0.3, (len(edges), 1)) * np.array([[e.internal] for e in edges])
    meters, usage, cost = _bill(names, handled, rng)
    billed = HOURS - int(rng.integers(0, 12))
    usage[:, billed:], cost[:, billed:] = 0.0, 0.0
    covered = np.where(
        rng.random((len(usage), 1)) < 0.2,
        np.minimum(usage, np.median(usage, axis=1, keepdims=True)),
        0.0,
    )
    hours = tuple(FIRST + timedelta(hours=k) for k in range(HOURS))
    return Observed(
        hours,
        billed,
        names,
        edges,
        calls,
        retries,
        {},
        meters,
        usage,
        cost,
        covered,
        covered * 0.1 * (cost > 0),
    )


def _bill(
    names: tuple[str, ...], handled: np.ndarray, rng: np.random.Generator
) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    rows, usage, cost = [], [], []
    for service, calls in [*zip(names, handled, strict=True), (None, np.full(HOURS, 50.0))]:
        for usage_type, unit in LINES:
            if rng.random() < 0.7:
                used = (
                    np.ceil(calls / 40)
                    if unit == "Hrs"
                    else calls * rng.lognormal(0, 1) * rng.lognormal(0, 0.01, HOURS)
                )
                rows.append(
                    {
                        "service": service,
                        "x_UsageType": usage_type,
                        "ConsumedUnit": unit,
                        "ChargeCategory": "Usage",
                    }
                )
                usage.append(used if unit else 0 * used)
                cost.append(used * rng.lognormal(-3, 1) if unit else np.full(HOURS, -2.0))
    rows.append(
        {"service": None, "x_UsageType": "Support", "ConsumedUnit": "", "ChargeCategory": "Usage"}
    )
    frame = pl.DataFrame(
        [{name: row.get(name) for name in METER} for row in rows],
        schema=dict.fromkeys(METER, pl.String),
    )
    return frame, np.array([*usage, np.zeros(HOURS)]), np.array([*cost, np.ones(HOURS)])


def some_resets(model: Model, window: Window, seed: int) -> list[Baseline]:
    """Up to six rates, each at its normal times a factor up to 1.2; those of calls never above what they are, so that no circle gains."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(
        len(model.rates), min(len(model.rates), int(rng.integers(1, 7))), replace=False
    )
    out = []
    for k in chosen:
        reset = baseline(model, model.rates[k], window)
        ratio = reset.rate.kind in {"fan_out", "retries"}
        out.append(replace(reset, values=reset.values * rng.uniform(0.3, 0.95 if ratio else 1.2)))
    return out


@dataclass(frozen=True)
class Recipe:
    """What makes a company, a window and what is set back in it; short, so that a failing one can be read."""

    seed: int
    services: int
    circles: bool
    window: tuple[int, int]
    resets: int

    def study(self) -> tuple[Model, Window, list[Baseline]]:
        """Made."""
        model, window = (
            fit(drawn(self.seed, self.services, circles=self.circles)),
            Window(min(self.window), max(self.window) + 1),
        )
        return model, window, some_resets(model, window, self.resets)


hours_of = st.integers(1, HOURS - 1)
recipes = st.builds(
    Recipe, seeds, st.integers(1, 7), st.booleans(), st.tuples(hours_of, hours_of), seeds
)


@MANY
@given(recipes)
def test_the_parts_are_the_whole_and_none_is_nan(recipe):
    model, window, resets = recipe.study()
    parts = split(model, window, resets)
    whole = model.cost[:, window.hours] - cost_with(model, window, resets)
    assert all(np.isfinite(part).all() for part in parts)
    scale = max(1.0, float(np.abs(model.cost[:, window.hours]).max()))
    np.testing.assert_allclose(sum(parts), whole, atol=1e-6 * scale)
    assert sum(float(p.sum()) for p in parts) == pytest.approx(float(whole.sum()), abs=1e-6 * scale)


@MANY
@given(recipes)
def test_rates_set_back_to_what_they_are_change_nothing(recipe):
    model, window, resets = recipe.study()
    o, hours = model.observed, window.hours
    same = [
        replace(r, values=o.calls[r.rate.row, hours])
        for r in resets
        if r.rate.kind in {"demand", "schedule"}
    ]
    assert all(np.abs(part).max() < 1e-9 for part in split(model, window, same))


@MANY
@given(recipes, st.randoms(use_true_random=False))
def test_other_names_and_another_order_of_the_services_change_nothing(recipe, random):
    model, window, resets = recipe.study()
    o = model.observed
    new = [f"t{k}" for k in range(len(o.services))]
    random.shuffle(new)
    names = dict(zip(o.services, new, strict=True))
    order = sorted(range(len(o.edges)), key=lambda _: random.random())
    edges = tuple(Edge(names[o.edges[e].service], names.get(o.edges[e].caller)) for e in order)
    meters = o.meters.with_columns(pl.col("service").replace(names))
    other = fit(
        replace(
            o,
            services=tuple(sorted(new)),
            edges=edges,
            calls=o.calls[order],
            retries=o.retries[order],
            meters=meters,
        )
    )
    by_name = {rate.name: rate for rate in other.rates}
    renamed = []
    for r in resets:
        kind, service, caller, usage_type = r.rate.name
        found = by_name[kind, names.get(service), names.get(caller), usage_type]
        row = (
            order.index(r.rate.row)
            if kind in {"demand", "schedule", "fan_out", "retries"}
            else r.rate.row
        )
        renamed.append(replace(r, rate=replace(found, row=row, style=r.rate.style)))
    for mine, theirs in zip(
        split(model, window, resets), split(other, window, renamed), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6)


@MANY
@given(recipes, st.sampled_from([0.01, 0.92, 150.0]))
def test_in_another_currency_everything_scales(recipe, rate):
    model, window, resets = recipe.study()
    o = model.observed
    other = fit(replace(o, cost=o.cost * rate, covered_cost=o.covered_cost * rate))
    scaled = [
        replace(r, values=r.values * rate)
        if r.rate.kind == "unmetered" or (r.rate.kind == "unit_price" and r.rate.style != "amount")
        else r
        for r in resets
    ]
    for mine, theirs in zip(
        split(model, window, resets), split(other, window, scaled), strict=True
    ):
        np.testing.assert_allclose(mine * rate, theirs, rtol=1e-6, atol=1e-6 * rate)


@MANY
@given(recipes)
def test_a_line_billed_as_two_halves_has_the_dollars_of_the_whole(recipe):
    model, window, resets = recipe.study()
    o = model.observed
    twice = pl.concat([o.meters, o.meters.with_columns(RegionId=pl.lit("other half"))])
    halves = {
        name: np.tile(getattr(o, name) / 2, (2, 1))
        for name in ("usage", "cost", "covered", "covered_cost")
    }
    other = replace(model, observed=replace(o, meters=twice, **halves), meters=model.meters * 2, rates=(),
                    **{name: np.tile(getattr(model, name) / 2, (2, 1)) for name in ("usage", "cost", "covered")},
                    **{name: np.tile(getattr(model, name), (2, 1)) for name in ("price", "covered_price")})  # fmt: skip
    if any(meter.rule is not None for meter in model.meters):  # half the instances' usage each
        other = replace(
            other,
            meters=tuple(
                replace(m, rule=m.rule and replace(m.rule, per_instance=m.rule.per_instance / 2))
                for m in other.meters
            ),
        )
    halved = _of_halves(resets, len(model.meters))
    assert cost_with(other, window, halved).sum() == pytest.approx(
        cost_with(model, window, resets).sum(), rel=1e-6, abs=1e-6
    )
    parts = iter(split(other, window, halved))
    for mine, reset in zip(split(model, window, resets), resets, strict=True):
        theirs = sum(float(next(parts).sum()) for _ in _of_halves([reset], len(model.meters)))
        assert theirs == pytest.approx(float(mine.sum()), rel=1e-6, abs=1e-6)


def _of_halves(resets: list[Baseline], meters: int) -> list[Baseline]:
    """Each rate of a meter for both of its halves."""
    out = []
    for r in resets:
        if r.rate.kind in {"demand", "schedule", "fan_out", "retries"}:
            out.append(r)
            continue
        ratio = r.rate.kind in {"usage_per_call", "cross_region"} or (
            r.rate.kind == "unit_price" and r.rate.style != "amount"
        )
        part = r.values / 2
        out += [
            replace(
                r,
                rate=replace(r.rate, row=row),
                values=r.values if ratio and r.rate.kind == "unit_price" else part,
            )
            for row in (r.rate.row, r.rate.row + meters)
        ]
    return out


# ---------------------------------------------------------------- the call graph


@MANY
@given(seeds, st.integers(1, 8), st.floats(0.0, 0.9))
def test_calls_settle_where_the_linear_equations_put_them(seed, services, radius):
    rng = np.random.default_rng(seed)
    a = rng.uniform(0, 1, (services, services)) * (rng.random((services, services)) < 0.4)
    a *= radius / max(radius, float(np.abs(np.linalg.eigvals(a)).max()), 1e-9)
    outside = rng.uniform(1, 100, (services, 5))
    called, caller = np.nonzero(a)
    graph = call_graph(services, caller, called)
    before = np.linalg.solve(np.eye(services) - a, outside)
    flow = flow_into(
        graph, np.arange(services), a[called, caller][:, None] * before[caller], before
    )
    more = outside * rng.uniform(0.5, 2.0, (services, 1))
    np.testing.assert_allclose(
        flow.settle(flow.ratio, more, before),
        np.linalg.solve(np.eye(services) - a, more),
        rtol=1e-6,
    )


@MANY
@given(st.floats(1.0, 1e6), st.integers(1, 6), st.floats(1.0, 1e9))
def test_a_circle_that_gains_is_refused(gain, length, calls):
    names = tuple(f"s{k}" for k in range(length))
    inner = [Edge(names[(k + 1) % length], names[k]) for k in range(length)]
    handled = (
        np.full((length, HOURS), calls) * 0.5 ** np.arange(length)[:, None]
    )  # each of them halves the calls, so the circle settles
    into = np.vstack([handled[0] - 0.5 * handled[-1], 0.5 * handled])
    meters = pl.DataFrame([], schema=dict.fromkeys(METER, pl.String))
    none = np.zeros((0, HOURS))
    hours = tuple(FIRST + timedelta(hours=k) for k in range(HOURS))
    o = Observed(
        hours,
        HOURS,
        names,
        (Edge(names[0], None), *inner),
        into,
        0 * into,
        {},
        meters,
        none,
        none,
        none,
        none,
    )
    model, window = fit(o), Window(100, 110)
    rate = next(r for r in model.rates if r.kind == "fan_out")
    others = 0.5 ** (length - 1)  # the gain of the rest of the circle
    kept = Baseline(rate, np.full(10, 0.9 / others))
    assert np.isfinite(calls_with(model, window, [kept])[1]).all()
    with pytest.raises(InputError, match="do not settle"):
        calls_with(model, window, [Baseline(rate, np.full(10, gain / others))])
