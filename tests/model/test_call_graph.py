"""The call graph: what a service reaches, by which path, and how many calls each handles."""

import numpy as np
import pytest
from drawn import rows

from costwhy.errors import InputError
from costwhy.model.call_graph import CallGraph, call_graph
from costwhy.model.flow import FEW, flow_into

SHOP = """
    caller | called
           | web
    web    | api
    web    | search
    api    | db
    search | db
    db     | disk
           | report
    report | disk
"""
CIRCLE = """
    caller | called
           | a
    a      | b
    b      | a
    b      | c
"""


def graph_of(drawn: str) -> tuple[CallGraph, list[str]]:
    edges = rows(drawn)
    names = sorted({name for edge in edges for name in edge if name is not None})
    index = [[-1 if name is None else names.index(name) for name in edge] for edge in edges]
    caller, called = np.array(index).T
    return call_graph(len(names), caller, called), names


def reached(drawn: str, *services: str) -> list[str]:
    graph, names = graph_of(drawn)
    found = graph.reach(names.index(service) for service in services)
    return [name for name, there in zip(names, found, strict=True) if there]


def path(drawn: str, start: str, end: str) -> list[str]:
    graph, names = graph_of(drawn)
    return [names[row] for row in graph.path(names.index(start), names.index(end))]


def handled(drawn: str, calls: list[float], ratio: dict[int, float] | None = None) -> dict:
    """Calls that each service handles, with calls on each edge of which some ratios change."""
    graph, names = graph_of(drawn)
    total = np.zeros((len(names), 1))
    called = [names.index(str(edge[1])) for edge in rows(drawn)]
    np.add.at(total[:, 0], called, calls)
    flow = flow_into(graph, range(len(names)), np.array(calls)[:, None], total)
    changed = flow.ratio.copy()
    for edge, times in (ratio or {}).items():
        changed[flow.edges == edge] *= times
    outside = np.zeros_like(total)
    np.add.at(outside, graph.entered, np.array(calls)[graph.entries][:, None])
    np.add.at(outside, flow.called, flow.unrelated)
    now = flow.settle(changed, outside, total)
    return {name: round(float(now[row, 0]), 6) for row, name in enumerate(names)}


# ---------------------------------------------------------------- reach and path


def test_a_service_reaches_those_below_it_and_itself():
    assert reached(SHOP, "api") == ["api", "db", "disk"]
    assert reached(SHOP, "disk") == ["disk"]
    assert reached(SHOP, "search", "report") == ["db", "disk", "report", "search"]
    assert reached(SHOP) == []


def test_in_a_circle_each_reaches_the_other():
    assert reached(CIRCLE, "b") == ["a", "b", "c"]
    assert reached(CIRCLE, "c") == ["c"]


def test_a_path_is_the_shortest_and_of_equals_the_first_by_name():
    assert path(SHOP, "web", "disk") == ["web", "api", "db", "disk"]
    assert path(SHOP, "web", "web") == ["web"]
    assert path(CIRCLE, "a", "c") == ["a", "b", "c"]


def test_there_is_no_path_against_the_calls():
    assert path(SHOP, "db", "web") == []
    assert path(SHOP, "report", "db") == []


def test_callers_come_before_those_whom_they_call():
    graph, names = graph_of(SHOP)
    depth = dict(zip(names, graph.depth.tolist(), strict=True))
    assert depth == {"web": 0, "report": 0, "api": 1, "search": 1, "db": 2, "disk": 3}
    assert graph_of(CIRCLE)[0].depth.tolist() == [0, 0, 1]  # a circle is one depth
    assert (np.diff(graph.depth[graph.called]) >= 0).all()


# ---------------------------------------------------------------- calls handled

#          web   api  search  db   db   disk  report  disk
CALLS = [100.0, 200.0, 50.0, 400.0, 50.0, 450.0, 10.0, 20.0]  # fmt: skip


def test_without_a_change_calls_are_what_they_were():
    then = {"api": 200, "db": 450, "disk": 470, "report": 10, "search": 50, "web": 100}
    assert handled(SHOP, CALLS) == then


def test_a_ratio_that_halves_takes_its_calls_all_the_way_down():
    # api gets 100; db 100 x 2 + 50 = 250; disk 250 x 1 + 20 = 270
    now = {"api": 100, "db": 250, "disk": 270, "report": 10, "search": 50, "web": 100}
    assert handled(SHOP, CALLS, {1: 0.5}) == now


def test_in_a_circle_a_call_comes_round_again():
    # a: 100 from outside + 0.5 for each of b; b: 0.5 for each of a; a = 100 / (1 - 0.25)
    calls = [100.0, 200 / 3, 100 / 3, 200 / 3]
    assert handled(CIRCLE, calls) == pytest.approx({"a": 400 / 3, "b": 200 / 3, "c": 200 / 3})
    # b calls a with half of it: a = 100 / (1 - 0.125)
    now = handled(CIRCLE, calls, {2: 0.5})
    assert now == pytest.approx({"a": 800 / 7, "b": 400 / 7, "c": 400 / 7})


def test_a_circle_that_hardly_loses_calls_is_solved_too():
    # each call of a comes round with 0.999: a = 1 / (1 - 0.999) = 1000, b the same
    gain = 0.999**0.5
    calls = [1.0, 1000 * gain, 999.0, 0.0]
    now = handled(CIRCLE, calls, {1: 0.99})
    a = 1 / (1 - 0.999 * 0.99)
    assert (now["a"], now["b"]) == pytest.approx((a, 0.99 * gain * a))


def test_a_circle_that_gains_calls_is_refused_if_they_change():
    calls = [100.0, 200 / 3, 100 / 3, 200 / 3]
    with pytest.raises(InputError, match="do not settle"):
        handled(CIRCLE, calls, {1: 4.0})  # gain 0.25 x 4


def test_a_circle_that_gains_stays_as_it_was_where_nothing_changes():
    # nobody calls from outside, and each call causes one more: any number of calls settles that
    assert handled(CIRCLE, [0.0, 30.0, 30.0, 5.0]) == {"a": 30, "b": 30, "c": 5}


@pytest.mark.parametrize("size", [FEW, FEW + 6])
def test_a_long_circle_settles_however_it_is_solved(size):
    # s0 -> s1 -> ... -> s0, each with 0.5 calls for each call: the last passes 0.5^n back
    total = 0.5 ** np.arange(size)
    caller = np.array([-1, *range(size)])
    called = np.array([0, *range(1, size), 0])
    graph = call_graph(size, caller, called)
    calls = np.array([1.0, *(0.5 * total)])[:, None]
    flow = flow_into(graph, [0], calls, total[:, None])
    outside = np.zeros((size, 1))
    outside[0] = 2.0
    now = flow.settle(flow.ratio, outside, total[:, None])[:, 0]
    assert now == pytest.approx(2 * total, abs=1e-8)


def test_a_long_circle_that_gains_is_refused():
    size = FEW + 6
    caller, called = np.arange(size), np.roll(np.arange(size), -1)
    graph = call_graph(size, caller, called)
    total = np.ones((size, 1))
    flow = flow_into(graph, [0], total, total)
    with pytest.raises(InputError, match="do not settle"):
        flow.settle(1.5 * flow.ratio, np.ones((size, 1)), total)


def test_calls_of_an_hour_in_which_the_caller_handled_none_are_unrelated():
    graph, names = graph_of(SHOP)
    total = np.array([[0.0], [5.0], [5.0], [0.0], [0.0], [0.0]])  # api handles none, db five
    calls = np.zeros((8, 1))
    calls[3] = 5.0  # of api
    flow = flow_into(graph, [names.index("db")], calls, total)
    assert flow.edges.tolist() == [3, 4, 5, 7]  # into db and disk; disk's callers db and report
    assert flow.ratio[0, 0] == 0.0
    assert flow.unrelated[:, 0].tolist() == [5.0, 0.0, 0.0, 0.0]


def test_only_what_is_reached_is_settled():
    graph, names = graph_of(SHOP)
    total = np.arange(6.0)[:, None]
    flow = flow_into(graph, [names.index("report")], np.zeros((8, 1)), total)
    now = flow.settle(flow.ratio, np.full((6, 1), 7.0), total)
    # report and disk get what comes from outside, all others stay
    assert now[:, 0].tolist() == [0.0, 1.0, 7.0, 7.0, 4.0, 5.0]
