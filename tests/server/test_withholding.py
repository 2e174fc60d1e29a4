"""Where the server keeps things, and at whose account, is for whoever runs it: others are told that it failed."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.inprocess import PlainMemory, plain_app, serving
from support.processes import Server
from support.wire import ACCEPT, call, text_of
from tablestore_openmemory_mcp.errors import (
    InvalidInput,
    ModelDenied,
    ModelError,
    ServiceError,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.server.auth.tokens import Tokens
from tablestore_openmemory_mcp.server.caller import Principal
from tablestore_openmemory_mcp.server.tools.error_redaction import names_a_place, said_to

SECRET = "withholding" * 4
STRANGERS = [
    Principal("anonymous"),
    Principal("token", "1", ("alice",), ("*",)),
    Principal("token", "2"),
    Principal("issuer", "i s", ("alice",), ("*",)),
]
OPERATORS = [Principal("local"), Principal("stdio")]


@pytest.mark.parametrize("access", ["auto", "anonymous"])
def test_a_store_that_does_not_start(tmp_path: Path, access: str) -> None:
    """In a folder with a space, as on every Mac; `tablestore` in it is a file, so nothing can be kept there."""
    folder = tmp_path / "Application Support" / "记忆"
    folder.mkdir(parents=True)
    (folder / "tablestore").write_text("not a folder")
    with Server(tmp_path, DATA_DIR=str(folder), MCP_AUTH=access) as server:
        url = f"http://127.0.0.1:{server.port}/mcp/cline/http/alice"
        answers = [
            text_of(httpx.post(url, json=call(1, tool, **arguments), headers=ACCEPT, timeout=90).json())
            for tool, arguments in (("list_memories", {}), ("add_memories", {"text": "x"}))
        ]
        for answer in answers:
            assert "DATA_DIR" in answer
            assert (str(tmp_path) in answer) == (access == "auto"), answer
            assert ("记忆" in answer) == (access == "auto"), answer
        assert "记忆" in server.log.split("listening", 1)[1]


class Failing(PlainMemory):
    def list(self, scope: Scope, **_: object) -> object:  # type: ignore[override]
        raise StoreError("Another process holds /home/ann/memories, but serves nothing", setting="DATA_DIR")


def test_a_token_does_not_make_an_operator() -> None:
    with serving(plain_app(Failing(), MCP_AUTH_SECRET=SECRET)) as base:
        token = Tokens([SECRET], lambda: pytest.fail("no row is needed")).mint(["*"], ["*"], 60).token
        heads = {"local": ACCEPT, "token": ACCEPT | {"authorization": f"Bearer {token}"}}
        said = {
            who: text_of(httpx.post(f"{base}/mcp/a/http/b", json=call(1, "list_memories"), headers=head).json())
            for who, head in heads.items()
        }
    assert "/home/ann/memories" in said["local"]
    assert said["token"] == (
        "The memory store failed; whoever runs this server finds more in its log (see DATA_DIR). The same call will "
        "fail again until that is set right."
    )


WORDS = st.sampled_from(["ann", "Application Support", "记忆", "data", ".config", "a b", "x-1", "store.json"])
DEEP = st.lists(WORDS, min_size=1, max_size=5)
HOSTS = st.from_regex(r"\A[a-z]{1,8}(-[a-z]{1,8})?\.cn-[a-z]{4,8}\.(ots|fc)\.aliyuncs\.com\Z")
PLACES = st.one_of(
    DEEP.map(lambda parts: "/" + "/".join(parts)),
    DEEP.map(lambda parts: "~/" + "/".join(parts)),
    DEEP.map(lambda parts: "C:\\" + "\\".join(parts)),
    DEEP.map(lambda parts: r"\\host" + "\\" + "\\".join(parts)),
    HOSTS,
    HOSTS.map(lambda host: f"https://{host}/x"),
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]:80"),
    st.integers(10**15, 10**16 - 1).map(lambda account: f"acs:ots:cn-hangzhou:{account}:instance/mine"),
    st.integers(10**15, 10**16 - 1).map(str),
    st.sampled_from(["localhost:8765", "redis.internal", "org-a1B2c3D4e5F6", "req_0123456789ab", "llm.example.com"]),
)
AROUND = st.sampled_from(
    [
        "{} cannot be used",
        "Another process holds {}, but serves nothing",
        "It answered OTSNoPermission: no ({})",
        '"{}"',
    ]
)
KINDS: list[Callable[[str], ServiceError]] = [StoreError, StoreDenied, StoreUnavailable, ModelError, ModelDenied]


@given(PLACES, AROUND, st.sampled_from(KINDS))
@settings(deadline=None, max_examples=500)
def test_a_place_is_told_to_the_operator_alone(place: str, around: str, kind: Callable[[str], ServiceError]) -> None:
    error = kind(around.format(place))
    for stranger in STRANGERS:
        told = said_to(stranger, error)
        assert place not in told
        assert not names_a_place(told)
    for operator in OPERATORS:
        assert said_to(operator, error) == str(error)


@pytest.mark.parametrize(
    "sentence",
    [
        "Tablestore is busy or throttling. Tablestore answered OTSServerBusy: Server is busy",
        "Tablestore refused the access key. Tablestore answered OTSAuthFailed: Signature mismatch",
        "text-embedding-v4 gives vectors of 1024, 2048 numbers, but 1536 are configured: set "
        "TABLESTORE_VECTOR_DIMENSION=1024, or another EMBEDDER_MODEL. Nothing was stored",
        "The LLM was not found at this address (404): the model's name or the URL is wrong",
        "The LLM refused the request (400): Qwen/Qwen2.5-7B-Instruct and gpt-4.1-mini are not served, e.g. @cf/meta/x",
        "The LLM did not answer in time; nothing was stored (see ADD_TIMEOUT)",
        "The clock of this machine and Tablestore's differ by more than 15 minutes.",
        "The LLM cannot be reached: Connection refused (see OPENAI_BASE_URL)",
    ],
)
def test_what_names_no_place_is_told_to_everyone(sentence: str) -> None:
    for anyone in STRANGERS + OPERATORS:
        assert said_to(anyone, ModelError(sentence)) == sentence


def test_what_the_caller_wrote_is_no_secret() -> None:
    error = InvalidInput("There is no memory with the id '/home/ann'")
    assert all(said_to(anyone, error) == str(error) for anyone in STRANGERS + OPERATORS)


def test_a_withheld_text_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    said_to(STRANGERS[0], StoreError("/home/ann/memories cannot be used"))
    assert caplog.messages == ["not told to the caller: /home/ann/memories cannot be used"]
