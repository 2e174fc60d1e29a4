"""Whose program is at the other end: the system's answer for real sockets of real users, by every way to ask it."""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.other_users import CLONE_NEWNS, NOBODY, RESET, SOMEBODY, connected, listening
from tablestore_openmemory_mcp.server.auth.peers import linux as peers_linux
from tablestore_openmemory_mcp.server.auth.peers.linux import LinuxPeers
from tablestore_openmemory_mcp.server.auth.peers.owner import End, Peers, end
from tablestore_openmemory_mcp.server.auth.peers.portable import PsutilPeers

if sys.platform != "linux":
    pytest.skip("the kernel's own ways; psutil's are tested here as Linux has them", allow_module_level=True)


def by_netlink() -> Peers:
    assert peers_linux._netlink_works()
    return LinuxPeers()


def by_table() -> Peers:
    peers = LinuxPeers()
    peers._find, peers._tried = peers_linux.by_table, True
    return peers


WAYS: dict[str, Callable[[], Peers]] = {
    "netlink": by_netlink,
    "table": by_table,
    "own processes": lambda: PsutilPeers(table=False),
    "table of all": lambda: PsutilPeers(table=True),
}
HOSTS = [  # where the server listens, where the client connects
    ("127.0.0.1", "127.0.0.1"),
    ("0.0.0.0", "127.0.0.2"),
    ("::1", "::1"),
    ("::", "127.0.0.1"),
    ("::", "::ffff:127.0.0.1"),
    ("127.0.0.1", "::ffff:127.0.0.1"),
]


@pytest.fixture(params=WAYS)
def peers(request: pytest.FixtureRequest) -> Peers:
    return WAYS[request.param]()


def client_of(host: str, server: socket.socket) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    client = socket.socket(family, socket.SOCK_STREAM)
    client.connect((host, server.getsockname()[1]))
    return client


def ends_of(accepted: socket.socket) -> tuple[End, End]:
    """The peer's and the server's end, as an ASGI server tells them."""
    return end(*accepted.getpeername()[:2]), end(*accepted.getsockname()[:2])


@pytest.mark.parametrize(("at", "to"), HOSTS)
def test_a_program_of_ours_is_ours(peers: Peers, at: str, to: str) -> None:
    with listening(at) as server, client_of(to, server) as client, server.accept()[0] as accepted:
        peer, here = ends_of(accepted)
        assert peers.own(peer, here)
        assert not peers.own((peer[0], peer[1] % 65_535 + 1), here)
        assert not peers.own(peer, (here[0], here[1] % 65_535 + 1))
        client.shutdown(socket.SHUT_WR)  # a client may close its half and wait for the answer
        assert peers.own(peer, here)


@pytest.mark.parametrize(("at", "to"), HOSTS)
@pytest.mark.parametrize("uid", [NOBODY, SOMEBODY])
def test_a_program_of_another_user_is_not(peers: Peers, at: str, to: str, uid: int) -> None:
    with listening(at) as server, connected(uid, (to, server.getsockname()[1])), server.accept()[0] as accepted:
        assert not peers.own(*ends_of(accepted))


@pytest.mark.parametrize("goodbye", ["close", "reset"])
def test_one_that_is_gone_is_nobody_s(peers: Peers, goodbye: str) -> None:
    """The kernel says user 0 of a socket that no process holds any more: root's, to a server that runs as root."""
    with listening("127.0.0.1") as server:
        client = client_of("127.0.0.1", server)
        with server.accept()[0] as accepted:
            ends = ends_of(accepted)
            if goodbye == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
            assert not peers.own(*ends)


def test_a_listener_of_ours_on_the_peer_s_port_is_no_peer(peers: Peers) -> None:
    """The kernel's look-up falls back to listeners."""
    with listening("127.0.0.1") as server, listening("127.0.0.1") as other:
        assert not peers.own(end(*other.getsockname()), end(*server.getsockname()))


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(["open", "close", "reset", "half", "orphan"]), min_size=1, max_size=12))
def test_whatever_opens_and_closes_only_the_living_are_ours(steps: list[str]) -> None:
    ways = [by_netlink(), by_table()]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(listening("127.0.0.1"))
        living: dict[tuple[End, End], socket.socket] = {}
        seen: set[tuple[End, End]] = set()
        for step in steps:
            if step == "open" or not living:
                client = stack.enter_context(client_of("127.0.0.1", server))
                living[ends_of(stack.enter_context(server.accept()[0]))] = client
                seen |= living.keys()
            elif step == "half":
                with contextlib.suppress(OSError):
                    next(iter(living.values())).shutdown(socket.SHUT_WR)
            else:
                _, client = living.popitem()
                if step == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
            for peers in ways:
                assert {ends for ends in seen if peers.own(*ends)} == living.keys()


def test_who_is_trusted_is_decided_by_the_server_s_user(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        listening("127.0.0.1") as server,
        connected(SOMEBODY, server.getsockname()),
        server.accept()[0] as theirs,
        client_of("127.0.0.1", server),
        server.accept()[0] as ours,
    ):
        assert LinuxPeers(SOMEBODY, one_container=False).own(*ends_of(theirs))
        assert not LinuxPeers(SOMEBODY, one_container=False).own(*ends_of(ours))  # not even root
        assert LinuxPeers(0).own(*ends_of(ours))
        monkeypatch.setattr(peers_linux, "in_wsl", lambda: True)  # where root's relay brings all that Windows sends
        assert not LinuxPeers(0).own(*ends_of(ours))
        assert LinuxPeers(SOMEBODY, one_container=False).own(*ends_of(theirs))


def test_nobody_stands_for_everyone_that_a_user_namespace_cannot_name() -> None:
    with listening("127.0.0.1") as server, connected(NOBODY, server.getsockname()), server.accept()[0] as accepted:
        assert not LinuxPeers(NOBODY, one_container=False).own(*ends_of(accepted))


def test_a_container_beside_ours_is_another_machine() -> None:
    """The same network and the same user id, as sidecars have them, but another mount namespace."""
    with (
        listening("127.0.0.1") as server,
        connected(0, server.getsockname(), namespaces=CLONE_NEWNS),
        server.accept()[0] as accepted,
    ):
        ends = ends_of(accepted)
        assert LinuxPeers(0, one_container=False).own(*ends)
        assert not LinuxPeers(0, one_container=True).own(*ends)
        assert not LinuxPeers().own(*ends)  # root's servers look closer by themselves


def test_a_process_that_cannot_be_seen_is_in_another_container(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        listening("127.0.0.1") as server,
        client_of("127.0.0.1", server),
        server.accept()[0] as accepted,
    ):
        assert LinuxPeers(one_container=True).own(*ends_of(accepted))
        monkeypatch.setattr(peers_linux, "_holds", lambda process, inode: False)  # as in another PID namespace
        assert not LinuxPeers(one_container=True).own(*ends_of(accepted))


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without netlink the table is read; without both there is an error, which the door takes for a no."""
    monkeypatch.setattr(peers_linux, "_SOCK_DIAG", 31)  # a protocol that no kernel has
    assert not peers_linux._netlink_works()
    with listening("127.0.0.1") as server, client_of("127.0.0.1", server), server.accept()[0] as accepted:
        assert LinuxPeers().own(*ends_of(accepted))
        monkeypatch.setattr(peers_linux, "Path", lambda path: tmp_path / path.lstrip("/"))
        with pytest.raises(OSError, match="/proc/net/tcp"):
            list(peers_linux.by_table(*ends_of(accepted)))


def test_psutil_s_failures_are_no(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise psutil.AccessDenied(1)

    with listening("127.0.0.1") as server, client_of("127.0.0.1", server), server.accept()[0] as accepted:
        for table in (True, False):
            peers = PsutilPeers(table=table)
            with monkeypatch.context() as patched:
                patched.setattr(psutil.Process, "uids", denied)
                assert not peers.own(*ends_of(accepted))


@pytest.fixture
def crowd() -> Iterator[socket.socket]:
    """A server with 1,000 other connections."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(listening("127.0.0.1"))
        for _ in range(1_000):
            stack.enter_context(client_of("127.0.0.1", server))
            stack.enter_context(server.accept()[0])
        yield server


def test_a_crowd_costs_the_same_number_of_questions(crowd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    recv = socket.socket.recv

    class Counted(socket.socket):
        def recv(self, size: int, flags: int = 0) -> bytes:
            asked.append(size)
            return recv(self, size, flags)

    with client_of("127.0.0.1", crowd), crowd.accept()[0] as accepted:
        peers = LinuxPeers()
        peers._choose()
        monkeypatch.setattr(socket, "socket", Counted)
        assert peers.own(*ends_of(accepted))
    assert len(asked) == 1


def test_threads_may_ask_at_once() -> None:
    peers, answers = LinuxPeers(), []
    with listening("127.0.0.1") as server, client_of("127.0.0.1", server), server.accept()[0] as accepted:
        ends = ends_of(accepted)
        threads = [threading.Thread(target=lambda: answers.append(peers.own(*ends))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert answers == [True] * 16


def test_descriptors_are_given_back() -> None:
    peers = LinuxPeers()
    with listening("127.0.0.1") as server, client_of("127.0.0.1", server), server.accept()[0] as accepted:
        peers.own(*ends_of(accepted))
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for _ in range(50):
            peers.own(*ends_of(accepted))
        assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208
