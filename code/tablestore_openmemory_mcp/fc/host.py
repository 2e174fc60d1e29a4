"""The ASGI layer that Function Compute's requests pass before the application sees them."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import Receive, Scope, Send

from ..composition import Composition
from ..server.app import App
from ..server.logs import REQUEST_ID
from ..server.request_bodies import BodyTooLarge, read_body
from .context import HTTP_TRIGGER, RequestContext, without_secrets
from .invocation import Invocations
from .lifecycle import Lifecycle

FROM_API = "/invoke"  # whom RAM lets call fc:InvokeFunction


class Host:
    """`app` on Function Compute. Calling it is ASGI."""

    def __init__(self, app: App, composition: Composition) -> None:
        self._app = app
        self._composition = composition
        self._lifecycle = Lifecycle(app, composition.warm)
        self._invocations = Invocations(app, composition, app.health.ready)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = RequestContext.of(scope["headers"])
        if context.keys:
            keys = context.keys
            self._composition.use_credentials(keys.access_key_id, keys.access_key_secret, keys.security_token)
        inner = {**scope, "headers": without_secrets(scope["headers"])}
        if context.request_id:
            inner["request_id"] = context.request_id
            REQUEST_ID.set(context.request_id)
        answer = self._own(context, scope["method"], scope["path"])
        if answer is None:
            await self._app(inner, receive, send)
        else:
            await answer(context, inner, receive, send)

    def _own(self, context: RequestContext, method: str, path: str) -> "Answer | None":
        """Who answers what the platform itself sends; None for what a client sends."""
        if context.control_path == HTTP_TRIGGER:
            return None
        if (method, path) == ("POST", FROM_API):
            # What comes through the API is marked expressly. That is not proof enough for tokens: see operator.py.
            return self._invoke if context.control_path == FROM_API else None
        if context.control_path not in ("", path):
            return None
        hooks = {("POST", "/initialize"): self._initialize, ("GET", "/pre-stop"): self._pre_stop}
        return hooks.get((method, path))

    async def _initialize(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        print(f"FC Initialize Start RequestId: {context.request_id}", flush=True)
        await self._lifecycle.initialize()
        print(f"FC Initialize End RequestId: {context.request_id}", flush=True)
        await PlainTextResponse("initialized")(scope, receive, send)

    async def _pre_stop(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        await self._lifecycle.pre_stop()
        await PlainTextResponse("ready to stop")(scope, receive, send)

    async def _invoke(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        # The platform cuts an invocation's part out of the log, for `s invoke` to show, at these lines.
        print(f"FC Invoke Start RequestId: {context.request_id}", flush=True)
        try:
            event: Any = json.loads(await read_body(scope, receive, self._composition.settings.max_body_size) or b"{}")
        except (BodyTooLarge, ValueError):
            event = None
        answer = await self._invocations.answer(event, context.request_id)
        print(
            f"FC Invoke End RequestId: {context.request_id}", flush=True
        )  # once it is answered, nothing runs any more
        await JSONResponse(answer)(scope, receive, send)


Answer = Callable[[RequestContext, Scope, Receive, Send], Awaitable[None]]
