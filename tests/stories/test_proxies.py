"""Proxies and certificates, which HTTP libraries find in the environment: a proxy such as Clash works, one that is
written wrongly is named at the start, and who calls nobody is not bothered."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.clients import over_stdio
from support.fake_openai import FakeOpenAI
from support.processes import run_to_end
from support.socks import SocksProxy
from tablestore_openmemory_mcp.proxy_variables import mistakes

PORT = 8081  # of an address that leads nowhere but through the proxy
NAME = "llm.test"
SAID = "I live in Shanghai."
LLM = {"OPENAI_API_KEY": "sk-fake", "OPENAI_BASE_URL": f"http://{NAME}:{PORT}/v1"}


def port_of(llm: FakeOpenAI) -> int:
    port = urlsplit(llm.base_url).port
    assert port
    return port


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTP_PROXY"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_an_add_goes_through_a_socks_proxy(tmp_path: Path, variable: str, scheme: str) -> None:
    with FakeOpenAI() as llm, SocksProxy({NAME: port_of(llm)}) as proxy:
        surroundings = {variable: f"{scheme}://127.0.0.1:{proxy.port}"}
        with over_stdio(tmp_path, **LLM, **surroundings) as client:
            assert client.add(SAID)["results"][0]["event"] == "ADD"
            assert client.search("Shanghai")
        assert set(proxy.asked) == {(NAME, PORT)}


def test_a_socks_proxy_may_ask_for_a_password(tmp_path: Path) -> None:
    with FakeOpenAI() as llm, SocksProxy({NAME: port_of(llm)}, user=("me", "top-secret")) as proxy:
        with over_stdio(tmp_path, **LLM, ALL_PROXY=f"socks5://me:top-secret@127.0.0.1:{proxy.port}") as client:
            assert client.add(SAID)["results"][0]["event"] == "ADD"
        printed = (tmp_path / "stdio.log").read_text()
        assert '"ALL_PROXY": "<your ALL_PROXY>"' in printed
        assert "top-secret" not in printed


@pytest.mark.parametrize("covering", ["127.0.0.1", "localhost,127.0.0.1", "*", "[fe80::1]:5,127.0.0.1"])
def test_no_proxy_is_honoured(tmp_path: Path, covering: str) -> None:
    with FakeOpenAI() as llm, SocksProxy({}) as proxy:
        surroundings = {"ALL_PROXY": f"socks5://127.0.0.1:{proxy.port}", "NO_PROXY": covering}
        with over_stdio(tmp_path, **llm.environ(), **surroundings) as client:
            assert client.add(SAID)["results"][0]["event"] == "ADD"
        assert proxy.asked == []


WRONG = {
    "a scheme nobody speaks": ({"ALL_PROXY": "socks4://secret@127.0.0.1:1"}, ["ALL_PROXY"]),
    "a desktop's socks": ({"all_proxy": "socks://127.0.0.1:1/"}, ["all_proxy"]),
    "no host": ({"HTTPS_PROXY": "http://"}, ["HTTPS_PROXY"]),
    "a port that is none": ({"HTTP_PROXY": "http://me:secret@127.0.0.1:http"}, ["HTTP_PROXY"]),
    "a line end": ({"HTTPS_PROXY": "http://127.0.0.1:1\n"}, ["HTTPS_PROXY"]),
    "no such file": ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, ["SSL_CERT_FILE=/nowhere/ca.pem"]),
    "no such folder": ({"SSL_CERT_DIR": "/nowhere"}, ["SSL_CERT_DIR=/nowhere"]),
    "no such bundle": ({"REQUESTS_CA_BUNDLE": "/nowhere/ca.pem"}, ["REQUESTS_CA_BUNDLE"]),
    "no place for keys": ({"SSLKEYLOGFILE": "/nowhere/keys.log"}, ["SSLKEYLOGFILE"]),
    "no certificate": ({"SSL_CERT_FILE": __file__}, ["SSL_CERT_FILE"]),
    "three": (
        {"ALL_PROXY": "ftp://x", "SSL_CERT_FILE": "/nowhere", "SSLKEYLOGFILE": "/nowhere/keys"},
        ["ALL_PROXY", "SSL_CERT_FILE", "SSLKEYLOGFILE"],
    ),
}


@pytest.mark.parametrize(("surroundings", "named"), WRONG.values(), ids=WRONG)
def test_what_no_client_can_be_made_with_is_said_at_the_start(
    tmp_path: Path, surroundings: dict[str, str], named: list[str]
) -> None:
    ended = run_to_end(tmp_path, environ=LLM | surroundings)
    lines = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert [name for name, said in zip(named, lines, strict=True) if name not in said] == []
    assert "secret" not in ended.stderr
    assert "OPENAI_BASE_URL" not in ended.stderr
    both = run_to_end(tmp_path, environ=LLM | surroundings | {"SERVER_PORT": "x"})
    assert len(both.stderr.splitlines()) == len(named) + 1


def test_who_calls_nobody_is_not_bothered(tmp_path: Path) -> None:
    surroundings = {"ALL_PROXY": "socks4://x", "SSL_CERT_FILE": "/nowhere", "SSL_CERT_DIR": "/nowhere"}
    with over_stdio(tmp_path, **surroundings) as client:
        assert client.add(SAID)["results"]


def test_a_key_log_that_cannot_be_written_is_in_everybodys_way(tmp_path: Path) -> None:
    ended = run_to_end(tmp_path, environ={"SSLKEYLOGFILE": "/nowhere/keys.log"})
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert "SSLKEYLOGFILE=/nowhere/keys.log" in ended.stderr


def test_what_exists_is_fine(tmp_path: Path) -> None:
    trusted = Path(ssl.get_default_verify_paths().cafile or httpx2.__file__)
    if trusted.suffix != ".py":
        assert mistakes({"SSL_CERT_FILE": str(trusted), "REQUESTS_CA_BUNDLE": str(trusted)}) == []
    assert mistakes({"SSL_CERT_DIR": f"/nowhere:{tmp_path}", "REQUESTS_CA_BUNDLE": str(tmp_path)}) == []
    assert mistakes({"SSLKEYLOGFILE": str(tmp_path / "keys.log")}) == []


PARTS = st.tuples(
    st.sampled_from(["", "http://", "https://", "socks5://", "socks5h://", "socks://", "ftp://", "HTTP://", "//"]),
    st.sampled_from(["", "me@", "me:secret@", "a b@", "@"]),
    st.sampled_from(["127.0.0.1", "localhost", "[::1]", "proxy.example.com", "", "[::1", "a b", "代理"]),
    st.sampled_from(["", ":1", ":65535", ":65536", ":x", ":-1", ":", ":0"]),
    st.sampled_from(["", "/", "/path", "?a=b", "\n", " "]),
)


@given(PARTS)
@settings(deadline=None, max_examples=400)
def test_with_whatever_passes_a_client_can_be_made(parts: tuple[str, ...]) -> None:
    value = "".join(parts)
    if not mistakes({"HTTPS_PROXY": value}):
        httpx2.Client(proxy=value if "://" in value else f"http://{value}", verify=False).close()
