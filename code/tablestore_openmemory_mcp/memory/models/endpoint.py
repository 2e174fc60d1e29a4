"""One OpenAI-compatible endpoint: the client, retries within a deadline, errors that name the variable to look at."""

import importlib
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ...errors import ModelDenied, ModelError, ModelTimedOut, ModelUnavailable

if TYPE_CHECKING:
    import ssl

    import openai

T = TypeVar("T")
logger = logging.getLogger(__name__)

RETRY_SECONDS = 20.0  # failed attempts are repeated this long; a slow answer may take until the deadline
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0
_UNPAID = re.compile(r"insufficient.?(quota|balance)|exceeded your current quota|arrear|overdue|good standing|billing")
_FORM = re.compile(r"response_format|json_schema|grammar")  # llama.cpp answers 500 to a form that it cannot make
_QUOTE = 12  # characters in common that make a quotation
_SHOWN = 200  # characters of a vendor's explanation that reach the person
_LARGEST = 32 * 2**20  # bytes of one answer; a long chain of thought, streamed word by word, has a third of that
_UNUSED = 30.0  # seconds after which a connection beyond those that are needed is let go
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")


class Refused(Exception):
    """400, 413, 422, or a form of answer that it cannot make: the endpoint does not take this request as it is.

    `str(e)` is its explanation, in lower case.
    """

    def __init__(self, explanation: str, detail: str) -> None:
        super().__init__(explanation.lower())
        self.detail = detail


class _Idle(NamedTuple):
    since: float  # time.monotonic()
    client: "openai.OpenAI"


class Endpoint:
    """Shared by all threads. The SDK is imported and a client built at the first call.

    Each call has a client, and so a connection, to itself, and the one that was used last is taken first. In one pool
    for all, every call would look through the connections of all others, under one lock.
    """

    def __init__(self, api_key: str, base_url: str | None, *, prefix: str = "OPENAI") -> None:
        """`prefix` of the two variables that hold them, for what is said of failures."""
        self._api_key = api_key
        self._base_url = base_url
        self._key_setting, self.url_setting = f"{prefix}_API_KEY", f"{prefix}_BASE_URL"
        self._idle: list[_Idle] = []  # the one used last at the end
        self._shared: tuple[ssl.SSLContext, dict[str, list[Any]]] | None = None  # by the clients: it takes long to make
        self._opened = 0  # how often `close` was called
        self._lock = threading.Lock()

    def call(
        self,
        who: str,
        setting: str,
        request: Callable[["openai.OpenAI", float], T],
        deadline: float,
        retries: float = RETRY_SECONDS,
    ) -> T:
        """`request(client, timeout in s)`, repeated while that makes sense before `deadline` (time.monotonic()).

        `retries`: seconds in which a failed attempt is followed by another. `who` ("The LLM") and `setting`
        ("LLM_MODEL") go into the message. Raises Refused for the caller to adapt to, ModelDenied, ModelUnavailable or
        ModelError.
        """
        with self._borrowed() as client:
            return self._repeated(who, setting, partial(request, client), deadline, retries)

    def _repeated(self, who: str, setting: str, request: Callable[[float], T], deadline: float, retries: float) -> T:
        import openai

        give_up = min(deadline, time.monotonic() + retries)
        pause = _FIRST_PAUSE
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise ModelTimedOut(f"{who} did not answer in time", setting=self.url_setting)
            try:
                return request(remaining)
            except openai.APITimeoutError:
                raise ModelTimedOut(f"{who} did not answer in time", setting=self.url_setting) from None
            except openai.APIConnectionError as e:
                if isinstance(e.__cause__, ModelError):  # of _bounded
                    raise e.__cause__ from None
                failure, asked = ModelUnavailable(f"{who} cannot be reached{_why(e)}", setting=self.url_setting), None
            except openai.APIStatusError as e:
                failure, asked = self._judge(e, who, setting), _retry_after(e)
            except openai.APIError as e:  # the stream broke off, or held an error event
                failure, asked = ModelUnavailable(f"{who} broke off its answer", setting=setting), None
                logger.info("%s: %s", who, type(e).__name__)
            except (
                openai.OpenAIError,
                ValueError,
                TypeError,
                AttributeError,
                LookupError,
                ArithmeticError,
                RecursionError,
            ) as e:  # the SDK checks nothing of what it hands over
                logger.info("%s: %s", who, type(e).__name__)
                raise _no_api(who, self.url_setting) from None
            wait = max(asked or 0.0, pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries
            if time.monotonic() + wait >= give_up:
                raise failure
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def prepare(self) -> None:
        """Import the SDK and build a client, if that is still to be done. Raises ModelDenied."""
        with self._borrowed():
            pass

    def close(self) -> None:
        """Let go of the connections; a later call connects anew."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._opened += 1
        for _, client in idle:
            client.close()

    @contextmanager
    def _borrowed(self) -> "Iterator[openai.OpenAI]":
        with self._lock:
            client, opened = self._idle.pop().client if self._idle else None, self._opened
        client = client or self._connect()
        try:
            yield client
        finally:
            for unneeded in self._returned(client, opened):
                unneeded.close()

    def _returned(self, client: "openai.OpenAI", opened: int) -> "list[openai.OpenAI]":
        """Those to be closed now that `client` is idle."""
        now = time.monotonic()
        with self._lock:
            if opened != self._opened:
                return [client]
            unused = sum(idle.since < now - _UNUSED for idle in self._idle)
            closed = [idle.client for idle in self._idle[:unused]]
            self._idle[:unused] = []
            self._idle.append(_Idle(now, client))
            return closed

    def _connect(self) -> "openai.OpenAI":
        if not (self._api_key.isascii() and self._api_key.isprintable()):
            raise ModelDenied("The API key holds characters that no key has", setting=self._key_setting)
        import openai

        try:
            with self._lock:
                if self._shared is None:
                    module = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
                    bounded = partial(_bounded, _bounded_stream(module), self.url_setting)
                    self._shared = module.create_ssl_context(), {"request": [_begun], "response": [bounded]}
                trust, hooks = self._shared
            http = openai.DefaultHttpxClient(event_hooks=hooks, verify=trust)
            # Retries are ours: the SDK's own know no deadline.
            return openai.OpenAI(api_key=self._api_key, base_url=self._base_url, max_retries=0, http_client=http)
        except Exception as e:  # it parses addresses, a proxy's too, with errors of several libraries
            reason = f"No client can be made for this address ({type(e).__name__})"
            raise ModelDenied(reason, setting=self.url_setting) from None

    def _judge(self, e: "openai.APIStatusError", who: str, setting: str) -> ModelUnavailable:
        """The failure to report if time runs out, when another attempt may help; raises when none will."""
        status, detail = e.status_code, self._detail(e)
        said = f"{detail} {getattr(e, 'code', '')}".lower()
        if status in (400, 402, 403, 429) and _UNPAID.search(said):
            raise ModelDenied(f"{who}'s account has no quota left ({status})", setting=self._key_setting) from None
        if status in (401, 403):
            raise ModelDenied(f"{who} refused the key ({status})", setting=self._key_setting) from None
        if status == 404:
            message = f"{who} was not found at this address (404): the model's name or the URL is wrong"
            raise ModelDenied(message, setting=f"{setting} and {self.url_setting}") from None
        if status in (400, 413, 422) or (status >= 500 and _FORM.search(said)):
            raise Refused(said, detail) from None
        if status in (408, 409, 425, 429) or status >= 500:
            why = "is throttling" if status == 429 else "is failing"
            return ModelUnavailable(f"{who} {why} ({status})", setting=setting)
        raise ModelError(f"{who} refused the request ({status}): {detail}", setting=setting) from None

    def _detail(self, e: "openai.APIStatusError") -> str:
        body: Any = e.body
        message = body.get("message") or body.get("detail") if isinstance(body, dict) else None
        text = str(message or e.message)
        if _quotes(text, _sent_by_person(e)):
            return "its explanation quotes the request and is left out"
        return text.replace(self._api_key, "…")[:_SHOWN]


def understood(reply: object, who: str, has: str, setting: str) -> Any:
    """What `reply`, a parsed answer, has under `has`; if it is no answer of the API, an error names `setting`.

    Whatever came with a 200 is handed over: a captive portal's HTML as a string, a router's error as an object.
    """
    said: Mapping[str, Any] = reply if isinstance(reply, dict) else {}
    if said.get(has) is not None:
        return said[has]
    if error := said.get("error"):
        code = str(error.get("code", "") if isinstance(error, dict) else "")
        shown = f" ({code})" if code.isalnum() else ""
        raise ModelUnavailable(f"{who} answered with an error{shown}", setting=setting)
    raise _no_api(who, setting)


def _no_api(who: str, setting: str) -> ModelDenied:
    return ModelDenied(f"What answered for {who} is no OpenAI-compatible API", setting=setting)


def _begun(request: Any) -> None:
    request.extensions["ends"] = time.monotonic() + request.extensions["timeout"]["read"]


def _bounded(stream: Callable[[Any, float, str], Any], setting: str, response: Any) -> None:
    """Hold an answer to its deadline as a whole, and to a size. What the HTTP client calls a timeout is between two
    bytes, and vendors that keep a connection alive with blank lines or comments never let it come."""
    response.stream = stream(response.stream, response.request.extensions["ends"], setting)


def _bounded_stream(http: ModuleType) -> Callable[[Any, float, str], Any]:
    """A class of streams for that HTTP client: httpx, or httpx2 since openai 3. Made once, which takes a while."""

    class Bounded(http.SyncByteStream):  # type: ignore[name-defined,misc]
        def __init__(self, stream: Any, ends: float, setting: str) -> None:
            self._stream, self._ends, self._setting = stream, ends, setting

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for part in self._stream:
                size += len(part)
                if time.monotonic() > self._ends:
                    raise ModelTimedOut("The model did not answer in time", setting=self._setting)
                if size > _LARGEST:
                    raise ModelError("The model's answer is far too long", setting=self._setting)
                yield part

        def close(self) -> None:
            self._stream.close()

    return Bounded


def _sent_by_person(e: "openai.APIStatusError") -> str:
    try:
        body = json.loads(e.request.content)
    except ValueError:
        return ""
    said = body.get("input") or [m["content"] for m in body.get("messages", []) if m["role"] == "user"][:1]
    return "\n".join(said)


def _quotes(explanation: str, sent: str) -> bool:
    """Whether some vendor quotes what a person said: a memory's text is nobody else's business."""
    plain = _ESCAPED.sub(lambda m: chr(int(m[1], 16)), explanation)
    return any(plain[i : i + _QUOTE] in sent for i in range(len(plain) - _QUOTE + 1))


def _why(e: "openai.APIConnectionError") -> str:
    """The operating system's words. Those of an HTTP library may quote the request's headers, and the key in them."""
    cause: BaseException | None = e
    while cause is not None and not (isinstance(cause, OSError) and cause.strerror):
        cause = cause.__cause__ or cause.__context__
    return f": {cause.strerror}" if isinstance(cause, OSError) else ""


def _retry_after(e: "openai.APIStatusError") -> float | None:
    """Seconds; the header holds them, or a date."""
    said = e.response.headers.get("retry-after", "")
    try:
        return float(said)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(said).timestamp() - time.time()
    except ValueError:
        return None
