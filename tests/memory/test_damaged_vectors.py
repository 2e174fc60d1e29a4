"""Whatever bytes an embedder answers with: the right vectors, or an error that was foreseen. Never a wrong vector."""

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.fake_openai import FakeOpenAI, Fault
from tablestore_openmemory_mcp.errors import DimensionMismatch, ModelDenied, ModelError, ModelNonsense
from tablestore_openmemory_mcp.memory.models.embedder import Embedder
from tablestore_openmemory_mcp.memory.models.endpoint import Endpoint

A, B = [3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0]
UNITS = np.array([[0.6, 0.8, 0, 0], [0, 0, 0, 1]], np.float32)
MANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(scope="module")
def one() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def embedder(one: FakeOpenAI) -> Iterator[Embedder]:
    made = Embedder(Endpoint("sk-fake", one.base_url), "text-embedding", len(A))
    yield made
    made.close()


def row(embedding: object, index: object = None) -> dict[str, object]:
    return {"object": "embedding", "embedding": embedding} | ({} if index is None else {"index": index})


def answered(one: FakeOpenAI, embedder: Embedder, body: bytes) -> Any:
    one.fail_next("embeddings", Fault.answers(body))
    return embedder.embed(["a", "b"], deadline=time.monotonic() + 20, retries=0)


@pytest.mark.parametrize(
    "data",
    [
        [row(A, 0), row(B, 1)],
        [row(B, 1), row(A, 0)],
        [row(A), row(B)],
        [row(A, 0), row(B, 0)],
        [{**row(A, 0), "more": {"of": [1, None]}}, row(B, 1)],
        [row([3, 4, 0, 0], 0), row([0, 0, 0, 1e30], 1)],
    ],
    ids=["in order", "permuted", "without an index", "all the same index", "with more", "large and whole numbers"],
)
def test_what_vendors_send_is_read(one: FakeOpenAI, embedder: Embedder, data: list[object]) -> None:
    vectors = answered(one, embedder, json.dumps({"data": data}).encode())
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, UNITS, atol=1e-7)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ([row(A, 0)], ModelNonsense),
        ([row(A, 0), row(B, 1), row(B, 2)], ModelNonsense),
        ([], ModelNonsense),
        ([row(A, 0), row([0.0] * 4, 1)], ModelNonsense),
        ([row(A, 0), row([float("nan"), 1, 1, 1], 1)], ModelNonsense),
        ([row(A, 0), row([float("inf"), 1, 1, 1], 1)], ModelNonsense),
        ([row(A, 0), row([None, 1, 1, 1], 1)], ModelNonsense),
        ([row(A, 0), row(B[:3], 1)], DimensionMismatch),
        ([row(A[:3], 0), row(B[:3], 1)], DimensionMismatch),
        ([row(A, 0), row([], 1)], DimensionMismatch),
        ([row(A, 0), row(None, 1)], ModelDenied),
        ([row(A, 0), None], ModelDenied),
        ([row(A, 0), {"index": 1}], ModelDenied),
        ([row(A, 0), row([A, B, A, B], 1)], ModelDenied),
        ([row(A, 0), row([A, 1, 2, 3], 1)], ModelDenied),
        ([row(A, 0), row("zczMPQ==", 1)], ModelDenied),
        ([row(A, 0), row({"0": 1.0}, 1)], ModelDenied),
        ([row(A, 0), row([10**400, 1, 1, 1], 1)], ModelDenied),
        ([row(A, 0), row(B, "1")], ModelDenied),
        ({"0": row(A, 0)}, ModelDenied),
        ("AAAA", ModelDenied),
        (7, ModelDenied),
    ],
    ids=str,
)
def test_what_is_damaged_is_refused(one: FakeOpenAI, embedder: Embedder, data: object, error: type) -> None:
    one.forget()
    with pytest.raises(error):
        answered(one, embedder, json.dumps({"data": data}).encode())
    assert one.count("embeddings") == 1
    np.testing.assert_allclose(answered(one, embedder, json.dumps({"data": [row(A), row(B)]}).encode()), UNITS)


@MANY
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.sampled_from([A, B, row(A), row(B, 1)]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["data", "embedding", "index", "error", "code"]), inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_refused(one: FakeOpenAI, embedder: Embedder, value: object) -> None:
    for body in (value, {"data": value}):
        try:
            vectors = answered(one, embedder, json.dumps(body).encode())
        except ModelError:
            continue
        assert vectors.shape == (2, len(A))
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


@MANY
@given(st.data())
def test_a_body_that_was_cut_or_changed_is_read_or_refused(
    one: FakeOpenAI, embedder: Embedder, data: st.DataObject
) -> None:
    body = bytearray(json.dumps({"data": [row(A, 0), row(B, 1)]}).encode())
    if data.draw(st.booleans()):
        del body[data.draw(st.integers(0, len(body) - 1)) :]
        with pytest.raises(ModelError):
            answered(one, embedder, bytes(body))
        return
    for place in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=3)):
        body[place] = data.draw(st.integers(0, 255))
    try:
        vectors = answered(one, embedder, bytes(body))
    except ModelError:
        return
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_an_answer_as_deep_as_it_is_long_is_refused(one: FakeOpenAI, embedder: Embedder) -> None:
    with pytest.raises(ModelError):
        answered(one, embedder, b'{"data": ' + b"[" * 500_000)
