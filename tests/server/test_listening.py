"""Where the server listens: on both families, whatever a client takes `localhost` for."""

import errno
import socket
from pathlib import Path

import httpx
import pytest

from support.processes import Server, run_to_end
from support.wire import ACCEPT, call
from tablestore_openmemory_mcp.server.listening import sockets as listening
from tablestore_openmemory_mcp.server.listening.sockets import EVERYWHERE, listen

HTTP = "/mcp/cline/http/alice"


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def on_ipv6(port: int) -> bool:
    """Whether somebody listens on ::1."""
    try:
        socket.create_connection(("::1", port), timeout=10).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("set_to", ["", "::"], ids=["unset", "::"])
def test_by_default_all_names_of_this_machine_lead_here(tmp_path: Path, set_to: str) -> None:
    with Server(tmp_path, SERVER_HOST=set_to) as server:  # an empty variable is one that is not set
        for host in ("127.0.0.1", "localhost", *(["[::1]"] if has_ipv6() else [])):
            url = f"http://{host}:{server.port}"
            answer = httpx.post(url + HTTP, json=call(1, "list_memories"), headers=ACCEPT, timeout=60)
            assert answer.status_code == 200, (host, answer.text)
    assert server.process.returncode == 0


def test_an_address_is_meant_as_it_is_written() -> None:
    for host in ("0.0.0.0", "127.0.0.1"):
        (sock,) = listen(host, 0)
        with sock:
            assert sock.family == socket.AF_INET
            assert not on_ipv6(sock.getsockname()[1])


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
@pytest.mark.parametrize("host", [EVERYWHERE, "localhost"])
def test_both_families_have_one_port(host: str) -> None:
    sockets = listen(host, 0)
    try:
        ports = {sock.getsockname()[1] for sock in sockets}
        assert len(ports) == 1
        if host == EVERYWHERE:
            assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_INET6]
            assert on_ipv6(ports.pop())
    finally:
        for sock in sockets:
            sock.close()


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6_is_no_reason_to_complain(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: int
) -> None:
    original = listening._listening

    def old_machine(family: int, address: tuple[str, *tuple[int, ...]], port: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, "not here")
        return original(family, address, port)

    monkeypatch.setattr(listening, "_listening", old_machine)
    (sock,) = listen(EVERYWHERE, 0)
    with sock:
        assert sock.family == socket.AF_INET
    assert capfd.readouterr().err == ""
    with pytest.raises(OSError, match="not here"):
        listen("::1", 0)


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
def test_a_port_that_another_program_has_in_one_family_is_taken(tmp_path: Path) -> None:
    """Else that program would get the clients of `localhost`."""
    with socket.create_server(("::", 0), family=socket.AF_INET6) as other:  # of IPv6 alone
        port = other.getsockname()[1]
        ended = run_to_end(tmp_path, "--transport=sse", environ={"SERVER_PORT": str(port)})
        assert ended.returncode == 2
        assert f"SERVER_PORT={port} cannot be used" in ended.stderr
        for sock in listen("0.0.0.0", port):
            sock.close()


def test_a_name_that_nobody_knows_is_said(tmp_path: Path) -> None:
    ended = run_to_end(tmp_path, "--transport=sse", environ={"SERVER_HOST": "no.such.name.invalid"})
    assert ended.returncode == 2
    assert "SERVER_HOST=no.such.name.invalid" in ended.stderr
    assert "Traceback" not in ended.stderr
