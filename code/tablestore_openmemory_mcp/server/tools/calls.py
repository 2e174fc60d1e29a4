"""The MCP server object: tools/list and tools/call for every transport, over one memory service."""

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
from mcp.server import CacheHint, Server, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)

from ... import __version__
from ...errors import InvalidInput, ServiceError
from ...scope import InvalidName, Scope
from ...settings import APP_NAME, Settings
from ..caller import Caller
from ..logs import REQUEST_ID, CallLog
from ..rate_limits import Rates
from . import results
from .builtin import instructions, offered
from .error_redaction import said_to
from .progress import relayed
from .spec import MemoryApi, Request, ToolSpec
from .tracing import traced_on_demand
from .workers import Workers

logger = logging.getLogger(__name__)
Context = ServerRequestContext[Any, Any]


class Calls:
    """Answers MCP requests. `memory` is asked for on a worker thread, at the first call that needs it: building it
    imports Mem0, openai and the Tablestore SDK, which takes seconds."""

    def __init__(
        self, settings: Settings, memory: Callable[[], MemoryApi], log: CallLog, *, stdio: Caller | None = None
    ) -> None:
        self._settings = settings
        self._memory = memory
        self._log = log
        self._stdio = stdio
        self._tools = offered(settings)
        self._listing = ListToolsResult(tools=[spec.tool(settings) for spec in self._tools.values()])
        self._adds = Workers(settings.add_workers, queue=4 * settings.add_workers)
        self._reads = Workers(settings.search_workers, queue=8 * settings.search_workers)
        self._rates = Rates(settings.max_requests_per_minute)
        self._running = 0
        self._idle = anyio.Event()
        self._draining = False
        self._warmed = False

    def server(self) -> "Server[Any]":
        """A server for one transport to drive."""
        server: Server[Any] = Server(
            APP_NAME,
            version=__version__,
            title="Tablestore OpenMemory",
            instructions=instructions(self._settings),
            cache_hints={"tools/list": CacheHint(ttl_ms=3_600_000, scope="public")},
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )
        traced_on_demand(server)
        return server

    def refuse(self) -> None:
        """Answer new calls with an error from now on."""
        self._draining = True

    @property
    def running(self) -> int:
        """How many calls are not answered yet."""
        return self._running

    async def settled(self) -> None:
        """Wait until no call is running."""
        while self._running:
            if self._idle.is_set():
                self._idle = anyio.Event()
            await self._idle.wait()

    async def _list_tools(self, _ctx: Context, _params: PaginatedRequestParams | None) -> ListToolsResult:
        self._warm_up()
        return self._listing

    def _warm_up(self) -> None:
        """Import what calls will need, beside the event loop: who lists the tools is about to call one."""
        if not self._warmed:
            self._warmed = True
            threading.Thread(target=self._try_memory, name="warm-up", daemon=True).start()

    def _try_memory(self) -> None:
        with contextlib.suppress(Exception):  # the call that needs it will meet the same error, and report it
            self._memory()

    async def _call_tool(self, ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        spec = self._tools.get(params.name)
        if spec is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name[:100]!r}. Tools: {', '.join(self._tools)}.")
        if self._draining:
            return _failed("The server is shutting down; nothing was done. Call again in a moment.")
        self._running += 1
        try:
            return await self._answer(ctx, spec, dict(params.arguments or {}))
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _answer(self, ctx: Context, spec: ToolSpec, arguments: dict[str, Any]) -> CallToolResult:
        caller = self._caller(ctx)
        REQUEST_ID.set(caller.request_id)  # a stream's messages are other requests than the one that opened it
        with self._log.call(caller, spec.name) as record:
            try:
                acting = self._acting_for(caller, arguments)
                self._rates.spend((acting if caller.is_unnamed else caller).scope.user_id)
                caller = acting
                checked = spec.checked(arguments)
                asked = progress_token_from_params(ctx.params) is not None
                async with relayed(ctx.session if asked else None, record) as progress:
                    request = Request(
                        caller.scope,
                        checked,
                        progress,
                        time.monotonic() + self._settings.add_timeout,
                        self._settings.max_result_size,
                    )
                    pool = self._adds if spec.slow else self._reads
                    text, record.queued = await pool.run(partial(self._work, spec, request))
            except ServiceError as e:
                record.outcome = type(e).__name__
                return _failed(results.failed(e, said_to(caller.principal, e)))
            except Exception as e:
                record.outcome = f"unexpected {type(e).__name__}"
                logger.exception("a tool failed in an unforeseen way")
                # Not the exception's text: it may quote anything.
                return _failed(
                    f"{spec.name} failed for an unforeseen reason. The server's log tells more under request "
                    f"{caller.request_id}."
                )
            return CallToolResult(content=[TextContent(type="text", text=text)])

    def _acting_for(self, caller: Caller, arguments: dict[str, Any]) -> Caller:
        """Whom the call is about: with TOOL_USER_ID_ARGUMENT, and as far as the token allows, the model may say."""
        user = arguments.pop("user_id", None) if self._settings.tool_user_id_argument else None
        if user is None:
            if caller.is_unnamed:
                raise InvalidInput(
                    "This connection names no user, so the call must: pass user_id, or connect to "
                    "/mcp/{client_name}/sse/{user_id}."
                )
            return caller
        if not isinstance(user, str):
            raise InvalidInput(f"'user_id' must be a string; it is {type(user).__name__}.")
        try:
            whose = Scope(user, caller.scope.client_name)
        except InvalidName as e:
            raise InvalidInput(str(e)) from None
        if not caller.principal.may_use(whose):
            raise InvalidInput("This connection's token may not act for that user_id; nothing was done.")
        return replace(caller, scope=whose, is_unnamed=False)

    def _work(self, spec: ToolSpec, request: Request) -> str:
        return spec.run(self._memory(), request)

    def _caller(self, ctx: Context) -> Caller:
        """Whom the transport stamped on this message: SSE passes the Caller itself, the SDK's Streamable HTTP the
        request that carries it, stdio nothing."""
        stamped = ctx.request
        if stamped is None:
            if self._stdio is None:
                raise RuntimeError("a message without a caller")
            return replace(self._stdio, request_id=secrets.token_hex(8))
        if isinstance(stamped, Caller):
            return stamped
        caller: Caller = stamped.scope["caller"]
        return caller


def _failed(sentence: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=sentence)], is_error=True)
