"""Instances as Function Compute runs them: `bootstrap` in a clean environment, hooks, headers, freezing, killing."""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from tablestore_emulator.testing import Emulator

from .processes import wait_until

FUNCTION = "openmemory"
MINT_KEY = "what the operator has in .env, and no client"
START = 120.0  # seconds: what the platform allows
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class Role:
    """The function's role: temporary keys that the emulator refuses once `lifetime` seconds are over."""

    def __init__(self, emulator: Emulator, lifetime: float = 3600.0) -> None:
        self._emulator = emulator
        self._lifetime = lifetime
        self.renew()

    def renew(self) -> None:
        """New keys from now on; the old ones work until they expire."""
        self.key_id, self.secret, self.token = (f"STS.{secrets.token_hex(8)}" for _ in range(3))
        self._emulator.add_credential(self.key_id, self.secret, self.token, time.time() + self._lifetime)

    def revoke(self) -> None:
        """The current keys have expired."""
        self._emulator.add_credential(self.key_id, self.secret, self.token, time.time() - 1)

    @property
    def environ(self) -> dict[str, str]:
        """As an instance gets them when it is made."""
        return {
            "ALIBABA_CLOUD_ACCESS_KEY_ID": self.key_id,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": self.secret,
            "ALIBABA_CLOUD_SECURITY_TOKEN": self.token,
        }

    @property
    def headers(self) -> dict[str, str]:
        """As each request brings them."""
        return {
            "x-fc-access-key-id": self.key_id,
            "x-fc-access-key-secret": self.secret,
            "x-fc-security-token": self.token,
        }


class Instance:
    """One instance. `bootstrap` decides what runs: the one of a package, or the checkout's."""

    def __init__(self, bootstrap: Path, log: Path, role: Role, *, path: str = SYSTEM_PATH, **variables: str) -> None:
        self.id = f"c-{secrets.token_hex(6)}"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self.folder = log.parent  # its temporary directory too
        self.role = role
        environ = {
            "PATH": path,
            "TMPDIR": str(log.parent),
            "FC_FUNCTION_NAME": FUNCTION,
            "FC_INSTANCE_ID": self.id,
            "FC_CUSTOM_LISTEN_PORT": str(self.port),
            "FC_FUNC_CODE_PATH": "/code",
            "MCP_MINT_KEY": MINT_KEY,
            **role.environ,
            **variables,
        }
        self.started = time.monotonic()
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [bootstrap], env=environ, cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )

    @property
    def log(self) -> str:
        """Everything printed so far."""
        return self._log.read_text("utf-8", errors="replace")

    def await_port(self) -> None:
        """Until the port is open. Raises AssertionError if the process ends instead."""
        wait_until(lambda: self._connects() or self.process.poll() is not None, START, lambda: self.log)
        assert self.process.poll() is None, self.log

    def headers(self, control_path: str, request_id: str = "") -> dict[str, str]:
        """What the platform adds to a request."""
        return {
            "x-fc-request-id": request_id or f"1-{secrets.token_hex(8)}",
            "x-fc-control-path": control_path,
            "x-fc-function-name": FUNCTION,
            "x-fc-region": "cn-test",
            **self.role.headers,
        }

    def request(
        self, method: str, path: str, *, via: str = "/http-invoke", request_id: str = "", **options: Any
    ) -> httpx.Response:
        """One request as the platform passes it on; `via` is the control path."""
        headers: Mapping[str, str] = {**options.pop("headers", {}), **self.headers(via, request_id)}
        return httpx.request(method, self.url + path, headers=headers, timeout=90, **options)

    def initialize(self) -> httpx.Response:
        return self.request("POST", "/initialize", via="/initialize")

    def pre_stop(self) -> httpx.Response:
        return self.request("GET", "/pre-stop", via="/pre-stop")

    def invoke(self, event: Any, request_id: str = "") -> dict[str, Any]:
        """What `s invoke` would print."""
        answer: dict[str, Any] = self.request(
            "POST", "/invoke", via="/invoke", json=event, request_id=request_id
        ).json()
        return answer

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(START)

    def __enter__(self) -> Self:
        self.await_port()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    def _connects(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def tablestore(emulator: Emulator) -> dict[str, str]:
    """Where the function's store is; the keys are its role's."""
    return {"TABLESTORE_ENDPOINT": emulator.endpoint, "TABLESTORE_INSTANCE_NAME": emulator.instance}


def python_path(python: Path) -> str:
    """A PATH on which `python3.12` is this one."""
    return os.pathsep.join([str(python.parent), SYSTEM_PATH])


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
