"""Which change caused it: ranked changes against the truth, and how much their probabilities mean.

    uv run python benchmarks/triggers.py [--seeds 100-105] [--plot docs/triggers.svg]     the table, on held-out companies
    uv run python benchmarks/triggers.py --fit --seeds 44-63                             learn the weights anew

Companies are those of benchmarks/companies.py: one incident each, sometimes two; a fifth of the decisions left no record. The
weights in src/costwhy/causes/triggers.py come from seeds 44 to 63; seeds from 100 on were not used for anything but this table.
"""

import argparse
import pickle
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import altair as alt
import numpy as np
import polars as pl
from companies import MORE, SORTS, Settings, lake_of, plan, scorer, simulate, truth_of
from scipy.optimize import minimize

from costwhy import tables
from costwhy.case.analysis import analyse
from costwhy.case.attribution import onset_of
from costwhy.case.investigate import explain
from costwhy.causes.changes import (
    LOOK_BACK,
    KnownChanges,
    MovedRate,
    Onset,
    find_known_changes,
    gather,
)
from costwhy.causes.triggers import WEIGHTS, Weights, log_none, log_weights, rank_triggers

PRIOR = 1.0  # standard deviation of each weight around what was judged before it was learnt
JUDGED = Weights(  # before anything was learnt
    soon=2.0,
    slow=-3.2,
    callee=-1.4,
    upstream=-3.2,
    account=-3.5,
    elsewhere=-5.5,
    mechanism=1.0,
    rare=0.3,
    undone=1.0,
    outside_production=-4.0,
    planned=3.7,
    none=-3.2,
    none_demand=-1.0,
    none_price=-0.6,
)


@dataclass(frozen=True)
class Question:
    """One true incident that was found: what there was to choose from, and what is right (empty: no recorded change)."""

    sort: str
    changes: KnownChanges
    onset: Onset
    right: frozenset[str]


def questions(settings: Settings) -> list[Question]:
    """The incidents of one company that were found."""
    s = simulate(settings)
    truth, lake = truth_of(s), lake_of(s)
    known = analyse(lake)
    by_id = {found.row.spike_id: found.dollars for found in known.found}
    return [
        Question(i["kind"], _near(known.known_changes, q), q, frozenset(i["trigger"]["change_ids"]))
        for spike, i in scorer().pair(explain(lake), truth)[0]
        for q in [onset_of(known, by_id[spike["spike_id"]])]
    ]


def _near(r: KnownChanges, s: Onset) -> KnownChanges:
    """The records that can matter: from three days before the onset to the end."""
    part = r.between(
        s.since - LOOK_BACK - timedelta(hours=1), (s.end or s.start) + timedelta(hours=4)
    )
    return KnownChanges(
        r.rows[part], *(getattr(r, f.name)[part] for f in fields(KnownChanges) if f.name != "rows")
    )


def gathered(seeds: Sequence[int], sorts: Sequence[str], kept: Path | None) -> list[Question]:
    """Questions of many companies; kept in a file where one is named, as simulating takes minutes."""
    if kept is not None and kept.exists():
        return list(pickle.loads(kept.read_bytes()))
    with ProcessPoolExecutor(2) as pool:
        out = [
            q
            for found in pool.map(questions, plan(seeds, sorts, 0.2, 0.2), chunksize=2)
            for q in found
        ]
    if kept is not None:
        kept.write_bytes(pickle.dumps(out))
    return out


# ---------------------------------------------------------------- learning


def surprise(values: np.ndarray, asked: list[tuple[Question, object, np.ndarray]]) -> float:
    """Negative log-likelihood of the right answers, and of weights far from what was judged."""
    weights = Weights(*values.tolist())
    total = 0.5 * float((((values - np.array(astuple(JUDGED))) / PRIOR) ** 2).sum())
    for q, evidence, right in asked:
        heavy, _ = log_weights(q.changes, q.onset, evidence, weights)  # type: ignore[arg-type]
        none = log_none(q.onset, weights)
        whole = np.logaddexp.reduce(np.append(heavy, none))
        total += float(whole - (np.logaddexp.reduce(heavy[right]) if right.any() else none))
    return total


def learn(found: list[Question]) -> Weights:
    """The weights under which the right answers are least surprising."""
    asked = []
    for q in found:
        evidence = gather(q.changes, q.onset)
        right = q.changes.rows["change_id"][evidence.near].is_in(list(q.right)).to_numpy()
        if right.any() or not q.right:
            asked.append((q, evidence, right))
    bounds = [
        (1.0, 24.0)
        if f.name == "soon"
        else (0.05, 3.0)
        if f.name in {"mechanism", "rare"}
        else (-12.0, 8.0)
        for f in fields(Weights)
    ]
    best = minimize(
        surprise, np.array(astuple(JUDGED)), args=(asked,), method="L-BFGS-B", bounds=bounds
    )
    return Weights(*(round(float(v), 2) for v in best.x))


# ---------------------------------------------------------------- judging


@dataclass(frozen=True)
class Verdict:
    """One question answered: is the first right, is it among the first three, and how sure was it."""

    sort: str
    recorded: bool
    first: bool
    third: bool
    chance: float


def judge(q: Question, weights: Weights = WEIGHTS) -> Verdict:
    """As ../shared/cases/score.py counts."""
    said = rank_triggers(q.changes, q.onset, weights)
    answers = [
        (r["probability"], bool({r["change_id"], *r["also"]} & q.right))
        for r in said.triggers.iter_rows(named=True)
    ]
    answers.append((said.no_recorded_change, not q.right))
    answers.sort(key=lambda a: -a[0])
    return Verdict(
        q.sort, bool(q.right), answers[0][1], any(right for _, right in answers[:3]), answers[0][0]
    )


def calibration(verdicts: Sequence[Verdict], bins: int = 10) -> tuple[float, pl.DataFrame]:
    """Expected calibration error, and said against seen by bins of what was said."""
    frame = pl.DataFrame(
        [(min(int(v.chance * bins), bins - 1), v.chance, float(v.first)) for v in verdicts],
        schema=["bin", "said", "seen"],
        orient="row",
    )
    by_bin = (
        frame.group_by("bin")
        .agg(pl.col("said").mean(), pl.col("seen").mean(), n=pl.len())
        .sort("bin")
    )
    return float(
        by_bin.select(((pl.col("said") - pl.col("seen")).abs() * pl.col("n")).sum()).item()
        / frame.height
    ), by_bin


def table(verdicts: Sequence[Verdict]) -> None:
    """One table: by sort of incident, then all."""
    print(f"{'incident':18s} {'n':>4s} {'first':>7s} {'third':>7s} {'sure':>6s}")
    for sort in sorted({v.sort for v in verdicts}):
        _line(sort, [v for v in verdicts if v.sort == sort])
    _line("recorded", [v for v in verdicts if v.recorded])
    _line("no record", [v for v in verdicts if not v.recorded])
    _line("all", list(verdicts))
    ece, _ = calibration(verdicts)
    print(
        f"Brier score {np.mean([(v.chance - v.first) ** 2 for v in verdicts]):.3f}, expected calibration error {ece:.3f}"
    )


def _line(name: str, some: Sequence[Verdict]) -> None:
    if some:
        first, third, sure = (
            np.mean([getattr(v, key) for v in some]) for key in ("first", "third", "chance")
        )
        print(f"{name:18s} {len(some):4d} {first:7.3f} {third:7.3f} {sure:6.2f}")


def plot(verdicts: Sequence[Verdict], file: Path) -> None:
    """The reliability plot: how often the first answer was right, against how sure it was."""
    _, by_bin = calibration(verdicts)
    line = (
        alt.Chart(pl.DataFrame({"said": [0.0, 1.0], "seen": [0.0, 1.0]}))
        .mark_line(strokeDash=[4, 4], color="#8b949e")
        .encode(x="said", y="seen")
    )
    dots = (
        alt.Chart(by_bin)
        .mark_circle(color="#4c8dd6", opacity=0.9)
        .encode(
            x=alt.X("said", title="probability that was said", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("seen", title="share that was right", scale=alt.Scale(domain=[0, 1])),
            size=alt.Size("n", legend=alt.Legend(title="answers")),
        )
    )
    (line + dots).properties(width=300, height=300).save(str(file))


def speed(changes: int = 100_000, spikes: int = 50) -> None:
    """Time to make so many changes ready and to weigh them for so many spikes."""
    rng = np.random.default_rng(7)
    services = [f"service-{k}" for k in range(200)]
    first = datetime(2026, 9, 1, tzinfo=UTC)
    rows = pl.DataFrame(
        {
            "change_id": [f"c{k}" for k in range(changes)],
            "time": [
                first + timedelta(seconds=float(t)) for t in rng.uniform(0, 60 * 86400, changes)
            ],
            "source": rng.choice(["cloudtrail", "cdevents"], changes).tolist(),
            "kind": rng.choice(
                ["deploy", "config", "scaling", "create", "other"], changes
            ).tolist(),
            "event": rng.choice(
                [
                    "dev.cdevents.service.deployed.0.2.0",
                    "ecs.amazonaws.com:UpdateService",
                    "iam.amazonaws.com:PutRolePolicy",
                ],
                changes,
            ).tolist(),
            "service": [
                None if rng.random() < 0.3 else str(s) for s in rng.choice(services, changes)
            ],
            "resource": [
                f"arn:aws:ecs:eu-west-1:111122223333:service/prod/{s}"
                for s in rng.choice(services, changes)
            ],
        }
    )
    begin = perf_counter()
    recorded = find_known_changes(
        tables.CHANGES.fit(rows.with_columns(delivery=pl.lit("made"))), frozenset(services)
    )
    ready = perf_counter()
    for k in range(spikes):
        onset = first + timedelta(days=5 + k)
        rates = (
            MovedRate("retries", services[k], services[k + 1], None, 0.7),
            MovedRate("demand", services[k + 2], None, None, 0.3),
        )
        rank_triggers(
            recorded,
            Onset(
                rates,
                onset,
                onset,
                timedelta(hours=1),
                None,
                {services[k]: frozenset({services[k + 1]})},
                frozenset(),
                frozenset(),
            ),
        )
    done = perf_counter()
    print(
        f"{changes:,} changes against {spikes} spikes: {done - begin:.2f} s ({ready - begin:.2f} s to make them ready, {done - ready:.2f} s to weigh)"
    )


def main() -> None:
    """Print the table, or learn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="100-105")
    parser.add_argument("--sorts", default=",".join(s for s in (*SORTS, *MORE) if s != "tag_loss"))
    parser.add_argument("--fit", action="store_true")
    parser.add_argument(
        "--keep", type=Path, help="file in which the questions are kept between runs"
    )
    parser.add_argument("--plot", type=Path)
    wish = parser.parse_args()
    first, _, last = wish.seeds.partition("-")
    found = gathered(range(int(first), int(last or first) + 1), wish.sorts.split(","), wish.keep)
    weights = WEIGHTS
    if wish.fit:
        weights = learn(found)
        print(replace(weights))
    verdicts = [judge(q, weights) for q in found]
    table(verdicts)
    speed()
    if wish.plot:
        plot(verdicts, wish.plot)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
