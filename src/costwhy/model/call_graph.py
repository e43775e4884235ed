"""The call graph: who calls whom, and how many calls each service handles once some of them change.

Services are ordered so that callers come before those whom they call; services that call each other in a circle share one
depth. So a change flows once down the graph, and is repeated only inside a circle.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from costwhy.errors import InputError

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

CONVERGED = 1e-9
FEW = 64  # services in circles of one depth: so many equations are solved at once
PATIENCE = 60  # rounds of substitution before that: enough for a spectral radius of 0.7
MAX_ROUNDS = 2000  # where they are more: enough for a spectral radius of 0.99
HUGE = 1e300  # calls: they grow without end


@dataclass(frozen=True)
class CallGraph:
    """Edges between services, ordered by the depth of who is called, then by who is called. `depth`: of each service."""

    edges: Rows  # rows of the edges in Observed
    caller: Rows  # rows of the services, as many as edges
    called: Rows
    depth: Rows
    entries: Rows  # rows of the edges from outside or from a timer
    entered: Rows  # the services that they reach

    def downstream(self, services: Rows) -> Flags:
        """Services that these reach by calls, themselves included."""
        reached = np.zeros(self.depth.size, dtype=bool)
        reached[services] = True
        while True:  # as many rounds as the longest of the shortest ways
            more = self.called[reached[self.caller] & ~reached[self.called]]
            if not more.size:
                return reached
            reached[more] = True


def call_graph(services: int, edges: tuple[Rows, Rows], outside: Rows) -> CallGraph:
    """edges: caller and called of every edge, as rows of the services; caller -1 where the call comes from outside or a timer (`outside`: their rows)."""
    caller, called = edges
    inner = np.flatnonzero(caller >= 0)
    depth = _depths(services, caller[inner], called[inner])
    order = inner[np.lexsort((called[inner], depth[called[inner]]))]
    return CallGraph(order, caller[order], called[order], depth, outside, called[outside])


def _depths(services: int, caller: Rows, called: Rows) -> Rows:
    """Longest way from any service that nobody calls; one depth for each circle."""
    if not services:
        return np.zeros(0, dtype=np.int64)
    matrix = sparse.csr_matrix((np.ones(caller.size), (caller, called)), shape=(services, services))
    circle = connected_components(matrix, directed=True, connection="strong")[1]
    a, b = circle[caller], circle[called]
    a, b = a[a != b], b[a != b]
    depth = np.zeros(services, dtype=np.int64)  # of circles, of which there are no more than services
    while True:
        deeper = depth.copy()
        np.maximum.at(deeper, b, depth[a] + 1)
        if np.array_equal(deeper, depth):
            return np.asarray(depth[circle], dtype=np.int64)
        depth = deeper


@dataclass(frozen=True)
class Flow:
    """A part of the graph in a window of W hours: the edges into some services, all of those that a change can reach.

    ratio: calls for each call that the caller handles; loose: calls of an hour in which the caller handled none.
    """

    graph: CallGraph
    reached: Flags  # services
    places: Rows  # of the edges in the graph
    ratio: Floats  # places x W
    loose: Floats  # places x W

    @property
    def edges(self) -> Rows:
        """Rows of its edges."""
        return self.graph.edges[self.places]

    @property
    def caller(self) -> Rows:
        """Rows of the services that make these calls."""
        return self.graph.caller[self.places]

    @property
    def called(self) -> Rows:
        """Rows of the services that handle them."""
        return self.graph.called[self.places]

    def settle(self, ratio: Floats, outside: Floats, handled: Floats) -> Floats:
        """Calls handled (S x W): N = A N + d for the services that are reached, `handled` for the others.

        outside: d, calls from outside, from timers and loose ones. Raises InputError where a circle gains: the spectral radius of A is not under 1.
        """
        out = handled.copy()
        out[self.reached] = outside[self.reached]
        caller, called, depth = self.caller, self.called, self.graph.depth
        level = depth[called]
        stops = [0, *(np.flatnonzero(np.diff(level)) + 1).tolist(), level.size] if level.size else [0]
        for first, last in pairwise(stops):
            part = slice(first, last)
            within = depth[caller[part]] == level[part]
            if not within.any():
                _add(out, called[part], ratio[part] * out[caller[part]])
                continue
            above, circle = first + np.flatnonzero(~within), first + np.flatnonzero(within)
            _add(out, called[above], ratio[above] * out[caller[above]])
            members = np.unique(called[circle])
            out[members] = _round_and_round(out, (caller[circle], called[circle], ratio[circle]), members, handled)
        return out


def flow_into(graph: CallGraph, services: Rows, calls: Floats, handled: Floats) -> Flow:
    """The flow into what these services reach; calls (E x W) and handled (S x W) as they were."""
    reached = graph.downstream(services)
    places = np.flatnonzero(reached[graph.called])
    there, made = handled[graph.caller[places]], calls[graph.edges[places]]
    busy = there > 0
    ratio = np.divide(made, there, out=np.zeros_like(made), where=busy)
    return Flow(graph, reached, places, ratio, np.where(busy, 0.0, made))


def _add(total: Floats, rows: Rows, values: Floats) -> None:
    """Adds values to rows of the total; equal rows stand together."""
    if rows.size:
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        total[rows[starts]] += np.add.reduceat(values, starts, axis=0)


def _round_and_round(fed: Floats, circle: tuple[Rows, Rows, Floats], members: Rows, start: Floats) -> Floats:
    """The fixed point in circles: by repeated substitution, which most circles need little of, else by elimination where they are few.

    Substitution converges exactly where the spectral radius is under 1, but slowly where it is just under it.
    """
    caller, called, ratio = circle
    base, now = fed[members], start[members]
    mine, theirs = np.searchsorted(members, caller), np.searchsorted(members, called)
    few = members.size <= FEW
    for _ in range(PATIENCE if few else MAX_ROUNDS):
        following = base.copy()
        _add(following, theirs, ratio * now[mine])
        highest = float(following.max(initial=0.0))
        if not highest < HUGE:
            break
        if np.abs(following - now).max(initial=0.0) <= CONVERGED * max(1.0, highest):
            return following
        now = following
    if not few:
        raise _gains()
    matrix = np.zeros((base.shape[1], members.size, members.size))
    matrix[:, theirs, mine] = ratio.T
    return _eliminated(matrix, base, start[members])


def _eliminated(matrix: Floats, base: Floats, start: Floats) -> Floats:
    """N of N = A N + d, hour by hour (A: W x R x R); an hour whose circle does not lose calls stays as it was, if that solves it."""
    lose = np.abs(np.linalg.eigvals(matrix)).max(axis=1) < 1 - CONVERGED
    kept = start[:, ~lose]
    again = base[:, ~lose] + np.einsum("wij,jw->iw", matrix[~lose], kept)
    if np.abs(again - kept).max(initial=0.0) > CONVERGED * max(1.0, float(kept.max(initial=0.0))):
        raise _gains()
    out = start.copy()
    out[:, lose] = np.linalg.solve(np.eye(len(base)) - matrix[lose], base.T[lose][:, :, None])[:, :, 0].T
    return out


def _gains() -> InputError:
    return InputError(
        "the calls between the services do not settle: each call causes one more, or more than one",
        found="a cycle of calls whose gain is 1 or more (spectral radius of the call matrix not under 1)",
        todo="look for a service that both calls and is called by another in the signals, and whether calls are counted twice",
    )
