"""How many calls each service handles once some of them change."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from costwhy.arrays import Array, Ints, Mask
from costwhy.errors import InputError
from costwhy.model.call_graph import CallGraph

CONVERGED = 1e-9
FEW = 64  # services in cycles of one depth: so many equations are solved at once
PATIENCE = 60  # rounds of substitution before that: enough for a spectral radius of 0.7
MAX_ROUNDS = 2000  # where there are more services: enough for a spectral radius of 0.99
DIVERGED = 1e300  # calls


@dataclass(frozen=True)
class Flow:
    """The part of the graph that a change can reach, in a window of W hours.

    ratio      calls on an edge for each call that its caller handles
    unrelated  calls on it in hours in which the caller handled none
    """

    graph: CallGraph
    reached: Mask  # services
    edges: Ints  # rows of its edges in Observed
    caller: Ints
    called: Ints
    ratio: Array  # edges x W
    unrelated: Array  # edges x W

    def settle(self, ratio: Array, outside: Array, handled: Array) -> Array:
        """Calls handled (S x W): N = A N + d where reached, `handled` elsewhere.

        outside: d, the calls from outside, from timers, and the unrelated ones (S x W)
        Raises InputError where a cycle diverges: the spectral radius of A is not under 1.
        """
        out = handled.copy()
        out[self.reached] = outside[self.reached]
        depth = self.graph.depth[self.called]
        stops = np.flatnonzero(np.diff(depth, prepend=-1, append=-1))
        for part in (slice(first, last) for first, last in pairwise(stops.tolist())):
            caller, called, part_ratio = self.caller[part], self.called[part], ratio[part]
            cycle = self.graph.depth[caller] == depth[part]
            _add(out, called[~cycle], part_ratio[~cycle] * out[caller[~cycle]])
            if cycle.any():
                members = np.unique(called[cycle])
                caller, called = (np.searchsorted(members, r[cycle]) for r in (caller, called))
                out[members] = _solve(
                    caller, called, part_ratio[cycle], out[members], handled[members]
                )
        return out


def flow_into(graph: CallGraph, services: Iterable[int], calls: Array, handled: Array) -> Flow:
    """The flow into the services that these reach; calls (E x W) and handled (S x W) observed."""
    reached = graph.reach(services)
    rows = np.flatnonzero(reached[graph.called])
    edges, caller, called = graph.edges[rows], graph.caller[rows], graph.called[rows]
    made, by = calls[edges], handled[caller]
    ratio = np.divide(made, by, out=np.zeros_like(made), where=by > 0)
    return Flow(graph, reached, edges, caller, called, ratio, np.where(by > 0, 0.0, made))


def _add(total: Array, rows: Ints, values: Array) -> None:
    """Adds values to rows of the total; equal rows are neighbours."""
    if rows.size:
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        total[rows[starts]] += np.add.reduceat(values, starts, axis=0)


def _solve(caller: Ints, called: Ints, ratio: Array, outside: Array, start: Array) -> Array:
    """N of N = A N + d for the R services in cycles of one depth (R x W).

    caller, called  rows of the R services, one for each edge among them
    ratio           A (edges x W)
    outside         d, the calls from elsewhere

    Substitution first: it converges exactly where the spectral radius is under 1, but slowly
    where it is just under it. A few services are then solved directly, hour by hour; an hour with a
    spectral radius of 1 or more stays if that solves it.
    """
    handled, few = start, len(outside) <= FEW
    for _ in range(PATIENCE if few else MAX_ROUNDS):
        following = outside.copy()
        _add(following, called, ratio * handled[caller])
        highest = float(following.max(initial=0.0))
        if not highest < DIVERGED:
            break
        if np.abs(following - handled).max(initial=0.0) <= CONVERGED * max(1.0, highest):
            return following
        handled = following
    if few:
        matrix = np.zeros((outside.shape[1], len(outside), len(outside)))  # W x R x R
        matrix[:, called, caller] = ratio.T
        converges = np.abs(np.linalg.eigvals(matrix)).max(axis=1) < 1 - CONVERGED
        kept = start[:, ~converges]
        again = outside[:, ~converges] + np.einsum("wij,jw->iw", matrix[~converges], kept)
        if np.abs(again - kept).max(initial=0.0) <= CONVERGED * max(
            1.0, float(kept.max(initial=0.0))
        ):
            out, left = start.copy(), np.eye(len(outside)) - matrix[converges]
            out[:, converges] = np.linalg.solve(left, outside.T[converges][:, :, None])[:, :, 0].T
            return out
    raise InputError(
        "the calls between the services do not settle: each call causes one more, or more than one",
        found="a cycle of calls with a gain of 1 or more (spectral radius of the call matrix)",
        fix="look in the signals for two services that call each other, and whether calls are"
        " counted twice",
    )
