"""One OpenAI-compatible endpoint: the client, retries within a deadline, errors that name the variable to look at."""

import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ModelDenied, ModelError, ModelUnavailable

if TYPE_CHECKING:
    import openai

T = TypeVar("T")
logger = logging.getLogger(__name__)

RETRY_SECONDS = 20.0  # failed attempts are repeated this long; a slow answer may take until the deadline
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0
_UNPAID = re.compile(r"insufficient.?(quota|balance)|exceeded your current quota|arrear|overdue|good standing|billing")
_QUOTE = 12  # characters in common that make a quotation
_SHOWN = 200  # characters of a vendor's explanation that reach the person


class Refused(Exception):
    """400 or 422: the endpoint does not take this request as it is. `str(e)` is its explanation, in lower case."""

    def __init__(self, explanation: str, detail: str) -> None:
        super().__init__(explanation.lower())
        self.detail = detail


class Endpoint:
    """Shared by all threads. The SDK is imported and the client built at the first call."""

    def __init__(self, api_key: str, base_url: str | None) -> None:
        self._api_key = api_key
        self._base_url = base_url
        self._client: openai.OpenAI | None = None
        self._lock = threading.Lock()

    def call(self, who: str, setting: str, request: Callable[["openai.OpenAI", float], T], deadline: float) -> T:
        """`request(client, timeout in s)`, repeated while that makes sense before `deadline` (time.monotonic()).

        `who` ("The LLM") and `setting` ("LLM_MODEL") go into the message. Raises Refused for the caller to adapt to,
        ModelDenied, ModelUnavailable or ModelError.
        """
        client = self._connect()
        import openai

        give_up = min(deadline, time.monotonic() + RETRY_SECONDS)
        pause = _FIRST_PAUSE
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise ModelUnavailable(f"{who} did not answer in time", setting="OPENAI_BASE_URL")
            try:
                return request(client, remaining)
            except openai.APITimeoutError:
                raise ModelUnavailable(f"{who} did not answer in time", setting="OPENAI_BASE_URL") from None
            except openai.APIConnectionError:
                failure, asked = ModelUnavailable(f"{who} cannot be reached", setting="OPENAI_BASE_URL"), None
            except openai.APIStatusError as e:
                failure, asked = self._judge(e, who, setting), _retry_after(e)
            except openai.APIError as e:  # the stream broke off, or held an error event
                failure, asked = ModelUnavailable(f"{who} broke off its answer", setting=setting), None
                logger.info("%s: %s", who, type(e).__name__)
            wait = asked if asked is not None else pause * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries
            if time.monotonic() + wait >= give_up:
                raise failure
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """Let go of the connections; a later call connects anew."""
        with self._lock:
            client, self._client = self._client, None
        if client:
            client.close()

    def _connect(self) -> "openai.OpenAI":
        with self._lock:
            if self._client is None:
                import openai

                # Retries are ours: the SDK's own know no deadline.
                self._client = openai.OpenAI(api_key=self._api_key, base_url=self._base_url, max_retries=0)
            return self._client

    def _judge(self, e: "openai.APIStatusError", who: str, setting: str) -> ModelUnavailable:
        """The failure to report if time runs out, when another attempt may help; raises when none will."""
        status, detail = e.status_code, self._detail(e)
        said = f"{detail} {getattr(e, 'code', '')}".lower()
        if status in (400, 402, 403, 429) and _UNPAID.search(said):
            raise ModelDenied(f"{who}'s account has no quota left ({status})", setting="OPENAI_API_KEY") from None
        if status in (401, 403):
            raise ModelDenied(f"{who} refused the key ({status})", setting="OPENAI_API_KEY") from None
        if status == 404:
            message = f"{who} was not found at this address (404): the model's name or the URL is wrong"
            raise ModelDenied(message, setting=f"{setting} and OPENAI_BASE_URL") from None
        if status in (400, 422):
            raise Refused(said, detail) from None
        if status in (408, 409, 429) or status >= 500:
            why = "is throttling" if status == 429 else "is failing"
            return ModelUnavailable(f"{who} {why} ({status})", setting=setting)
        raise ModelError(f"{who} refused the request ({status}): {detail}", setting=setting) from None

    def _detail(self, e: "openai.APIStatusError") -> str:
        body: Any = e.body
        message = body.get("message") if isinstance(body, dict) else None
        text = str(message or e.message)
        if _quotes(text, _sent_by_person(e)):
            return "its explanation quotes the request and is left out"
        return text.replace(self._api_key, "…")[:_SHOWN]


def understood(reply: Any, who: str) -> Any:
    """`reply`, if it is an answer of the API. The SDK hands over a captive portal's HTML as a string."""
    if isinstance(reply, str):
        raise ModelError(f"What answered for {who} is no OpenAI-compatible API", setting="OPENAI_BASE_URL")
    return reply


def _sent_by_person(e: "openai.APIStatusError") -> str:
    try:
        body = json.loads(e.request.content)
    except ValueError:
        return ""
    said = body.get("input") or [m["content"] for m in body.get("messages", []) if m["role"] == "user"][:1]
    return "\n".join(said)


def _quotes(explanation: str, sent: str) -> bool:
    """Whether some vendor quotes what a person said: a memory's text is nobody else's business."""
    return any(explanation[i : i + _QUOTE] in sent for i in range(len(explanation) - _QUOTE + 1))


def _retry_after(e: "openai.APIStatusError") -> float | None:
    try:
        return max(0.0, float(e.response.headers.get("retry-after", "")))
    except ValueError:
        return None
