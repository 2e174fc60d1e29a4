"""The JSON that a person pastes into a client's settings."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pydantic import SecretStr

from ...proxy_variables import carried, holds_secret
from ...settings import APP_NAME, CLOUD_ONLY, HTTP_ONLY, MACHINE_CREDENTIALS, Settings

_AUTO_APPROVE = ["search_memories", "list_memories", "add_memories"]
_AUTO_APPROVE_BY_ID = ["get_memory", "memory_history", "update_memory"]  # what an update replaces stays in the history


def remote(settings: Settings, kind: Literal["sse", "http"], user: str, client: str, port: int | None = None) -> str:
    """The address of one user and client: the public one, or `port` of this machine."""
    base = settings.mcp_public_url or f"http://localhost:{port or settings.server_port or 8765}"
    return f"{base.rstrip('/')}/mcp/{quote(client, safe='')}/{kind}/{quote(user, safe='')}"


def auto_approve(settings: Settings) -> list[str]:
    """The tools that a client may call without asking. Deleting is left for the person to confirm."""
    return [*_AUTO_APPROVE, *(_AUTO_APPROVE_BY_ID if settings.tools_by_id else [])]


def block(settings: Settings, kind: Literal["sse", "http"], url: str, token: str | None) -> dict[str, Any]:
    """For a client that connects to a running server."""
    entry = {
        "type": "sse" if kind == "sse" else "streamableHttp",
        "url": url,
        **({"headers": {"Authorization": f"Bearer {token}"}} if token else {}),
        "timeout": 60,
        "disabled": False,
        "autoApprove": auto_approve(settings),
    }
    return {"mcpServers": {f"tablestore-openmemory-{kind}": entry}}


def child(settings: Settings, environ: Mapping[str, str]) -> dict[str, Any]:
    """For a client that starts the server itself, with the same memories and settings. `environ`: this process's, for
    what libraries read there; clients hand on next to nothing of their own."""
    entry = {
        "type": "stdio",
        **_command(),
        "env": _environment(settings) | _surroundings(settings, environ),
        "timeout": 60,
        "disabled": False,
        "autoApprove": auto_approve(settings),
    }
    return {"mcpServers": {"tablestore-openmemory-stdio": entry}}


def _command() -> dict[str, Any]:
    """How to start this very installation: its script's full path, or Python with the module."""
    script = Path(sys.argv[0]).absolute()
    if script.name == APP_NAME and os.access(script, os.X_OK):
        return {"command": str(script), "args": ["--transport=stdio"]}
    if found := shutil.which(APP_NAME):
        return {"command": found, "args": ["--transport=stdio"]}
    return {"command": sys.executable, "args": ["-m", "tablestore_openmemory_mcp", "--transport=stdio"]}


def _environment(settings: Settings) -> dict[str, str]:
    """Every variable that is set and means something to the child. Secrets are left for the person to fill in."""
    env = {
        "MCP_STDIO_USER_ID": settings.mcp_stdio_user_id,
        "MCP_STDIO_CLIENT_NAME": settings.mcp_stdio_client_name,
    }
    if not settings.cloud:
        env |= {"STORE": "embedded", "DATA_DIR": str(settings.data_dir)}
    meaningless = HTTP_ONLY if settings.cloud else HTTP_ONLY | CLOUD_ONLY
    for field in type(settings).model_fields:  # in their order
        value = getattr(settings, field)
        if field in settings.model_fields_set and field not in meaningless and value is not None:
            name = MACHINE_CREDENTIALS.get(field, field.upper()) if settings.host_credentials else field.upper()
            secret = field in settings.secret_fields() or holds_secret(str(value))
            env.setdefault(name, _placeholder(name) if secret else _written(value))
    return env


def _surroundings(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    given = carried(environ) if settings.calls_others else {}
    given |= {name: environ[name] for name in ("TZ",) if environ.get(name)}  # when a day ends
    return {
        name: _placeholder(name) if holds_secret(value, bare=name.lower().endswith("_proxy")) else value
        for name, value in given.items()
    }


def _placeholder(name: str) -> str:
    return f"<your {name}>"


def _written(value: Any) -> str:
    """A setting as its variable would be written."""
    if isinstance(value, SecretStr):
        raise TypeError("a secret is not written anywhere")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def shown(block: dict[str, Any]) -> str:
    """As text to copy."""
    return json.dumps(block, indent=2, ensure_ascii=False)
