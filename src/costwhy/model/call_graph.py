"""The call graph: who calls whom, and how many calls each service handles once some of them change.

Calls handled N follow from the calls d from outside and the calls A on each edge for each call that
its caller handles: N = A N + d. Services are ordered so that callers come before the services that
they call; services that call each other in a cycle have the same depth. So a change flows once down
the graph, and only a cycle needs equations of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components

from costwhy.arrays import Ints, Mask


@dataclass(frozen=True)
class CallGraph:
    """Edges between services, by the depth of the called service, then by its row."""

    edges: Ints  # rows of the edges in Observed
    caller: Ints  # rows of the services, one for each edge
    called: Ints
    depth: Ints  # of each service
    entries: Ints  # rows of the edges from outside or from a timer
    entered: Ints  # the services that they call
    matrix: sparse.csr_matrix  # services x services, above zero from a caller to what it calls

    def reach(self, services: Iterable[int]) -> Mask:
        """Services that these reach by calls, themselves included."""
        reached = np.zeros(self.depth.size, dtype=bool)
        reached[list(services)] = True
        while True:  # one round for each edge of the longest of the shortest paths
            further = self.called[reached[self.caller] & ~reached[self.called]]
            if not further.size:
                return reached
            reached[further] = True

    def path(self, start: int, end: int) -> list[int]:
        """The shortest chain of calls from one service to another, both included; or empty."""
        before = breadth_first_order(self.matrix, start)[1]
        path = [end]
        while path[0] != start:
            if before[path[0]] < 0:
                return []
            path.insert(0, int(before[path[0]]))
        return path


def call_graph(services: int, caller: Ints, called: Ints) -> CallGraph:
    """The graph of E edges, given as rows of the services; caller -1: from outside or a timer."""
    inner, entries = np.flatnonzero(caller >= 0), np.flatnonzero(caller < 0)
    pairs = caller[inner], called[inner]
    matrix = sparse.csr_matrix((np.ones(inner.size), pairs), shape=(services, services))
    cycle = connected_components(matrix, directed=True, connection="strong")[1]
    above, below = (cycle[rows] for rows in pairs)
    across = above != below
    # Depth is the longest path from any service that nobody calls; a cycle has one depth.
    before, deeper = np.full(services, -1), np.zeros(services, dtype=np.int64)
    while not np.array_equal(deeper, before):
        before = deeper.copy()
        np.maximum.at(deeper, below[across], before[above[across]] + 1)
    depth = deeper[cycle]
    edges = inner[np.lexsort((called[inner], depth[called[inner]]))]
    return CallGraph(edges, caller[edges], called[edges], depth, entries, called[entries], matrix)
