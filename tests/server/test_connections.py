"""Which connection goes when there are too many: a model, and random lives of connections."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tablestore_openmemory_mcp.server.listening import connections
from tablestore_openmemory_mcp.server.listening.connections import Connections, Limits, network_of, raised_file_limit

LIMITS = Limits(connections=6, waiting_per_address=3)


class Plain:
    """A connection that is nothing else."""

    def __init__(self, address: str, unsent: int = 0) -> None:
        self.address = address
        self.unsent = unsent
        self.was_cut = False

    def check(self, now: float) -> None:
        pass

    def cut(self) -> None:
        self.was_cut = True


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.connections = Connections(LIMITS)
        self.waiting: list[Plain] = []  # who has waited longest first
        self.working: list[Plain] = []

    @rule(address=st.sampled_from("abc"))
    def connect(self, address: str) -> None:
        of_address = [one for one in self.waiting if one.address == address]
        full = len(self.waiting) + len(self.working) == LIMITS.connections
        victims = of_address if len(of_address) >= LIMITS.waiting_per_address else self.waiting if full else []
        one = Plain(address)
        admitted = self.connections.admit(one)
        assert admitted == (not full or bool(victims))
        if victims:
            assert victims[0].was_cut
            self.waiting.remove(victims[0])
        if admitted:
            self.waiting.append(one)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.waiting))
        self.connections.works(one)
        self.waiting.remove(one)
        self.working.append(one)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.working))
        self.connections.waits(one)
        self.working.remove(one)
        self.waiting.append(one)

    @precondition(lambda self: self.waiting or self.working)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.waiting + self.working))
        self.connections.forget(one)
        (self.waiting if one in self.waiting else self.working).remove(one)

    @invariant()
    def nobody_else_was_cut(self) -> None:
        assert not any(one.was_cut for one in self.waiting + self.working)
        assert len(self.connections) == len(self.waiting) + len(self.working) <= LIMITS.connections


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=300, deadline=None)


def test_what_nobody_takes_is_bounded_in_all() -> None:
    """Each may leave much unread; together they may not."""
    known = Connections(Limits(connections=100, waiting_per_address=100))
    peers = [Plain("a", unsent=size * 1_000_000) for size in range(1, 21)]
    for one in peers:
        assert known.admit(one)
        known.works(one)
    known.sweep(0.0)
    assert sum(one.unsent for one in peers if not one.was_cut) <= connections.MAX_UNSENT
    assert [one.was_cut for one in peers] == sorted(one.was_cut for one in peers)  # the largest go first
    assert not peers[0].was_cut


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("a path", "a path", True),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) == same


@pytest.mark.parametrize(("hard", "takes", "expected"), [(4_096, 4_096, 4_096), (-1, 10_240, 10_240), (-1, 0, 256)])
def test_the_limit_of_files_is_raised_as_far_as_the_system_lets_it(
    monkeypatch: pytest.MonkeyPatch, hard: int, takes: int, expected: int
) -> None:
    """macOS says "unlimited" (-1 here), and takes 10,240."""
    import resource

    held = [256]

    def setrlimit(_what: int, limits: tuple[int, int]) -> None:
        if limits[0] > takes:
            raise ValueError("current limit exceeds maximum limit")
        held[0] = limits[0]

    monkeypatch.setattr(resource, "getrlimit", lambda _what: (held[0], hard))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    assert raised_file_limit(50_000) == expected == held[0]
    assert raised_file_limit(100) == held[0]  # never lowered
