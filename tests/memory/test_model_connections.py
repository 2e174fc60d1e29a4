"""The connections to a model: one for each call at a time, used again, and let go of when they are not needed."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.fake_openai import FakeOpenAI, Fault
from support.processes import wait_until
from tablestore_openmemory_mcp.errors import ModelError
from tablestore_openmemory_mcp.memory.models import endpoint as endpoint_module
from tablestore_openmemory_mcp.memory.models.chat import ChatModel
from tablestore_openmemory_mcp.memory.models.endpoint import Endpoint

MANY = 24


@pytest.fixture
def endpoint(fake: FakeOpenAI) -> Iterator[Endpoint]:
    made = Endpoint("sk-fake", fake.base_url)
    yield made
    made.close()


def ask(endpoint: Endpoint) -> None:
    ChatModel(endpoint, "m").complete([{"role": "user", "content": "hi, in json"}], deadline=time.monotonic() + 30)


def ask_at_once(endpoint: Endpoint, fake: FakeOpenAI, many: int) -> None:
    fake.forget()
    with ThreadPoolExecutor(many) as pool:
        with fake.holding("chat"):
            calls = [pool.submit(ask, endpoint) for _ in range(many)]
            fake.wait_for("chat", many)
        for call in calls:
            call.result()


def clients(endpoint: Endpoint) -> list[object]:
    return [idle.client for idle in endpoint._idle]


def test_calls_at_a_time_have_a_connection_each_and_later_ones_take_the_same(
    endpoint: Endpoint, fake: FakeOpenAI
) -> None:
    for _ in range(5):
        ask(endpoint)
    assert len(clients(endpoint)) == 1
    ask_at_once(endpoint, fake, MANY)
    made = set(clients(endpoint))
    assert len(made) == MANY
    ask_at_once(endpoint, fake, MANY)
    assert set(clients(endpoint)) == made


def test_what_is_not_needed_any_more_is_closed(
    endpoint: Endpoint, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_at_once(endpoint, fake, MANY)
    newest, all_of_them = clients(endpoint)[-1], clients(endpoint)
    monkeypatch.setattr(endpoint_module, "_UNUSED", 0.0)
    ask(endpoint)
    assert clients(endpoint) == [newest]
    assert [client for client in all_of_them if not client.is_closed()] == [newest]  # type: ignore[attr-defined]


def test_a_call_that_fails_gives_its_connection_back(endpoint: Endpoint, fake: FakeOpenAI) -> None:
    for fault in (Fault.refused_key(), Fault.garbage(), Fault.no_such_model()):
        fake.fail_next("chat", fault)
        with pytest.raises(ModelError):
            ask(endpoint)
    ask(endpoint)
    assert len(clients(endpoint)) == 1


def test_what_is_under_way_when_all_are_closed_ends_well_and_is_closed_then(
    endpoint: Endpoint, fake: FakeOpenAI
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with fake.holding("chat"):
            call = pool.submit(ask, endpoint)
            fake.wait_for("chat", 1)
            endpoint.close()
        call.result()
    wait_until(lambda: clients(endpoint) == [], 5)
    ask(endpoint)
    assert len(clients(endpoint)) == 1
