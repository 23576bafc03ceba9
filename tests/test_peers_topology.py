"""Topologies: their graphs against networkx, exact spectral gaps, and means that are kept."""

from __future__ import annotations

import inspect
import itertools
import math
from dataclasses import fields

import networkx as nx
import numpy as np
import pytest

from pullback.errors import ConfigError
from pullback.peers import mixing, require, topology
from pullback.peers.mixing import (
    EqualShares,
    Given,
    Laplacian,
    Lazy,
    MetropolisHastings,
    Mixing,
    Push,
    data_shares,
)
from pullback.peers.phase import Schedule, gossip
from pullback.peers.spectrum import gap, implied_weights, long_run_gap
from pullback.peers.topology import (
    Complete,
    EdgeList,
    ErdosRenyi,
    ExponentialGraph,
    Grid,
    Hypercube,
    OnePeerExponential,
    Path,
    RandomRegular,
    Ring,
    Star,
    Stars,
    StarTree,
    Topology,
    Torus,
    TwoCliques,
)

CASES = [
    Star(6),
    Star(5, hub=2, hub_has_data=False),
    Stars(),
    Stars(((0, 1, 2, 3), (5, 4), (6, 7)), hubs_have_data=False),
    Stars(((1,), (0, 2))),
    StarTree((2, 3)),
    StarTree((3, 1, 2), hubs_have_data=False),
    Ring(7),
    Path(5),
    Grid(3, 4),
    Torus(3, 4),
    Complete(5),
    Hypercube(8),
    ExponentialGraph(6),
    OnePeerExponential(6),
    RandomRegular(10, 3),
    ErdosRenyi(12, 0.3),
    TwoCliques(7),
    EdgeList(((0, 1), (1, 2), (2, 0), (2, 3))),
]
MIXINGS = [
    MetropolisHastings(),
    Lazy(),
    Laplacian(),
    EqualShares(),
    Push(),
    Given(((0.5, 0.5, 0.0), (0.25, 0.5, 0.25), (0.0, 0.5, 0.5))),
]
STARS = [case for case in CASES if case.hubs()]
# Links that go one way keep the plain mean only.
BOTH_WAYS = [case for case in CASES if not case.graph().is_directed()]


def public(module, base):
    kinds = [kind for kind in vars(module).values() if inspect.isclass(kind)]
    return {kind for kind in kinds if issubclass(kind, base) and kind is not base}


def uneven(case):
    amounts = np.arange(3.0, case.n + 3)
    amounts[list(case.without_data())] = 0
    return amounts


def of_all_sizes():
    """Every topology that takes a number of workers, for every number that it takes."""
    for n in range(2, 41):
        whole = [Star, Ring, Path, Complete, ExponentialGraph, OnePeerExponential, TwoCliques]
        yield from (kind(n) for kind in whole)
        yield Grid(1, n)
        yield Grid(n, 2)
        yield Torus(2, n)
        yield StarTree((n, 1))
        yield ErdosRenyi(n, 0.6, seed=n)
        if n % 3 == 0:
            yield Torus(3, n // 3) if n > 3 else Torus(3, 3)
        if n & (n - 1) == 0:
            yield Hypercube(n)
        if n > 4:
            yield RandomRegular(n, 4)
            yield RandomRegular(n, n - 1)
            yield Stars((tuple(range(n // 2)), tuple(range(n // 2, n))))


def one_phase(matrix):
    return Schedule(((gossip(matrix),),))


def test_the_tables_are_complete():
    assert public(topology, Topology) == {type(case) for case in CASES}
    assert public(mixing, Mixing) == {type(case) for case in MIXINGS}


def test_fields_can_be_written_in_a_file():
    for case in CASES:
        for field in fields(case):
            kinds = set(str(field.type).replace("tuple", "").replace("...", "").split(" | "))
            kinds = {word for kind in kinds for word in kind.replace("[", ",").replace("]", ",")
                     .replace(" ", "").split(",") if word}  # fmt: skip
            assert kinds <= {"int", "float", "str", "bool", "None"}, field


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_topology_is_a_value_and_its_graph_is_of_the_workers_from_0(case):
    graph = case.graph()
    assert sorted(graph) == list(range(case.n))
    assert list(graph.edges) == list(case.graph().edges)
    assert case.schedule() == case.schedule()
    assert hash(case) == hash(type(case)(**{f.name: getattr(case, f.name) for f in fields(case)}))
    links = {frozenset(edge) for edge in graph.edges}
    phases = case.schedule().phases
    used = {frozenset(edge) for each in phases for edge in zip(each.src, each.dst, strict=True)}
    assert used == links
    require.connected(case.schedule(), "training")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_mean_over_the_data_is_kept_with_equal_weights_and_with_unequal(case):
    equal = data_shares(None, case.n, case.without_data())
    np.testing.assert_allclose(implied_weights(case.schedule()), equal, atol=1e-12)
    if case in BOTH_WAYS:
        amounts = uneven(case)
        schedule = case.schedule(weights=amounts)
        shares = amounts / amounts.sum()
        np.testing.assert_allclose(implied_weights(schedule), shares, atol=1e-12)
        np.testing.assert_allclose(shares @ schedule.product(), shares, atol=1e-15)


@pytest.mark.parametrize("case", STARS, ids=str)
def test_stars_give_everyone_the_exact_weighted_mean(case):
    amounts = uneven(case)
    x = np.random.default_rng(0).normal(size=(case.n, 3))
    wanted = amounts @ x / amounts.sum()
    for each in case.schedule(weights=amounts).round(0):
        x = each.matrix() @ x
    np.testing.assert_allclose(x, np.tile(wanted, (case.n, 1)), rtol=0, atol=1e-15)
    assert case.schedule(EqualShares()) == case.schedule()
    assert gap(case.schedule()) == 1


def test_rows_sum_to_1_for_every_number_of_workers():
    # Peers' toruses and expanders have rows of 0.6 or 5.3 where two edges are one.
    seen = 0
    for case in of_all_sizes():
        for each in case.schedule().phases:
            dense = each.matrix()
            np.testing.assert_allclose(dense.sum(1), 1, rtol=0, atol=1e-14, err_msg=str(case))
            assert dense.min() >= 0
            if not case.hubs():
                np.testing.assert_allclose(dense.sum(0), 1, rtol=0, atol=1e-14, err_msg=str(case))
        seen += 1
    assert seen > 400


@pytest.mark.parametrize("case", [Star(4), Stars(), Torus(2, 2), ExponentialGraph(4)], ids=str)
def test_rows_sum_to_1_under_every_loss(case):
    for each in case.schedule().phases:
        for up in itertools.product([True, False], repeat=each.edges):
            rows = each.matrix(np.array(up)).sum(1)
            np.testing.assert_allclose(rows, 1, rtol=0, atol=1e-15)


def test_push_keeps_the_sum_under_every_loss():
    one_way = EdgeList(((0, 1), (1, 2), (2, 0), (0, 2)), directed=True)
    (each,) = one_way.schedule(Push()).round(0)
    assert each.on_loss == "mass"
    assert np.abs(each.matrix().sum(1) - 1).max() > 0.1
    for up in itertools.product([True, False], repeat=each.edges):
        np.testing.assert_allclose(each.matrix(np.array(up)).sum(0), 1, rtol=0, atol=1e-15)
    require.sums(one_way.schedule(Push()), "push-sum")


@pytest.mark.parametrize("n", [3, 4, 5, 9, 16, 33])
def test_exact_gaps_of_rings_complete_graphs_and_stars(n):
    assert gap(Complete(n).schedule()) == pytest.approx(1, abs=1e-12)
    assert gap(Ring(n).schedule()) == pytest.approx(1 - (1 + 2 * math.cos(2 * math.pi / n)) / 3)
    star = one_phase(MetropolisHastings().matrix(nx.star_graph(n - 1)))
    assert gap(star) == pytest.approx(1 / n)


@pytest.mark.parametrize("n", [2, 4, 8, 16, 32])
def test_exact_gap_of_hypercubes(n):
    assert gap(Hypercube(n).schedule()) == pytest.approx(2 / (math.log2(n) + 1))


@pytest.mark.parametrize("n", [2, 4, 6, 8, 12, 16, 32, 64])
def test_exact_gap_of_exponential_graphs(n):
    assert gap(ExponentialGraph(n).schedule()) == pytest.approx(2 / (1 + math.ceil(math.log2(n))))


def test_the_gap_of_metropolis_weights_on_two_stars():
    dense = MetropolisHastings().matrix(Stars().graph())
    assert gap(one_phase(dense)) == pytest.approx(0.1096, abs=5e-5)
    assert gap(Stars().schedule()) == 1


@pytest.mark.parametrize("n", range(2, 18))
def test_one_peer_averages_exactly_if_and_only_if_n_is_a_power_of_two(n):
    product = OnePeerExponential(n).schedule().product()
    off = np.abs(product - 1 / n).max()
    assert (off < 1e-15) == (n & (n - 1) == 0)
    if n == 6:
        residual = np.linalg.norm(product - 1 / 6, 2)
        assert residual == pytest.approx(0.217, abs=5e-4)


def test_graphs_are_those_of_their_names():
    for rows, columns in ((3, 5), (4, 8), (2, 5), (2, 2)):
        torus = nx.cartesian_product(nx.cycle_graph(rows), nx.cycle_graph(columns))
        assert nx.is_isomorphic(Torus(rows, columns).graph(), torus)
        # A peer's torus continues a row in the next one: a twisted torus, of the same gap.
        assert sorted(Torus(4, 8).graph()[7]) == [0, 6, 15, 31]
    assert Grid(2, 3).graph().has_edge(1, 4)
    assert nx.is_isomorphic(TwoCliques(8).graph(), nx.barbell_graph(4, 0))
    assert nx.is_isomorphic(StarTree((2, 2)).graph(), nx.balanced_tree(2, 2))
    assert nx.is_isomorphic(Star(5, hub=3).graph(), nx.star_graph(4))
    assert sorted(Stars().graph().edges) == [(0, 2), (1, 2), (2, 3), (3, 4), (3, 5)]
    assert all(bin(a ^ b).count("1") == 1 for a, b in Hypercube(16).graph().edges)
    assert sorted(ExponentialGraph(6).graph()[0]) == [1, 2, 4]
    assert set(dict(RandomRegular(12, 7).graph().degree).values()) == {7}
    assert RandomRegular(12, 4, seed=1).graph().edges != RandomRegular(12, 4).graph().edges


def test_messages_of_one_round():
    assert [each.edges for each in Stars().schedule().round(0)] == [4, 2, 4]
    assert [each.edges for each in Star(6).schedule().round(0)] == [5, 5]
    assert [each.edges for each in Stars(((1,), (0, 2))).schedule().round(0)] == [1, 2, 1]
    for case in (StarTree((2, 3)), StarTree((4,)), StarTree((3, 1, 2))):
        assert sum(each.edges for each in case.schedule().round(0)) == 2 * (case.n - 1)
    assert StarTree((4,)).schedule() == Star(5).schedule()
    assert OnePeerExponential(9).schedule().period == 4
    assert {each.edges for each in OnePeerExponential(9).schedule().phases} == {9}


def test_a_hub_that_misses_a_leaf_takes_the_mean_over_the_others():
    gather, exchange, _ = Stars().schedule(weights=[1, 2, 3, 4, 5, 6]).round(0)
    assert list(zip(gather.src, gather.dst, strict=True)) == [(0, 2), (1, 2), (4, 3), (5, 3)]
    row = gather.matrix(np.array([False, True, True, True]))[2]
    np.testing.assert_allclose(row, [0, 2 / 5, 3 / 5, 0, 0, 0])
    assert gather.on_loss == exchange.on_loss == "renorm"
    assert exchange.matrix(np.array([False, True]))[2, 2] == 1


def test_metropolis_weights_settle_unequal_parts_in_balance():
    graph = Grid(2, 3).graph()
    shares = np.arange(1, 7) / 21
    dense = MetropolisHastings().matrix(graph, shares)
    flow = shares[:, None] * dense
    np.testing.assert_allclose(flow, flow.T, rtol=0, atol=1e-16)
    assert (np.diag(dense) > 0).all()
    degree = [graph.degree[i] for i in range(6)]
    wanted = min(1 / (1 + degree[1]), shares[4] / shares[1] / (1 + degree[4]))
    assert dense[1, 4] == pytest.approx(wanted)
    equal = MetropolisHastings().matrix(graph)
    assert equal[0, 1] == 1 / (1 + max(degree[0], degree[1]))
    assert (equal == equal.T).all()


def test_the_best_step_of_a_laplacian_and_half_a_mixing():
    graph = Grid(3, 4).graph()
    spectrum = np.linalg.eigvalsh(nx.laplacian_matrix(graph).toarray().astype(float))
    ratio = spectrum[1] / spectrum[-1]
    best = gap(one_phase(Laplacian().matrix(graph)))
    assert best == pytest.approx(1 - (1 - ratio) / (1 + ratio))
    for factor in (0.95, 1.05):
        step = factor * 2 / (spectrum[-1] + spectrum[1])
        assert gap(one_phase(Laplacian(step).matrix(graph))) < best
    shares = np.arange(1, 13) / 78
    assert gap(one_phase(Laplacian().matrix(graph, shares))) > 0
    plain, lazy = Ring(6).schedule(), Ring(6).schedule(Lazy())
    np.testing.assert_allclose(lazy.product(), (np.eye(6) + plain.product()) / 2)
    assert Ring(6).schedule(Lazy(Push())).phases[0].on_loss == "mass"


def test_equal_shares_minimise_what_they_imply():
    implied = implied_weights(Path(4).schedule(EqualShares()))
    np.testing.assert_allclose(implied, np.array([2, 3, 3, 2]) / 10)
    uniform = implied_weights(Path(4).schedule(Push()))
    np.testing.assert_allclose(uniform, 1 / 4)


def test_a_directed_matrix_weighs_who_is_heard():
    graph = nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])
    assert EqualShares().matrix(graph)[2].tolist() == pytest.approx([1 / 3] * 3)
    assert EqualShares().matrix(graph)[0].tolist() == [0.5, 0.0, 0.5]
    assert Push().matrix(graph)[:, 0].tolist() == pytest.approx([1 / 3] * 3)


def test_edges_come_from_a_list_a_file_or_networkx(tmp_path):
    file = tmp_path / "links.txt"
    file.write_text("# a triangle and a tail\n0 1\n1,2  # comment\n\n2 0\n2 3\n")
    assert sorted(EdgeList(file=str(file)).graph().edges) == [(0, 1), (0, 2), (1, 2), (2, 3)]
    assert EdgeList(file=str(file)).schedule() == CASES[-1].schedule()
    florentine = nx.florentine_families_graph()
    taken = EdgeList.from_networkx(florentine)
    assert nx.is_isomorphic(taken.graph(), florentine)
    one_way = EdgeList.from_networkx(nx.DiGraph([("a", "b"), ("b", "c"), ("c", "a")]))
    assert one_way.directed
    assert list(one_way.graph().edges) == [(0, 1), (1, 2), (2, 0)]
    file.write_text("0 1\n1 x\n")
    with pytest.raises(ConfigError, match=r"an edge is two numbers, got '1 x', in .*line 2"):
        EdgeList(file=str(file)).graph()
    with pytest.raises(ConfigError, match=r"the edges cannot be read: .*missing"):
        EdgeList(file=str(tmp_path / "missing")).graph()


def test_what_an_algorithm_asks_for_is_refused_with_a_sentence():
    require.symmetric(Ring(5).schedule(), "EXTRA")
    require.doubly_stochastic(ExponentialGraph(5).schedule(), "tracking")
    require.doubly_stochastic(Stars().schedule(), "tracking")
    require.tree(Stars().graph(), "RelaySum")
    with pytest.raises(ConfigError, match=r"EXTRA wants a symmetric matrix, and worker 0 weighs"):
        require.symmetric(ExponentialGraph(5).schedule(), "EXTRA")
    with pytest.raises(ConfigError, match=r"column 0 sums to 0.83.*, in round 0"):
        require.sums(Path(4).schedule(EqualShares()), "tracking")
    with pytest.raises(ConfigError, match=r"gossip wants rows that sum to 1"):
        require.agreement(Ring(4).schedule(Push()), "gossip")
    with pytest.raises(ConfigError, match=r"RelaySum wants a tree, .* by 4 links .* here are 5"):
        require.tree(Ring(5).graph(), "RelaySum")
    with pytest.raises(ConfigError, match="these links go one way"):
        require.tree(ExponentialGraph(3).graph(), "RelaySum")
    apart = one_phase(np.kron(np.eye(2), np.full((2, 2), 0.5)))
    with pytest.raises(ConfigError, match=r"fall into 2 parts, as \[0, 1\] and \[2, 3\]"):
        require.connected(apart, "training")
    with pytest.raises(ConfigError, match="do not all come to agree"):
        implied_weights(apart)


def test_the_long_run_is_not_the_first_step():
    # Not symmetric: the norm bounds one step, the spectral radius the long run.
    one_way = EdgeList(((0, 1), (1, 2), (2, 0), (0, 2)), directed=True)
    schedule = one_way.schedule(EqualShares())
    assert long_run_gap(schedule) > gap(schedule) + 0.01
    weighed = Grid(2, 3).schedule(weights=[1, 2, 3, 4, 5, 6])
    assert long_run_gap(weighed) == pytest.approx(gap(weighed))


HALF = ((0.5, 0.5), (0.5, 0.5))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        *((lambda kind=kind: kind(1), "workers must be a whole number of at least 2, got 1")
          for kind in (Star, Ring, Path, Complete, Hypercube, ExponentialGraph,
                       OnePeerExponential, TwoCliques)),
        (lambda: Hypercube(12), "must be a power of two, got 12; take 8 or 16"),
        (lambda: RandomRegular(5, 3), "workers or degree must be even, got 5 and 3"),
        (lambda: RandomRegular(5, 5), "must be below the number of workers, 5, got 5"),
        (lambda: RandomRegular(4, 1), "degree must be a whole number of at least 2, got 1"),
        (lambda: ErdosRenyi(5, 0.0), r"probability must be in \(0, 1\], got 0.0"),
        (lambda: ErdosRenyi(40, 0.01).graph(), "none of 100 random graphs .* larger probability"),
        (lambda: Torus(1, 5), "a side of 1 is a ring; use Ring"),
        (lambda: Torus(0, 5), "rows must be a whole number of at least 2"),
        (lambda: Grid(1, 1), "needs two workers"),
        (lambda: Star(3, hub=3), "one of the workers 0 to 2, got 3"),
        (lambda: Stars(((0, 1), (1, 2))), "each of the workers from 0 on once"),
        (lambda: Stars(((1, 2), (3,))), "each of the workers from 0 on once"),
        (lambda: Stars(((0,), ())), "each of the workers from 0 on once"),
        (lambda: Stars(((0,), (1, 2)), hubs_have_data=False), "neither leaves nor a hub with data"),
        (lambda: StarTree(()), "branching must be whole numbers of at least 1"),
        (lambda: StarTree((2, 0)), "branching must be whole numbers of at least 1"),
        (lambda: EdgeList(), "either edges or a file"),
        (lambda: EdgeList(((0, 1),), file="links"), "either edges or a file"),
        (lambda: EdgeList(((0, 1), (1, 0))), "the edge 1–0 is there twice"),
        (lambda: EdgeList(((0, 0), (0, 1))), "must join two of the workers 0 to 1, got 0–0"),
        (lambda: EdgeList(((0, 1), (2, 3))), "apart from others"),
        (lambda: EdgeList(((0, 1),), workers=3), "apart from others"),
        (lambda: EdgeList(((0, 1), (1, 2)), directed=True), "apart from others"),
        (lambda: EdgeList(((0, 1), (1, 0)), directed=True).schedule(), "wants edges that go both"),
        (lambda: ExponentialGraph(3).schedule(Laplacian()), "Laplacian wants edges that go both"),
        (lambda: ExponentialGraph(3).schedule(weights=[1, 2, 3]), "does not keep the mean"),
        (lambda: OnePeerExponential(3).schedule(weights=[1, 2, 3]), "does not keep the mean"),
        (lambda: Path(3).schedule(EqualShares(), [1, 1, 1]), "EqualShares does not keep the mean"),
        (lambda: Ring(3).schedule(weights=[1, 1]), r"each of 3 workers, got an array of shape"),
        (lambda: Ring(3).schedule(weights=[1, 0, 1]), "data weight of worker 1 must be a positive"),
        (lambda: Star(3, hub_has_data=False).schedule(weights=[1, 1, 1]), "a hub without data"),
        (lambda: Ring(3).schedule(Laplacian(1.0)), r"step must be in \(0, 0.666667\)"),
        (lambda: Given(((0.5, 0.4), (0.5, 0.5))), "row 0 sums to 0.9"),
        (lambda: Given(((1.0,), (1.0,))), "a square matrix"),
        (lambda: Given(((float("nan"), 0.5), (0.5, 0.5))), "row 0 sums to nan"),
        (lambda: Ring(3).schedule(Given(HALF)), "has 2 rows for 3 workers"),
        (lambda: Path(3).schedule(Given(((0.5, 0.25, 0.25),) * 3)), "of 2, which no edge joins"),
        (lambda: Path(2).schedule(Given(((1.0, 0.0), (0.5, 0.5)))), "some workers never hear"),
        (lambda: Path(2).schedule(Given(((0.5, 0.5), (0.1, 0.9))), [1, 1]), "does not keep"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ConfigError, match=said):
        make()
