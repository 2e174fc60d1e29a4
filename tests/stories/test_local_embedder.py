"""The local embedder in real processes: it keeps nobody waiting, and needs no network."""

import time
import uuid
from pathlib import Path

import httpx2
import pytest

from support.clients import over_sse, over_stdio
from support.emulator import Emulator
from support.fake_openai import FakeOpenAI
from support.processes import START, Server, run_to_end, tablestore_environ, wait_until

LOADED = "the local embedder is there"
ENOUGH = 5  # answers while it loads: of a second or more, in which a blocked event loop gives none


def test_it_loads_by_itself_while_others_are_answered(tmp_path: Path) -> None:
    answers, until = 0, time.monotonic() + START
    with Server(tmp_path, EMBEDDER="auto") as server, httpx2.Client(base_url=f"http://127.0.0.1:{server.port}") as http:
        while LOADED not in server.log and time.monotonic() < until:
            assert http.get("/healthz", timeout=START).status_code == 200
            answers += 1
        assert LOADED in server.log
    assert answers >= ENOUGH


def test_a_command_that_needs_none_loads_none(tmp_path: Path) -> None:
    done = run_to_end(tmp_path, "token", "--user", "ann", environ={"EMBEDDER": "auto", "LOG_LEVEL": "INFO"})
    assert done.returncode == 0
    assert LOADED not in done.stdout + done.stderr


def test_a_child_of_an_editor_recalls_by_meaning(tmp_path: Path) -> None:
    with over_stdio(tmp_path, EMBEDDER="auto") as client:
        client.add("代码里的缩进统一用四个空格")
        client.add("我不吃香菜")
        client.add("Her daughter is in second grade")
        for query, expected in (("indentation style", "缩进"), ("cilantro", "香菜"), ("孩子多大了", "daughter")):
            best = client.search(query)[0]
            assert expected in best["memory"]
            assert best["score"] > 0.5


def test_in_the_cloud_a_search_is_one_row_and_no_request(tmp_path: Path, tablestore: Emulator, llm: FakeOpenAI) -> None:
    """EMBEDDER=local with a key and an instance: the LLM extracts, and recall needs the endpoint no more."""
    cloud = {**tablestore_environ(tablestore), **llm.environ(), "TABLESTORE_TABLE_NAME": f"t{uuid.uuid4().hex[:8]}"}
    cloud["SSE_RELAY"] = "off"  # which looks for messages of other instances meanwhile
    with Server(tmp_path, EMBEDDER="local", **cloud) as server, over_sse(server.url("cline", "ann")) as client:
        assert "recalled by meaning, in 16 languages, on this machine" in server.log
        assert "nothing leaves it" not in server.log
        assert client.add("我喜欢吃辣的东西，现在住在上海")["results"]
        client.search("where is home?")
        llm.forget()
        before = tablestore.calls()
        best = client.search("Which city do they live in?")[0]
        assert "上海" in best["memory"]
        assert best["score"] > 0.5
        after = tablestore.calls()
        assert {api: n - before.get(api, 0) for api, n in after.items() if n != before.get(api, 0)} == {"GetRow": 1}
        assert llm.count("embeddings") == llm.count("chat") == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"EMBEDDER": "local", "TABLESTORE_VECTOR_DIMENSION": "1536"}, "512 numbers"),
        ({"EMBEDDER": "endpoint"}, "EMBEDDER=endpoint"),
        ({"EMBEDDER": "yes"}, "EMBEDDER cannot be used"),
    ],
)
def test_a_server_that_cannot_have_its_embedder_does_not_start(
    tmp_path: Path, given: dict[str, str], said: str
) -> None:
    done = run_to_end(tmp_path, "--transport=sse", environ=given)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert said in line


def test_what_was_told_by_words_is_found_by_meaning_later(tmp_path: Path) -> None:
    """A version without the local embedder before, or EMBEDDER=none: over the same files."""
    for embedder, scored in (("none", False), ("auto", True)):
        with Server(tmp_path, EMBEDDER=embedder) as server, over_sse(server.url("cline", "ann")) as client:
            client.add(f"Lives in Berlin, said with {embedder}")
            if scored:
                wait_until(lambda log=server: LOADED in log.log, START)  # type: ignore[misc]
            hits = client.search("Berlin")
            assert all("score" in hit for hit in hits) == scored
            assert all("score" not in hit for hit in hits) != scored
            assert sorted(h["memory"] for h in hits) == sorted(client.texts())
