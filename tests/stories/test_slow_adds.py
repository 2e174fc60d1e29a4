"""Adds wait for a model for seconds; nobody else waits with them."""

import contextlib

from support.clients import over_sse
from support.fake_openai import FakeOpenAI
from support.processes import Server

USERS, ADDS = 8, 4  # 32 at once


def test_a_search_beside_32_slow_adds_is_not_delayed(server: Server, llm: FakeOpenAI) -> None:
    """No clock: while the model holds every add back, a search, a list and a deletion are answered."""
    with contextlib.ExitStack() as stack:
        quick = stack.enter_context(over_sse(server.url("cline", "quick")))
        quick.add("现在住在上海")
        slow = [stack.enter_context(over_sse(server.url("cline", f"slow {n}"))) for n in range(USERS)]
        llm.forget()
        with llm.holding("chat"):
            adding = [client.begin("add_memories", text=f"Owns book {n}") for client in slow for n in range(ADDS)]
            llm.wait_for("extraction", USERS * ADDS)
            assert quick.search("住在哪里")[0]["memory"] == "现在住在上海"
            assert quick.texts() == ["现在住在上海"]
            assert quick.delete_all()["deleted"] == 1
            assert not any(call.done() for call in adding)
        assert not [answer.text for answer in (call.result(90) for call in adding) if answer.failed]
        assert all(len(client.memories()) == ADDS for client in slow)
