"""OpenTelemetry spans of MCP messages, where somebody collects them.

The MCP SDK (2.3) wraps each message in a span, also if no tracer provider is set: then a twentieth of a call's CPU time
goes into spans that nobody can see. Can go when the SDK looks for itself.
"""

from typing import Any

from mcp.server import Server, ServerRequestContext
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware
from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider

Context = ServerRequestContext[Any, Any]
_TRACES = "OpenTelemetryMiddleware"  # of a private module, so known by its name; all other middleware stays as it is


def traced_on_demand(server: "Server[Any]") -> None:
    """Let `server` trace only while the process has a tracer provider, however late that was set."""
    server.middleware[:] = [_OnDemand(m) if type(m).__name__ == _TRACES else m for m in server.middleware]


class _OnDemand(ServerMiddleware[Any]):
    def __init__(self, traces: ServerMiddleware[Any]) -> None:
        self._traces = traces

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        if isinstance(get_tracer_provider(), ProxyTracerProvider):  # what the API answers while none is set
            return await call_next(ctx)
        return await self._traces(ctx, call_next)
