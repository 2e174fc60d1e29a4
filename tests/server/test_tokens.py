"""Tokens at the door: whose memory they open, for how long, and how they are taken back."""

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from support.clients import over_sse
from support.emulator import Emulator
from support.inprocess import PlainBackend, PlainMemory, PlainRows, serving, settings
from support.processes import Server, run_to_end
from support.store import environ
from support.wire import ACCEPT, RawSse, call, text_of
from tablestore_openmemory_mcp.composition import Composition
from tablestore_openmemory_mcp.errors import StoreError, StoreUnavailable
from tablestore_openmemory_mcp.server.app import App
from tablestore_openmemory_mcp.server.auth.tokens import BadToken, Tokens
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.session_rows import SessionRow

pytestmark = pytest.mark.anyio

OLD, NEW = "an old signing secret that is long enough", "a new signing secret that is long enough"
STRANGER = {"X-Forwarded-For": "1.2.3.4"}
LIST = call(1, "list_memories")


def bearer(token: str) -> dict[str, str]:
    return ACCEPT | STRANGER | {"Authorization": f"Bearer {token}"}


@contextmanager
def guarded(**environ: str) -> Iterator[tuple[str, Tokens]]:
    """A server that takes tokens: its URL, and what mints them."""
    given = settings({"MCP_AUTH_SECRET": NEW, **environ})
    backend = PlainBackend(PlainMemory(), given)
    with serving(App(given, backend)) as base:
        yield base, backend.tokens()


@pytest.fixture
def door() -> Iterator[tuple[str, Tokens]]:
    with guarded() as both:
        yield both


async def status(base: str, path: str, token: str) -> int:
    async with httpx.AsyncClient(base_url=base) as http:
        return (await http.post(path, json=LIST, headers=bearer(token))).status_code


async def test_a_token_opens_its_users_and_clients_only(door: tuple[str, Tokens]) -> None:
    base, tokens = door
    token = tokens.mint(["alice", "team-*"], ["cline"], 60).token
    for path, expected in {
        "/mcp/cline/http/alice": 200,
        "/mcp/cline/http/team-7": 200,
        "/mcp/cline/http/bob": 403,
        "/mcp/cline/http/alice2": 403,
        "/mcp/cline/http/a%6Cice": 200,  # the same name
        "/mcp/other/http/alice": 403,
        "/mcp/cline/http/ALICE": 403,
    }.items():
        assert await status(base, path, token) == expected, path


@pytest.mark.parametrize("name", ["a.c", "[ab]", "a?c", "(x|y)", "a\\"])
async def test_only_the_star_is_a_pattern(door: tuple[str, Tokens], name: str) -> None:
    base, tokens = door
    assert await status(base, "/mcp/c/http/abc", tokens.mint([name], ["*"], 60).token) == 403


async def test_what_is_no_good_token_gets_401_and_a_reason(door: tuple[str, Tokens]) -> None:
    base, tokens = door
    good = tokens.mint(["alice"], ["*"], 60).token
    claims = jwt.decode(good, options={"verify_signature": False})
    kid = jwt.get_unverified_header(good)["kid"]
    bad = {
        "another secret": jwt.encode(claims, "x" * 32, "HS256", headers={"kid": kid}),
        "another key id": jwt.encode(claims, NEW, "HS256", headers={"kid": "other"}),
        "no key id": jwt.encode(claims, NEW, "HS256"),
        "no signature": jwt.encode(claims, "", "none", headers={"kid": kid}),
        "another issuer": jwt.encode(claims | {"iss": "x"}, NEW, "HS256", headers={"kid": kid}),
        "expired": jwt.encode(claims | {"exp": int(time.time()) - 60}, NEW, "HS256", headers={"kid": kid}),
        "no users": jwt.encode(claims | {"users": "alice"}, NEW, "HS256", headers={"kid": kid}),
        "no id": jwt.encode({k: v for k, v in claims.items() if k != "jti"}, NEW, "HS256", headers={"kid": kid}),
        "cut": good[:-2],
        "nonsense": "abc",
        "long": "a" * 20_000,
    }
    async with httpx.AsyncClient(base_url=base) as http:
        for what, token in bad.items():
            response = await http.post("/mcp/cline/http/alice", json=LIST, headers=bearer(token))
            assert response.status_code == 401, what
            assert 'error="invalid_token"' in response.headers["www-authenticate"]
            assert response.text.startswith("This token is not accepted: ")
            assert token not in response.text
        for header in ("Basic abc", "Bearer", "Bearer a b", good):
            response = await http.post("/mcp/cline/http/alice", json=LIST, headers={**ACCEPT, "Authorization": header})
            assert response.status_code == 401
        without = await http.post("/mcp/cline/http/alice", json=LIST, headers=ACCEPT | STRANGER)
        assert without.status_code == 401
        assert "error=" not in without.headers["www-authenticate"]
        in_url = await http.post(f"/mcp/cline/http/alice?token={good}", json=LIST, headers=ACCEPT | STRANGER)
        assert in_url.status_code == 401


async def test_a_bad_token_is_no_better_for_being_local(door: tuple[str, Tokens]) -> None:
    async with httpx.AsyncClient(base_url=door[0]) as http:
        assert (await http.post("/mcp/c/http/u", json=LIST, headers=ACCEPT)).status_code == 200
        headers = ACCEPT | {"Authorization": "Bearer x"}
        assert (await http.post("/mcp/c/http/u", json=LIST, headers=headers)).status_code == 401


@pytest.mark.parametrize(
    "environ",
    [{"MCP_AUTH": "token"}, {"MCP_PUBLIC_URL": "https://memory.example"}, {"FC_FUNCTION_NAME": "memory"}],
    ids=["token", "proxy", "function"],
)
async def test_where_nobody_is_local(environ: dict[str, str]) -> None:
    with guarded(**environ) as (base, tokens):
        async with httpx.AsyncClient(base_url=base) as http:
            assert (await http.post("/mcp/c/http/u", json=LIST, headers=ACCEPT)).status_code == 401
        assert await status(base, "/mcp/c/http/u", tokens.mint(["u"], ["c"], 60).token) == 200


async def test_a_session_id_is_no_credential(door: tuple[str, Tokens]) -> None:
    base, tokens = door
    mine, also_mine = (tokens.mint(["alice"], ["*"], 60).token for _ in range(2))
    theirs = tokens.mint(["*"], ["*"], 60).token
    async with (
        httpx.AsyncClient(base_url=base) as http,
        RawSse.open(http, "/mcp/cline/sse/alice", bearer(mine)) as stream,
    ):
        for other in (theirs, also_mine):
            assert (await stream.post(LIST, bearer(other))).status_code == 404
        assert (await stream.post(LIST, STRANGER)).status_code == 401
        assert (await stream.post(LIST)).status_code == 404  # local, without a token
        assert (await stream.post(LIST, bearer(mine))).status_code == 202
        assert text_of(await stream.message()) == "[]"


async def test_identity_from_headers_on_fixed_paths(door: tuple[str, Tokens]) -> None:
    base, tokens = door
    one = tokens.mint(["张三"], ["cline"], 60).token
    any_client = tokens.mint(["alice"], ["*"], 60).token
    async with httpx.AsyncClient(base_url=base) as http:
        response = await http.post("/mcp", json=call(1, "add_memories", text="x"), headers=bearer(one))
        assert response.status_code == 200
        listed = await http.post("/mcp/cline/http/张三", json=LIST, headers=bearer(one))
        assert '"user_id\\":\\"张三' in listed.text
        missing = await http.post("/mcp", json=LIST, headers=bearer(any_client))
        assert missing.status_code == 400
        assert "X-Client-Name" in missing.text
        named = bearer(any_client) | {"X-Client-Name": "%E5%AE%A2"}
        assert (await http.post("/mcp/", json=LIST, headers=named)).status_code == 200
        other = named | {"X-User-Id": "bob"}
        assert (await http.post("/mcp", json=LIST, headers=other)).status_code == 403
        async with RawSse.open(http, "/sse", bearer(one)) as stream:
            await stream.post(LIST, bearer(one))
            assert "张三" in text_of(await stream.message())


def test_rotation_and_expiry() -> None:
    def tokens(*secrets: str) -> Tokens:
        return PlainBackend(PlainMemory(), settings({"MCP_AUTH_SECRET": ",".join(secrets)})).tokens()

    old = tokens(OLD).mint(["a"], ["*"], None).token
    both = tokens(NEW, OLD)
    new = both.mint(["a"], ["*"], None).token
    assert both.check(old).users == both.check(new).users == ("a",)
    assert tokens(NEW).check(new)
    with pytest.raises(BadToken, match="not signed by this server"):
        tokens(NEW).check(old)
    with pytest.raises(BadToken, match="expired"):
        both.check(both.mint(["a"], ["*"], -60).token)


@pytest.mark.parametrize("damaged", ["", "short", "x" * 31])
def test_a_damaged_secret_in_the_store_signs_and_checks_nothing(damaged: str) -> None:
    class Damaged(PlainRows):
        def secret(self, name: str, *, deadline: float) -> str:
            return damaged

    tokens = Tokens((), Damaged)
    forged = jwt.encode({"users": ["*"], "clients": ["*"], "jti": "x"}, damaged or "x", "HS256", {"kid": "x"})
    for attempt in (lambda: tokens.mint(["a"], ["*"], 60), lambda: tokens.check(forged)):
        with pytest.raises(StoreError, match="MCP_AUTH_SECRET"):
            attempt()


def test_the_store_may_be_away_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator() as emulator:
        composition = Composition(
            Settings.load(
                {
                    "TABLESTORE_ENDPOINT": emulator.endpoint,
                    "TABLESTORE_INSTANCE_NAME": emulator.instance,
                    "TABLESTORE_ACCESS_KEY_ID": emulator.key_id,
                    "TABLESTORE_ACCESS_KEY_SECRET": emulator.secret,
                    "MEMORY_PIPELINE": "verbatim",
                }
            )
        )
        tokens = composition.tokens()
        good, other = (tokens.mint([user], ["*"], 600) for user in ("alice", "bob"))
        tokens.revoke(other.id)
        assert tokens.check(good.token).users == ("alice",)
        with pytest.raises(BadToken, match="revoked"):
            tokens.check(other.token)
    monkeypatch.setattr("tablestore_openmemory_mcp.server.auth.tokens.REVOKED_FRESH", -1.0)
    monkeypatch.setattr("tablestore_openmemory_mcp.server.auth.tokens.REVOKED_SECONDS", 0.5)
    for _ in range(3):  # the store is asked once; the others do not wait for it
        assert tokens.check(good.token).users == ("alice",)
        with pytest.raises(BadToken, match="revoked"):
            tokens.check(other.token)
    monkeypatch.setattr("tablestore_openmemory_mcp.server.auth.tokens.REVOKED_STALE", -1.0)
    with pytest.raises(StoreUnavailable):
        tokens.check(good.token)
    composition.close()


def test_a_store_that_does_not_answer_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six first calls do not queue up, neither for the secret nor for the list; the next ones are told at once."""
    monkeypatch.setattr("tablestore_openmemory_mcp.server.auth.tokens.FIRST_SECONDS", 1.0)
    with Emulator() as emulator:
        composition = Composition(Settings.load(environ(emulator)))
        for tokens in (composition.tokens(), Tokens([NEW], composition.rows)):
            token = Tokens([NEW], PlainRows).mint(["alice"], ["*"], 60).token
            composition.ping()
            emulator.fault(error="OTSServerBusy")
            before = sum(emulator.calls().values())
            began = time.monotonic()
            with ThreadPoolExecutor(6) as pool:
                raised = [f.exception() for f in [pool.submit(tokens.check, token) for _ in range(6)]]
            assert time.monotonic() - began < 3  # one after another: 6
            with pytest.raises(StoreUnavailable):
                tokens.check(token)
            assert time.monotonic() - began < 3
            assert [type(e) for e in raised] == [StoreUnavailable] * 6
            assert sum(emulator.calls().values()) - before < 12  # one caller's, with its growing pauses
            emulator.clear_faults()
        composition.close()


def test_a_revocation_is_never_answered_by_a_reading_that_began_before() -> None:
    started, go = threading.Event(), threading.Event()
    revoked: list[str] = []

    class Slow(PlainRows):
        def list(self, kind: str, *, deadline: float) -> list[SessionRow]:  # type: ignore[override]
            found = [SessionRow("revoked", id_, 0, {}) for id_ in revoked]
            if not started.is_set():
                started.set()
                go.wait(20)
            return found

        def put(self, kind: str, id_: str, n: int, columns: Mapping[str, Any]) -> None:
            revoked.append(id_)

    tokens = Tokens([NEW], Slow)
    minted = tokens.mint(["alice"], ["*"], 60)
    with ThreadPoolExecutor(2) as pool:
        before = pool.submit(tokens.check, minted.token)
        started.wait(20)
        tokens.revoke(minted.id)
        after = pool.submit(tokens.check, minted.token)
        time.sleep(0.1)
        go.set()
        assert before.exception(20) is None
        assert isinstance(after.exception(20), BadToken)


MODULE = "tablestore_openmemory_mcp.server.auth.tokens"


def test_a_token_is_known_only_while_a_check_would_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    revoked: list[str] = []

    class Listed(PlainRows):
        def list(self, kind: str, *, deadline: float) -> list[SessionRow]:  # type: ignore[override]
            return [SessionRow("revoked", id_, 0, {}) for id_ in revoked]

        def put(self, kind: str, id_: str, n: int, columns: Mapping[str, Any]) -> None:
            revoked.append(id_)

    tokens = Tokens([NEW], Listed)
    minted, other = (tokens.mint(["alice"], ["*"], 60) for _ in range(2))
    assert tokens.known(minted.token) is None  # nobody has checked it
    assert tokens.known(minted.token) is None
    principal = tokens.check(minted.token)
    assert tokens.known(minted.token) == principal
    header, claims, signature = minted.token.split(".")
    _, others, _ = other.token.split(".")
    for forged in (f"{header}.{others}.{signature}", f"{header}.{claims}.", minted.token[:-1], minted.token + "\ud800"):
        assert tokens.known(forged) is None
    for limit, passed in (("LEEWAY", -61), ("REVOKED_FRESH", -1.0)):
        with monkeypatch.context() as patch:
            patch.setattr(f"{MODULE}.{limit}", passed)
            assert tokens.known(minted.token) is None
    assert tokens.known(minted.token) == principal
    tokens.revoke(minted.id)
    assert tokens.known(minted.token) is None
    assert tokens.check(other.token)  # which reads the list again
    assert tokens.known(other.token)
    assert tokens.known(minted.token) is None
    with pytest.raises(BadToken, match="revoked"):
        tokens.check(minted.token)


def test_so_many_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULE}.REMEMBERED", 3)
    tokens = Tokens([NEW], PlainRows)
    minted = [tokens.mint([f"user{n}"], ["*"], None).token for n in range(7)]
    for token in minted:
        tokens.check(token)
    assert [tokens.known(token) is not None for token in minted] == [False] * 4 + [True] * 3


def test_minted_by_the_command_used_and_revoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the real store: the secret lives there, so the command and the server know the same one."""
    monkeypatch.setattr("tablestore_openmemory_mcp.server.auth.tokens.REVOKED_FRESH", 0.0)
    with Server(tmp_path, MCP_AUTH="token") as server:
        server.port  # noqa: B018 - waits for it
        made = run_to_end(tmp_path, "token", "--user", "alice", "--client", "cline", "--expires", "1h", environ={})
        assert made.returncode == 0, made.stderr
        lines = dict(line.split(maxsplit=1) for line in made.stdout.splitlines()[:5])
        token, ident = lines["token"], lines["id"].split()[0]
        assert f'"Authorization": "Bearer {token}"' in made.stdout
        assert "/mcp/cline/sse/alice" in made.stdout
        with over_sse(server.url("cline", "alice"), headers={"Authorization": f"Bearer {token}"}) as client:
            client.add("locked")
            assert client.texts() == ["locked"]
        revoked = run_to_end(tmp_path, "token", "--revoke", ident, environ={})
        assert revoked.returncode == 0, revoked.stderr
        assert token not in server.log
    with Server(tmp_path, MCP_AUTH="token") as again:  # a new process reads the list at once
        response = httpx.post(f"http://127.0.0.1:{again.port}/mcp/cline/http/alice", json=LIST, headers=bearer(token))
        assert response.status_code == 401
        assert "revoked" in response.text


@pytest.mark.parametrize("arguments", [[], ["--user", "a/b"], ["--user", "a", "--expires", "soon"]])
def test_the_command_says_what_it_needs(tmp_path: Path, arguments: list[str]) -> None:
    ended = run_to_end(tmp_path, "token", *arguments, environ={"MCP_AUTH_SECRET": NEW})
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
