"""The model or Tablestore fails in the middle of the day: a sentence that names the cause, and nothing is harmed."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.clients import MemoryClient, over_http, over_sse
from support.emulator import Emulator
from support.fake_openai import STYLES, FakeOpenAI, Fault
from support.processes import START, Server, tablestore_environ, wait_until

Transport = Callable[[str], contextlib.AbstractContextManager[MemoryClient]]

KEPT, NEW = "现在住在上海", "养了一只橘猫"
MAY_WORK, WILL_NOT = " The same call may work in a moment.", " The same call will fail again until that is set right."


HASTY = {"ADD_TIMEOUT": "4"}  # seconds, so that the failing calls of these tests end soon


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, cloud: dict[str, str]) -> Iterator[Server]:
    """The server that meets the trouble."""
    with Server(tmp_path_factory.mktemp("hasty"), **cloud, **HASTY) as running:
        warm_up(running)
        yield running


def warm_up(running: Server) -> None:
    """The first add imports Mem0, which may take longer than a hasty server allows."""
    with over_sse(running.url("cline", "nobody")) as client:
        wait_until(lambda: not client.call("add_memories", text=KEPT).failed, START)


@pytest.fixture
def client(hasty: Server, server: Server) -> Iterator[MemoryClient]:
    """A user with one memory; when all works again it is still there, alone, and can be found and added to.

    What must work goes through a patient server, so that a slow machine is no failure.
    """
    with over_sse(server.url("cline", "ann")) as patient:
        patient.delete_all()
        patient.add(KEPT)
        with over_sse(hasty.url("cline", "ann")) as connected:
            yield connected
        assert patient.texts() == [KEPT]
        assert patient.search("住在哪里")[0]["memory"] == KEPT
        assert patient.add(NEW)["results"][0]["event"] == "ADD"


def refused(client: MemoryClient, *named: str, again: bool) -> None:
    """An add fails, and says so in words that name these, and whether to try again."""
    answer = client.call("add_memories", text=NEW)
    assert answer.failed
    assert answer.text.endswith(MAY_WORK if again else WILL_NOT)
    for name in named:
        assert name in answer.text
    assert NEW not in answer.text


@pytest.mark.parametrize(
    ("fault", "named", "again"),
    [
        (Fault.refused_key(), ("OPENAI_API_KEY",), False),
        (Fault.no_quota(), ("quota", "OPENAI_API_KEY"), False),
        (Fault.no_such_model(), ("LLM_MODEL",), False),
        (Fault.throttled(), ("throttling", "LLM_MODEL"), True),
        (Fault.broken(), ("LLM_MODEL",), True),
        (Fault.hang(), ("in time", "OPENAI_BASE_URL"), True),
        (Fault.slow(6), ("in time", "OPENAI_BASE_URL"), True),
        (Fault.drop(), ("OPENAI_BASE_URL",), True),
        (Fault.garbage(), ("OPENAI_BASE_URL",), False),
    ],
    ids=lambda value: f"{value.trouble} {value.status}" if isinstance(value, Fault) else "",
)
def test_the_llm_fails(
    llm: FakeOpenAI, client: MemoryClient, fault: Fault, named: tuple[str, ...], again: bool
) -> None:
    with llm.failing("chat", fault):
        refused(client, *named, again=again)


@pytest.mark.parametrize("style", ["empty", "not_json"])
def test_what_the_llm_twice_talks_nonsense_about_is_kept_word_for_word(
    llm: FakeOpenAI, server: Server, style: str
) -> None:
    llm.style_next(STYLES[style], STYLES[style])
    with over_sse(server.url("cline", f"twice {style}")) as patient:
        added = patient.add(NEW)
        assert added["results"][0]["memory"] == NEW
        assert "LLM_MODEL" in added["message"]
        assert "word for word" in added["message"]


@pytest.mark.parametrize("style", ["empty", "not_json"])
def test_the_llm_talks_nonsense_once(llm: FakeOpenAI, server: Server, style: str) -> None:
    llm.style_next(STYLES[style])
    with over_sse(server.url("cline", style)) as patient:
        assert patient.add(NEW)["results"][0]["memory"] == NEW


def test_the_embedder_gives_another_dimension(llm: FakeOpenAI, client: MemoryClient) -> None:
    with llm.failing("embeddings", Fault.wrong_dimension()):
        refused(client, "1537", "1536", "TABLESTORE_VECTOR_DIMENSION", again=False)


def test_the_embedder_refuses_the_key(llm: FakeOpenAI, client: MemoryClient) -> None:
    with llm.failing("embeddings", Fault.refused_key()):
        refused(client, "OPENAI_API_KEY", again=False)


@pytest.mark.parametrize(
    ("transport", "fault", "named"),
    [
        (over_sse, Fault.refused_key(), "OPENAI_API_KEY"),
        (over_http, Fault.throttled(retry_after=30), "throttling"),
        (over_sse, Fault.broken(), "EMBEDDER_MODEL"),
        (over_http, Fault.hang(), "in time"),
        (over_sse, Fault.drop(), "cannot be reached"),
    ],
    ids=["key", "429", "500", "hang", "drop"],
)
def test_a_search_without_the_embedder_goes_by_words_and_says_so(
    llm: FakeOpenAI, cloud: dict[str, str], tmp_path: Path, transport: Transport, fault: Fault, named: str
) -> None:
    with Server(tmp_path, **cloud) as running:
        url = running.url("cline", f"eva-{fault.trouble}-{fault.status}")
        if transport is over_http:
            url = url.replace("/sse/", "/http/")
        with transport(url) as client:
            client.add(KEPT)
            client.add(NEW)
            assert client.search("上海")[0]["score"]
            with llm.failing("embeddings", fault):
                for query, patience in (("上海吗", 8), ("在上海", 2)):  # seconds: the second time it is known
                    started = time.monotonic()
                    first, *_ = client.search(query)
                    assert time.monotonic() - started < patience
                    assert first["memory"] == KEPT
                    assert first["note"].startswith("Ranked by words alone: ")
                    assert named in first["note"]
                    assert "score" not in first


@contextlib.contextmanager
def failing(tablestore: Emulator, **rule: object) -> Iterator[None]:
    tablestore.fault(**rule)
    try:
        yield
    finally:
        tablestore.clear_faults()


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"error": "OTSAuthFailed"}, "TABLESTORE_ACCESS_KEY_ID"),
        ({"error": "OTSServerBusy"}, "TABLESTORE_"),
        ({"error": "OTSQuotaExhausted"}, "TABLESTORE_"),
        ({"drop": True}, "TABLESTORE_ENDPOINT"),
        ({"delay": 6}, "TABLESTORE_"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_tablestore_fails(tablestore: Emulator, client: MemoryClient, rule: dict[str, object], named: str) -> None:
    with failing(tablestore, **rule):
        refused(client, "Tablestore", named, again=rule != {"error": "OTSAuthFailed"})


def test_a_moment_of_trouble_is_not_even_noticed(llm: FakeOpenAI, tablestore: Emulator, server: Server) -> None:
    llm.fail_next("chat", Fault.throttled(retry_after=0.1), Fault.broken(503))
    llm.fail_next("embeddings", Fault.drop())
    with failing(tablestore, error="OTSServerBusy", times=2), over_sse(server.url("cline", "lucky")) as lucky:
        assert lucky.add(NEW)["results"][0]["memory"] == NEW


def test_tablestore_is_gone_and_comes_back(tmp_path: Path, llm: FakeOpenAI) -> None:
    """The same data on the same port, after a time without."""
    with Emulator(tmp_path / "cloud") as tablestore:
        environ = {**llm.environ(), **tablestore_environ(tablestore), **HASTY}
        with Server(tmp_path, **environ) as server, over_sse(server.url("cline", "ann")) as client:
            warm_up(server)
            wait_until(lambda: not client.call("add_memories", text=KEPT).failed, START)
            tablestore.kill()
            refused(client, "Tablestore", "TABLESTORE_ENDPOINT", again=True)
            port = environ["TABLESTORE_ENDPOINT"].rpartition(":")[2]
            key = f"{environ['TABLESTORE_ACCESS_KEY_ID']}:{environ['TABLESTORE_ACCESS_KEY_SECRET']}"
            options = ["--port", port, "--access-key", key]
            with Emulator(tmp_path / "cloud", options=options):
                assert client.texts() == [KEPT]


def test_the_wrong_model_address(tmp_path: Path, tablestore: Emulator) -> None:
    """Nothing listens there."""
    environ = {"OPENAI_API_KEY": "sk-any", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", **HASTY}
    with Server(tmp_path, **environ, **tablestore_environ(tablestore)) as server:
        with over_sse(server.url("cline", "astray")) as client:
            refused(client, "LLM", "OPENAI_BASE_URL", again=True)
            assert client.memories() == []
        assert "sk-any" not in server.log
