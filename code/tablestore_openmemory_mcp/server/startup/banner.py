"""What a person reads when the server starts: where it listens, where memories are, and what to paste into a client."""

from collections.abc import Mapping
from typing import Literal

from ... import __version__
from ...settings import APP_NAME, Settings
from .client_config import block, child, remote, shown

Transport = Literal["sse", "http", "stdio"]


def banner(settings: Settings, transport: Transport, environ: Mapping[str, str], *, port: int | None = None) -> str:
    """The text for a start. `port` is where it really listens, for the HTTP transports; `environ`: see blocks.child."""
    lines = [f"{APP_NAME} {__version__}"]
    if transport == "stdio":
        lines.append("listening  stdin and stdout")
    else:
        lines.append(f"listening  http://{_bracketed(settings.server_host)}:{port}")
    lines += [f"memories   {place(settings)}", f"mode       {mode(settings)}"]
    if transport != "stdio":
        lines.append(f"access     {_access(settings)}")
    kind: Literal["sse", "http"] = "http" if transport == "http" else "sse"
    named = {"sse": "SSE", "http": "Streamable HTTP"}[kind]
    token = None if settings.local_is_free or settings.mcp_auth == "anonymous" else "<token>"
    url = remote(settings, kind, settings.mcp_stdio_user_id, settings.mcp_stdio_client_name, port)
    lines += ["", f"Paste into Cline, over {named}:", shown(block(settings, kind, url, token))]
    lines += ["", "Paste into Cline, over stdio (the same memories):", shown(child(settings, environ))]
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
        return f"{key}texts are stored word for word, and recalled {recall(settings)}"
    return f"facts are extracted and reconciled by {settings.llm_model}, and recalled {recall(settings)}"


def recall(settings: Settings) -> str:
    """How memories are found."""
    if settings.embedding == "none":
        return "by their words"
    if settings.embedding == "endpoint":
        return f"by meaning, with {settings.embedder_model}"
    leaves = "" if settings.cloud or settings.llm_endpoint else "; nothing leaves it"
    return f"by meaning, in 16 languages, on this machine{leaves}"


def _access(settings: Settings) -> str:
    if settings.mcp_auth == "anonymous":
        return "ANYONE who reaches this port, as anyone (MCP_AUTH=anonymous)"
    if settings.mcp_auth == "jwt":
        return f"by token of {settings.mcp_auth_issuer}"
    mint = f"`{APP_NAME} token --user <user_id>` makes one"
    if settings.local_is_free:
        return f"your own programs on this machine, and tunnels you start, without a token; others by token ({mint})"
    return f"by token ({mint})"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
