"""Sixteen instances meet an empty Tablestore instance at the same moment."""

import contextlib
from pathlib import Path

import pytest

from support.clients import over_sse
from support.processes import Server

INSTANCES = 16


@pytest.mark.slow
def test_sixteen_instances_start_at_once(tmp_path: Path, cloud: dict[str, str]) -> None:
    """All make the tables at first use; nobody fails, nobody's memory is lost."""
    environ = {**cloud, "MEMORY_PIPELINE": "verbatim"}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Server(tmp_path, **environ)) for _ in range(INSTANCES)]
        clients = [stack.enter_context(over_sse(server.url("cline", "ann"))) for server in servers]
        added = [client.begin("add_memories", text=f"第 {n} 个实例说的话") for n, client in enumerate(clients)]
        assert not [answer.text for answer in (call.result(90) for call in added) if answer.failed]
        expected = {f"第 {n} 个实例说的话" for n in range(INSTANCES)}
        assert all(set(client.texts()) == expected for client in clients[:: INSTANCES // 4])
