"""The rule that orders memories, on scores made up for it; the sets of questions are for test_ranking_on_facts.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tablestore_openmemory_mcp.memory.search.ranking import Discernment, order, stood_out
from tablestore_openmemory_mcp.memory.search.shared_directions import shared_directions, turned_down

Scores = NDArray[np.float64]

unhurried = settings(deadline=None)
DAY, MINUTE = 86_400_000, 60_000
COSINE = st.floats(-1, 1, width=32)
BM25 = st.one_of(st.just(0.0), st.floats(0, 30, width=32))
DISCERNED = st.floats(-1, 4)
PAIRS = st.lists(st.tuples(st.one_of(COSINE, st.just(np.nan)), BM25), max_size=40)


def days_apart(n: int) -> NDArray[np.int64]:
    return np.arange(n, dtype=np.int64)[::-1] * DAY


def columns(pairs: list[tuple[float, float]]) -> tuple[Scores, Scores]:
    dense, lexical = np.array(pairs, np.float64).reshape(-1, 2).T
    return dense, lexical


@unhurried
@given(PAIRS, DISCERNED, st.sampled_from([DAY, MINUTE, 0]))
def test_every_memory_has_one_place_whatever_the_scores(
    pairs: list[tuple[float, float]], discerned: float, apart: int
) -> None:
    dense, lexical = columns(pairs)
    made = np.arange(len(pairs), dtype=np.int64) * apart
    assert sorted(order(dense, lexical, made, discerned).tolist()) == list(range(len(pairs)))


@pytest.mark.parametrize("n", [0, 1, 2, 30])
@pytest.mark.parametrize("apart", [DAY, 0])
def test_equal_scores_keep_the_order_in_which_they_came(n: int, apart: int) -> None:
    made = np.arange(n, dtype=np.int64) * apart
    for dense in (np.full(n, 0.5), np.full(n, np.nan)):
        assert order(dense, np.full(n, 3.0), made).tolist() == list(range(n))


@unhurried
@given(st.integers(0, 60), st.integers(0, 2**32 - 1), DISCERNED)
def test_the_order_in_which_memories_are_handed_over_is_of_no_account(n: int, seed: int, discerned: float) -> None:
    """Made days apart they have no neighbours; drawn at random no two have the same score."""
    chance = np.random.default_rng(seed)
    dense, lexical = chance.normal(0.3, 0.1, n), np.where(chance.random(n) < 0.5, chance.uniform(0, 9, n), 0.0)
    shuffled = chance.permutation(n)
    again = order(dense[shuffled], lexical[shuffled], days_apart(n), discerned)
    assert shuffled[again].tolist() == order(dense, lexical, days_apart(n), discerned).tolist()


@unhurried
@given(st.lists(st.tuples(COSINE, BM25), min_size=2, max_size=40), DISCERNED, st.data())
def test_a_nearer_meaning_never_costs_a_place(
    pairs: list[tuple[float, float]], discerned: float, data: st.DataObject
) -> None:
    """With the spread of cosines as it was: it is that of a sample."""
    dense, lexical = columns(pairs)
    sample = np.linspace(-0.2, 0.6, 50)
    raised = data.draw(st.integers(0, len(pairs) - 1))
    nearer = dense.copy()
    nearer[raised] += data.draw(st.floats(0, 1, width=32))
    made = days_apart(len(pairs))
    before = order(dense, lexical, made, discerned, sample).tolist().index(raised)
    assert order(nearer, lexical, made, discerned, sample).tolist().index(raised) <= before


def asked(
    chance: np.random.Generator, n: int, *, reads: bool, has_words: bool, queries: int = 40
) -> list[tuple[Scores, Scores]]:
    """Queries that the first memory answers: as told by an embedder that reads them or one that does not, and by words
    that are only the answer's, or are in any memory."""
    made = []
    for _ in range(queries):
        dense = chance.normal(0.3, 0.1, n)
        dense[0] += 0.6 if reads else 0.0
        lexical = np.where(chance.random(n) < 0.3, chance.uniform(0.5, 1.5, n), 0.0)
        lexical[0] = 9.0 if has_words else 0.0
        made.append((dense, lexical))
    return made


@pytest.mark.parametrize("n", [30, 300, 2000])
@pytest.mark.parametrize("apart", [DAY, MINUTE])
@pytest.mark.parametrize(("reads", "has_words"), [(True, False), (False, True), (True, True)])
def test_where_one_signal_is_noise_the_other_decides(n: int, apart: int, reads: bool, has_words: bool) -> None:
    chance = np.random.default_rng(n)
    discernment, found = Discernment(), []
    for dense, lexical in asked(chance, n, reads=reads, has_words=has_words):
        discerned = discernment.after(dense, dense, n)
        found.append(0 in order(dense, lexical, np.arange(n, dtype=np.int64) * apart, discerned)[:5])
    assert np.mean(found) >= 0.95


def test_an_embedder_that_tells_the_memories_apart_makes_words_count_less() -> None:
    dense, lexical = np.array([0.9, 0.5, *[0.3] * 30]), np.array([0.0, 5.0, *[1.0] * 30])
    made = days_apart(32)
    assert order(dense, lexical, made, 0.2)[0] == 1
    assert order(dense, lexical, made, 1.8)[0] == 0


@pytest.mark.parametrize(("reads", "low", "high"), [(True, 1.5, 4.0), (False, -0.5, 0.5)])
def test_discernment_is_learnt_from_the_queries_alone(reads: bool, low: float, high: float) -> None:
    chance = np.random.default_rng(1)
    discernment = Discernment()
    for dense, _ in asked(chance, 200, reads=reads, has_words=False):
        learnt = discernment.after(dense, dense, 200)
    assert low < learnt < high


def test_discernment_learns_nothing_where_nothing_can_stand_out() -> None:
    discernment = Discernment()
    supposed = discernment.after(np.full(50, np.nan), np.full(50, np.nan), 50)
    for cosines in (np.full(50, 0.7), np.empty(0), np.array([0.1, 0.9])):
        assert discernment.after(cosines, cosines, len(cosines)) == supposed


def test_the_best_of_many_stands_out_no_more_than_chance_has_it() -> None:
    chance = np.random.default_rng(3)
    for n in (20, 200, 5000):
        noise = [chance.normal(0.5, 0.02, n) for _ in range(200)]
        assert abs(np.mean([stood_out(cosines, cosines, n) for cosines in noise])) < 0.3


def conversation(chance: np.random.Generator, n: int) -> tuple[Scores, Scores]:
    """A question whose words are in what was said just before its answer, as memories made one after the other."""
    dense = chance.normal(0.3, 0.1, n)
    lexical = np.zeros(n)
    for begin in chance.integers(10, n - 10, 6).tolist():
        lexical[begin : begin + 4] = chance.uniform(1, 3, 4)
    return dense, lexical


def test_what_was_made_beside_a_good_hit_comes_before_its_equals() -> None:
    dense, lexical = conversation(np.random.default_rng(4), 200)
    dense[[3, 101]] = 0.3
    lexical[[3, 101]] = 0
    lexical[100], lexical[102:104] = 9, 2
    apart = order(dense, lexical, days_apart(200)).tolist()
    together = order(dense, lexical, np.arange(200, dtype=np.int64) * MINUTE).tolist()
    assert together.index(101) < apart.index(101)
    assert together.index(101) < together.index(3)


def test_memories_that_merely_stand_beside_each_other_give_nothing() -> None:
    chance = np.random.default_rng(5)
    soon, apart = np.arange(200, dtype=np.int64), days_apart(200)
    changed = 0
    for _ in range(40):
        dense, lexical = conversation(chance, 200)
        by_chance = chance.permutation(200)
        dense, lexical = dense[by_chance], lexical[by_chance]
        changed += bool((order(dense, lexical, soon)[:10] != order(dense, lexical, apart)[:10]).any())
    assert changed <= 8  # of 40: a correlation by chance is beyond its standard error in one of six


# --- what memories have in common -----------------------------------------------------------------------------------


def normalised(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def test_a_question_in_one_language_finds_the_answer_in_the_other() -> None:
    """An embedder whose widest direction is the language: by the cosine any text in its own language comes first."""
    chance = np.random.default_rng(6)
    topics = chance.normal(size=(60, 64))
    language = chance.normal(size=64)
    sides = np.where(np.arange(60) % 2, 1.0, -1.0)[:, None]
    memories = normalised(topics + 1.5 * sides * language)
    places = []
    for i in range(60):
        query = normalised(topics[i] - 1.5 * sides[i] * language + 0.3 * chance.normal(size=64))
        by_cosine = np.argsort(-(memories @ query), kind="stable").tolist().index(i)
        contrasted = turned_down(query, shared_directions(memories))
        places.append((by_cosine, np.argsort(-(memories @ contrasted), kind="stable").tolist().index(i)))
    by_cosine_first, first = np.mean(np.array(places) < 5, axis=0)
    assert by_cosine_first < 0.2
    assert first > 0.5


@unhurried
@given(st.integers(0, 2**32 - 1))
def test_two_memories_keep_the_order_of_their_cosines(seed: int) -> None:
    chance = np.random.default_rng(seed)
    memories, query = normalised(chance.normal(size=(2, 16))), normalised(chance.normal(size=16))
    apart = float((memories @ query) @ [1, -1])
    again = float((memories @ turned_down(query, shared_directions(memories))) @ [1, -1])
    assert apart * again > 0 or abs(apart) < 1e-5


@pytest.mark.parametrize("n", [0, 1, 5])
def test_what_has_nothing_in_common_leaves_the_query_as_it_is(n: int) -> None:
    memories = np.tile(normalised(np.arange(1.0, 9.0)), (n, 1))
    query = normalised(np.ones(8))
    assert turned_down(query, shared_directions(memories)) is query


@unhurried
@given(st.integers(2, 120), st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_any_number_of_memories_gives_finite_directions(n: int, dimension: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    memories = normalised(chance.normal(size=(n, dimension)))
    memories[n // 2 :] = memories[0]  # many are the same
    shared = shared_directions(memories)
    query = normalised(chance.normal(size=dimension))
    turned = turned_down(query, shared)
    assert np.isfinite(turned).all()
    if shared is not None:
        assert shared.directions @ shared.directions.T == pytest.approx(np.eye(len(shared.directions)), abs=1e-3)
        assert ((shared.kept > 0) & (shared.kept < 1)).all()
