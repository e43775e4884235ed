"""PetShop (Hardt et al., CLeaR 2024): which component's own rate carries an incident, by costwhy's arithmetic, top-1 and top-3.

PetShop has no bill, so its seconds and errors stand in for dollars. The mapping:

    calls handled      `requests`, Sum
    dollars            seconds spent: `latency`, Average x requests; for an incident of availability errors: (100 - availability) % of requests
    own usage          a component's dollars less those of what it calls, each callee's split among its callers by their calls
    usage_per_call     own usage for each call handled: the one rate of costwhy that these signals can show
    expected           the median of that rate over the hours without an incident

A component's row is (rate now - rate expected) x calls now, as in `behaviour.py` a rate is set back; rows of the target and of all
that it reaches in the call graph, largest first. What does not fit: there are no calls by edge, so retries, fan_out and demand
cannot be told apart; there is no change to weigh; five rows of five minutes are all of an incident. Nothing was tuned here.
"""

import csv
import gzip
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from known import SHARED

from costwhy.arrays import Array

DATA = SHARED / "data" / "petshop"
PUBLISHED = """published, all 68 incidents of train and test (the authors' own graph traversal with median deviation, outputs of code/RCA-Dataset-Eval.ipynb
in amazon-science/petshop-root-cause-analysis): top-1 / top-3
  latency       low 0.57 / 0.57    high 0.57 / 0.79    temporal 1.00 / 1.00
  availability  low 0.83 / 1.00    high 0.67 / 1.00    temporal 0.75 / 1.00
  together, weighted by incidents (14, 12, 14, 12, 8, 8): 0.71 / 0.87"""


@dataclass(frozen=True)
class Metrics:
    """Signals by component, rows in time; NaN: not reported."""

    requests: dict[str, Array]
    latency: dict[str, Array]
    availability: dict[str, Array]


def read(path: Path) -> Metrics:
    """One metrics file: three header rows (component, metric, statistic), one row of five minutes each."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = list(csv.reader(io.StringIO(content.decode())))
    if len(rows) < 5:
        return Metrics({}, {}, {})
    values = np.array([[float(v) if v else np.nan for v in row[1:]] for row in rows[4:]])
    wanted = {"requests": "Sum", "latency": "Average", "availability": "Average"}
    found: dict[str, dict[str, Array]] = {name: {} for name in wanted}
    for k, (node, metric, statistic) in enumerate(
        zip(rows[0][1:], rows[1][1:], rows[2][1:], strict=True)
    ):
        if wanted.get(metric) == statistic:
            found[metric][node] = values[:, k]
    return Metrics(found["requests"], found["latency"], found["availability"])


def graph_of(path: Path) -> dict[str, list[str]]:
    """Whom each component calls."""
    rows = list(csv.reader(path.open(encoding="utf-8")))
    return {row[0]: [rows[0][k] for k in range(1, len(row)) if float(row[k])] for row in rows[1:]}


def rates(
    m: Metrics, calls: dict[str, list[str]], metric: str
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Calls handled and own usage for each call, by component and row."""
    width = next(iter(m.requests.values())).size
    handled = {n: np.nan_to_num(m.requests.get(n, np.zeros(width))) for n in calls}
    per_call = {n: np.nan_to_num(m.latency.get(n, np.zeros(width))) for n in calls}
    if metric == "availability":
        per_call = {
            n: np.nan_to_num(100 - m.availability.get(n, np.full(width, 100.0))) / 100
            for n in calls
        }
    dollars = {n: per_call[n] * handled[n] for n in calls}
    callers = {n: sum((handled[c] for c in calls if n in calls[c]), np.zeros(width)) for n in calls}
    own = {
        n: dollars[n]
        - sum(
            (dollars[c] * handled[n] / np.maximum(callers[c], 1.0) for c in calls[n]),
            np.zeros(width),
        )
        for n in calls
    }
    return handled, {n: own[n] / np.maximum(handled[n], 1.0) for n in calls}


def reached(calls: dict[str, list[str]], target: str) -> list[str]:
    """The target and all that it reaches."""
    out = [target]
    for name in out:
        out += [c for c in calls.get(name, []) if c not in out]
    return out


def rank(
    normal: Metrics, incident: Metrics, calls: dict[str, list[str]], target: dict[str, str]
) -> list[str]:
    """Components by the dollars that their own rate added."""
    then_calls, then = rates(normal, calls, target["metric"])
    now_calls, now = rates(incident, calls, target["metric"])
    added = {}
    for name in reached(calls, target["node"]):
        usual = then[name][then_calls[name] > 0]
        expected = float(np.median(usual)) if usual.size else 0.0
        added[name] = float(((now[name] - expected) * now_calls[name]).sum())
    return sorted((n for n, d in added.items() if d > 0), key=lambda n: (-added[n], n))


def main() -> None:
    """Rank them all and print one table."""
    if not DATA.is_dir():
        sys.exit(f"PetShop is not there: {DATA}")
    whole, causes = [], []
    print(f"{'':34s}incidents  top-1  top-3")
    for scenario in sorted(p for p in DATA.iterdir() if p.is_dir()):
        normal, calls = (
            read(scenario / "noissue" / "metrics.csv.gz"),
            graph_of(scenario / "graph.csv"),
        )
        if not normal.requests:
            print(
                f"{scenario.name:34s}the hours without an incident are missing here: nothing to compare with, left out"
            )
            continue
        for metric in ("latency", "availability"):
            places = []
            for issue in sorted((scenario / "train").iterdir()):
                said = json.loads((issue / "target.json").read_text())
                if said["target"]["metric"] == metric:
                    ranked = rank(normal, read(issue / "metrics.csv"), calls, said["target"])
                    places.append(
                        ranked.index(said["root_cause"]["node"])
                        if said["root_cause"]["node"] in ranked
                        else 99
                    )
                    causes.append(said["root_cause"]["node"])
            whole += places
            _line(f"{scenario.name} {metric}", places)
    _line("together", whole)
    usual = max(set(causes), key=causes.count)
    print(
        f"a rule that always says {usual}: {causes.count(usual) / len(causes):.2f} (only these incidents of the train part are here)\n"
    )
    print(PUBLISHED)


def _line(name: str, places: list[int]) -> None:
    print(
        f"{name:34s}{len(places):9d}{np.mean([p < 1 for p in places]):7.2f}{np.mean([p < 3 for p in places]):7.2f}"
    )


if __name__ == "__main__":
    main()
