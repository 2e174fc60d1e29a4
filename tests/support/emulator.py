"""Emulators for tests, and unmodified SDK clients on them."""

import logging
from typing import Any

import tablestore
from tablestore.retry import NoRetryPolicy

from tablestore_emulator.testing import Emulator

__all__ = ["Emulator", "connect"]

_QUIET = "tests.tablestore"
logging.getLogger(_QUIET).setLevel(logging.CRITICAL)  # an unset level makes the SDK format every request


def connect(emulator: Emulator, **options: Any) -> tablestore.OTSClient:
    """A client that does not retry, so that tests see what the emulator said."""
    settings: dict[str, Any] = {"retry_policy": NoRetryPolicy(), "logger_name": _QUIET, "socket_timeout": 30} | options
    return tablestore.OTSClient(emulator.endpoint, emulator.key_id, emulator.secret, emulator.instance, **settings)
