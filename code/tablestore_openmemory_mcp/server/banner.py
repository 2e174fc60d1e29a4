"""What a person reads when the server starts: where it listens, where memories are, and what to paste into a client."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from .. import __version__
from ..settings import APP_NAME, Settings

Transport = Literal["sse", "http", "stdio"]

# Deleting everything is left for the person to confirm.
AUTO_APPROVE = ["search_memories", "list_memories", "add_memories"]

SECRETS = {
    "TABLESTORE_ACCESS_KEY_ID": "<your_tablestore_access_key_id>",
    "TABLESTORE_ACCESS_KEY_SECRET": "<your_tablestore_access_key_secret>",
    "OPENAI_API_KEY": "<your_api_key>",
}
PLAIN = ("TABLESTORE_INSTANCE_NAME", "TABLESTORE_ENDPOINT", "TABLESTORE_TABLE_NAME", "OPENAI_BASE_URL", "LLM_MODEL")


def banner(settings: Settings, transport: Transport, *, port: int | None = None) -> str:
    """The text for a start. `port` is where it really listens, for the HTTP transports."""
    lines = [f"{APP_NAME} {__version__}"]
    if transport == "stdio":
        lines.append("listening  stdin and stdout")
    else:
        lines.append(f"listening  http://{_bracketed(settings.server_host)}:{port}")
    lines += [f"memories   {place(settings)}", f"mode       {mode(settings)}"]
    if transport != "stdio":
        lines.append(f"access     {_access(settings)}")
    shown_port = port or settings.server_port or 8765
    if transport == "http":
        lines += ["", "Paste into Cline, over Streamable HTTP:", _json(_remote(settings, shown_port, "http"))]
    else:
        lines += ["", "Paste into Cline, over SSE:", _json(_remote(settings, shown_port, "sse"))]
    lines += ["", "Paste into Cline, over stdio (the same memories):", _json(_child(settings))]
    return "\n".join(lines)


def place(settings: Settings) -> str:
    """Where memories are kept."""
    if settings.cloud:
        return f"Tablestore instance {settings.tablestore_instance_name}, tables {settings.tablestore_table_name}_*"
    return f"{settings.data_dir} (embedded store)"


def mode(settings: Settings) -> str:
    """How they are stored and recalled."""
    if settings.pipeline == "verbatim":
        key = "" if settings.openai_api_key else "no OPENAI_API_KEY: "
        return f"{key}texts are stored word for word and recalled by their words"
    return f"facts are extracted and reconciled by {settings.llm_model}, recalled with {settings.embedder_model}"


def _access(settings: Settings) -> str:
    if settings.mcp_auth == "anonymous":
        return "ANYONE who reaches this port, as anyone (MCP_AUTH=anonymous)"
    return "programs on this machine, without a token; everyone else is refused"


def _remote(settings: Settings, port: int, kind: Literal["sse", "http"]) -> dict[str, Any]:
    base = (settings.mcp_public_url or f"http://localhost:{port}").rstrip("/")
    client, user = (quote(n, safe="") for n in (settings.mcp_stdio_client_name, settings.mcp_stdio_user_id))
    entry = {
        "type": "sse" if kind == "sse" else "streamableHttp",
        "url": f"{base}/mcp/{client}/{kind}/{user}",
        "timeout": 60,
        "disabled": False,
        "autoApprove": AUTO_APPROVE,
    }
    return {"mcpServers": {f"tablestore-openmemory-{kind}": entry}}


def _child(settings: Settings) -> dict[str, Any]:
    entry = {
        "type": "stdio",
        **_command(),
        "env": _environment(settings),
        "timeout": 60,
        "disabled": False,
        "autoApprove": AUTO_APPROVE,
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
    """What the child needs to know to share these memories. Secrets are left for the person to fill in."""
    env = {
        "MCP_STDIO_USER_ID": settings.mcp_stdio_user_id,
        "MCP_STDIO_CLIENT_NAME": settings.mcp_stdio_client_name,
    }
    if not settings.cloud:
        env |= {"STORE": "embedded", "DATA_DIR": str(settings.data_dir.absolute())}
    for name in PLAIN:
        value = getattr(settings, name.lower())
        if value and name.lower() in settings.model_fields_set:
            env[name] = str(value)
    for name, placeholder in SECRETS.items():
        if getattr(settings, name.lower()):
            env[name] = placeholder
    return env


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
