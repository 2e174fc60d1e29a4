"""What a person said is never lost: not by the wording of a preference, nor by a model that moves texts about."""

import json
import uuid
from collections.abc import Iterator

import pytest

from support.clients import MemoryClient, over_sse
from support.fake_openai import FakeOpenAI
from support.processes import Server


@pytest.fixture
def client(server: Server) -> Iterator[MemoryClient]:
    with over_sse(server.url("cline", uuid.uuid4().hex)) as connected:
        yield connected


def script(llm: FakeOpenAI, said: str, *decisions: tuple[str, str, str]) -> None:
    """The model takes `said` for the one fact, and decides so: (id, text, event)."""
    entries = [dict(zip(("id", "text", "event"), d, strict=True)) for d in decisions]
    llm.answer(lambda body: said in str(body), json.dumps({"facts": [said]}))
    if entries:
        update = json.dumps({"memory": entries})
        llm.answer(lambda body: said in str(body) and "new retrieved facts" in str(body), update)


@pytest.mark.parametrize(
    "preference",
    [
        "Remove trailing whitespace on save",
        "Delete merged branches after every release",
        "忘记密码时找管理员小王",
        "删除分支前先打标签",
        "不要记录日志里的密码",
    ],
)
def test_a_preference_to_remove_things_is_no_request_to_forget(
    client: MemoryClient, llm: FakeOpenAI, preference: str
) -> None:
    script(llm, preference)
    assert [r["event"] for r in client.add(preference)["results"]] == ["ADD"]
    assert client.texts() == [preference]


@pytest.mark.parametrize(
    "asked", ["Remove my address from your memory", "请删除我的地址", "User wants to forget the address"]
)
def test_a_request_to_forget_is_not_remembered(client: MemoryClient, llm: FakeOpenAI, asked: str) -> None:
    script(llm, asked)
    assert client.add(asked)["results"] == []
    assert client.texts() == []


def test_a_text_that_the_model_moves_does_not_take_another_s_place(client: MemoryClient, llm: FakeOpenAI) -> None:
    plain, rich, said = "Likes pizza with ham", "Likes pizza with cheese", "Loves pizza with cheese"
    script(llm, plain)
    client.add(plain)
    script(llm, rich, ("0", plain, "NONE"), ("1", rich, "ADD"))
    client.add(rich)
    assert sorted(client.texts()) == [rich, plain]
    # Of the two the one that says `rich` is the nearest, and so is shown first.
    script(llm, said, ("1", rich, "UPDATE"), ("0", rich, "DELETE"))
    client.add(said)
    assert set(client.texts()) == {said, plain}  # nothing was said about the ham


def test_a_memory_deleted_and_added_again_is_there(client: MemoryClient, llm: FakeOpenAI) -> None:
    old, said = "Likes pizza with cheese", "Loves pizza with cheese"
    script(llm, old)
    client.add(old)
    script(llm, said, ("0", old, "DELETE"), ("1", old, "ADD"))
    client.add(said)
    assert client.texts() == [said]


def test_a_part_is_not_added_for_the_whole(client: MemoryClient, llm: FakeOpenAI) -> None:
    old, said = "Likes pizza with cheese", "Likes pizza, detests olives, avoids peanuts because of an allergy"
    script(llm, old)
    client.add(old)
    script(llm, said, ("0", old, "NONE"), ("1", "Likes pizza", "ADD"))
    client.add(said)
    assert set(client.texts()) == {old, said}
