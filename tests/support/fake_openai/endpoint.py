"""The endpoint itself: scriptable, and it remembers what it was asked."""

import contextlib
import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from . import assistant, chat, protocol, styles, vectors
from .faults import Fault
from .http import Dropped, HttpServer, Reply

Route = Literal["chat", "embeddings"]
Predicate = Callable[[Mapping[str, Any]], bool]
_ROUTES: dict[str, Route] = {"/v1/chat/completions": "chat", "/v1/embeddings": "embeddings"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in. `kind`: which of Mem0's prompts it carried, or "other", or "embeddings"."""

    route: Route
    kind: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]  # names in lower case

    @property
    def inputs(self) -> list[str]:
        """The texts to embed."""
        given = self.body["input"]
        return [given] if isinstance(given, str) else list(given)


@dataclass(slots=True)
class Model:
    """How the model and its vendor behave; every field may be changed while the endpoint runs."""

    style: styles.Style = styles.plain
    reasoning_only: bool = False  # the answer comes in reasoning_content, content is empty
    stream_only: bool = False
    json_object: bool = True  # False: refuses response_format json_object
    json_schema: bool = True  # False: refuses response_format json_schema
    limit: str | None = "max_tokens"  # the parameter that bounds an answer; None: neither is taken
    most_tokens: int = 1_000_000  # that may be asked for
    thoughts: int = 0  # tokens that it thinks, which count towards that bound
    topics: Mapping[str, str] = field(default_factory=dict)  # what texts are about that share no word: near each other
    refused_texts: frozenset[str] = frozenset()  # what the embedder will not take, alone or among others
    thinking: Literal["ignored", "refused", "required"] = "ignored"  # what enable_thinking in the body means
    batch_limit: int = 10  # texts per embedding request (DashScope's text-embedding-v4)
    dimensions: frozenset[int] | None = None  # the sizes it takes (None: any)
    takes_dimensions: bool = True  # False: refuses the parameter, as older models do
    default_dimension: int = 1536
    delay: dict[Route, float] = field(default_factory=dict)  # seconds before every answer, for benchmarks
    broken: float = 0.0  # share of the chat requests that are answered with status 500, for a soak


class FakeOpenAI:
    """`with FakeOpenAI() as fake:` serves at `fake.base_url`; any API key is good unless `api_key` is given."""

    def __init__(self, *, port: int = 0, api_key: str | None = None, **model: Any) -> None:
        self.model = Model(**model)
        self.requests: list[Request] = []
        self._api_key = api_key
        self._changed = threading.Condition()
        self._faults: dict[Route, list[Fault]] = {"chat": [], "embeddings": []}
        self._lasting: dict[Route, Fault | None] = {"chat": None, "embeddings": None}
        self._canned: list[tuple[Predicate, str | Callable[[Mapping[str, Any]], str]]] = []
        self._styles: list[styles.Style] = []
        self._held: set[Route] = set()
        self._closing = threading.Event()
        self._http = HttpServer(port, self._reply)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.port}/v1"

    def environ(self) -> dict[str, str]:
        """What a server process needs to use this endpoint."""
        return {"OPENAI_API_KEY": self._api_key or "sk-fake", "OPENAI_BASE_URL": self.base_url}

    def __enter__(self) -> Self:
        self._http.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closing.set()
            self._held.clear()
            self._changed.notify_all()
        self._http.stop()

    # --- scripting -------------------------------------------------------------------------------------------------

    def fail_next(self, route: Route, *faults: Fault) -> None:
        """The next requests meet these faults, one each."""
        with self._changed:
            self._faults[route].extend(faults)

    @contextlib.contextmanager
    def failing(self, route: Route, fault: Fault) -> Iterator[None]:
        """Every request meets `fault` while the block runs."""
        self._lasting[route] = fault
        try:
            yield
        finally:
            self._lasting[route] = None

    def style_next(self, *next_styles: styles.Style) -> None:
        """The next chat answers are dressed so; afterwards `model.style` holds again."""
        with self._changed:
            self._styles.extend(next_styles)

    def answer(self, when: Predicate, content: str | Callable[[Mapping[str, Any]], str]) -> None:
        """Canned: a chat request for which `when(body)` holds gets `content`, or what that makes of the body. The
        newest that holds wins."""
        with self._changed:
            self._canned.insert(0, (when, content))

    @contextlib.contextmanager
    def holding(self, route: Route) -> Iterator[None]:
        """Requests come in and wait, unanswered, until the block ends."""
        with self._changed:
            self._held.add(route)
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(route)
                self._changed.notify_all()

    # --- what it was asked -----------------------------------------------------------------------------------------

    def count(self, what: str) -> int:
        """Requests of a route ("chat", "embeddings") or of a kind ("extraction", "update", "other")."""
        with self._changed:
            return self._seen(what)

    def wait_for(self, what: str, count: int, timeout: float = 30) -> None:
        """Until `count` requests of `what` have come in. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._seen(what) >= count, timeout):
                raise TimeoutError(f"fewer than {count} requests of {what} came in within {timeout} s")

    def _seen(self, what: str) -> int:
        return sum(what in (r.route, r.kind) for r in self.requests)

    def forget(self) -> None:
        """Start counting anew."""
        with self._changed:
            self.requests.clear()

    # --- answering -------------------------------------------------------------------------------------------------

    def _reply(self, path: str, headers: Mapping[str, str], raw: bytes) -> Reply:
        route = _ROUTES.get(path)
        if route is None:
            return protocol.error(404, f"no such path: {path}")
        try:
            body = json.loads(raw)
        except ValueError:
            return protocol.error(400, "the body is not JSON")
        fault = self._arrived(route, body, headers)
        if self._api_key and headers.get("authorization") != f"Bearer {self._api_key}":
            return protocol.error(401, "Incorrect API key provided.")
        if fault and (trouble := self._suffer(fault, body)):
            return trouble
        self._closing.wait(self.model.delay.get(route, 0))
        if route == "chat" and random.random() < self.model.broken:
            return protocol.error(500, "Internal server error.")
        if route == "embeddings":
            return self._embeddings(body, one_more=fault is not None and fault.trouble == "wrong_dimension")
        return protocol.refusal(body, self.model) or self._completion(body)

    def _arrived(self, route: Route, body: Mapping[str, Any], headers: Mapping[str, str]) -> Fault | None:
        kind = "embeddings" if route == "embeddings" else chat.kind_of(body)
        with self._changed:
            self.requests.append(Request(route, kind, body, headers))
            fault = self._faults[route].pop(0) if self._faults[route] else self._lasting[route]
            self._changed.notify_all()
            self._changed.wait_for(lambda: route not in self._held)
        return fault

    def _suffer(self, fault: Fault, body: Mapping[str, Any]) -> Reply | None:
        if fault.trouble == "status":
            return protocol.error(fault.status, fault.message, fault.retry_after)
        if fault.trouble == "garbage":
            return Reply(200, fault.body, fault.content_type)
        if fault.trouble == "blanks":
            streamed = bool(body.get("stream"))
            return Reply(200, self._blanks(streamed), "text/event-stream" if streamed else "application/json")
        if fault.trouble == "torn":
            return Reply(200, _torn())
        if fault.trouble == "slow":
            self._closing.wait(fault.seconds)
        if fault.trouble == "hang":
            self._closing.wait()
        if fault.trouble in ("hang", "drop"):
            raise Dropped
        return None

    def _blanks(self, streamed: bool) -> Iterator[bytes]:
        while not self._closing.wait(0.05):
            yield b": keep-alive\n\n" if streamed else b"\n"

    def _embeddings(self, body: Mapping[str, Any], *, one_more: bool) -> Reply:
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        refused = protocol.embedding_refusal(texts, body.get("dimensions"), self.model)
        if refused:
            return refused
        size = (body.get("dimensions") or self.model.default_dimension) + one_more
        return protocol.embeddings(vectors.embed(texts, size, self.model.topics), body)

    def _completion(self, body: Mapping[str, Any]) -> Reply:
        bound = body.get("max_tokens", body.get("max_completion_tokens"))
        if bound is not None and self.model.thoughts >= bound:
            return protocol.completion("", body, cut=True)
        canned = next((content for when, content in list(self._canned) if when(body)), None)
        if canned is not None:
            said = canned if isinstance(canned, str) else canned(body)
            return protocol.completion(said, body, in_reasoning=self.model.reasoning_only)
        if body.get("tools"):
            reply = assistant.reply(body)
            if isinstance(reply, assistant.Call):
                return protocol.tool_call(reply.tool, reply.arguments, body)
            return protocol.completion(reply, body)
        with self._changed:
            style = self._styles.pop(0) if self._styles else self.model.style
        answer = chat.answer(body)
        content = "OK" if answer is None else style(answer)
        cut = style in (styles.truncated, styles.looping)
        return protocol.completion(content, body, in_reasoning=self.model.reasoning_only, cut=cut)


def _torn() -> Iterator[bytes]:
    yield b'{"choices": ['
    raise ConnectionAbortedError
