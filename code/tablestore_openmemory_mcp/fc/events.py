"""Function Compute's events as handler classes for Mangum (0.22): for the built-in runtimes, which serve no port.

Both turn an event into the request that the custom runtime would have got, trusted headers included, so that host.py
treats them alike. What a client sent under a trusted name is dropped.
"""

import base64
import json
from typing import Any
from urllib.parse import urlencode

from mangum.types import LambdaConfig, LambdaContext, LambdaEvent, Response, Scope

Headers = dict[str, str]


class HttpEvent:
    """An event of an HTTP trigger, version v1."""

    @classmethod
    def infer(cls, event: LambdaEvent, context: LambdaContext, config: LambdaConfig) -> bool:
        return (
            isinstance(event, dict)
            and event.get("version") == "v1"
            and "rawPath" in event
            and "http" in (event.get("requestContext") or {})
        )

    def __init__(self, event: LambdaEvent, context: LambdaContext, config: LambdaConfig) -> None:
        self._event = event
        self._context = context

    @property
    def body(self) -> bytes:
        body = self._event.get("body") or ""
        if self._event.get("isBase64Encoded"):
            return base64.b64decode(body)
        return str(body).encode()

    @property
    def scope(self) -> Scope:
        http = self._event["requestContext"]["http"]
        sent = {name.lower(): str(value) for name, value in (self._event.get("headers") or {}).items()}
        headers = {name: value for name, value in sent.items() if not name.startswith("x-fc-")}
        return {
            **_scope(headers | _trusted(self._context, "/http-invoke")),
            "method": http["method"],
            "path": http["path"],  # decoded; rawPath is as it was sent
            "raw_path": self._event["rawPath"].encode(),
            "query_string": urlencode(self._event.get("queryParameters") or {}).encode(),
            "client": (http.get("sourceIp", ""), 0),
        }

    def __call__(self, response: Response) -> dict[str, Any]:
        headers: Headers = {}
        for raw_name, raw_value in response["headers"]:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        try:
            body, encoded = response["body"].decode(), False
        except UnicodeDecodeError:
            body, encoded = base64.b64encode(response["body"]).decode(), True
        return {"statusCode": response["status"], "headers": headers, "isBase64Encoded": encoded, "body": body}


class Invocation:
    """Any other event: one of invocation.py's actions."""

    @classmethod
    def infer(cls, event: LambdaEvent, context: LambdaContext, config: LambdaConfig) -> bool:
        return True

    def __init__(self, event: LambdaEvent, context: LambdaContext, config: LambdaConfig) -> None:
        self._event = event
        self._context = context

    @property
    def body(self) -> bytes:
        return json.dumps(self._event).encode()

    @property
    def scope(self) -> Scope:
        at = {"method": "POST", "path": "/invoke", "raw_path": b"/invoke", "query_string": b"", "client": None}
        return {**_scope(_trusted(self._context, "/invoke")), **at}

    def __call__(self, response: Response) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(response["body"])
        return answer


def _scope(headers: Headers) -> Scope:
    return {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0", "spec_version": "2.0"},
        "scheme": headers.get("x-forwarded-proto", "https"),
        "root_path": "",
        "headers": [[name.encode("latin-1"), value.encode()] for name, value in headers.items()],
        "server": (headers.get("host", ""), 443),
    }


def _trusted(context: Any, control_path: str) -> Headers:
    """What the custom runtime learns from headers. Python 3.12's context has no credentials: they are in the
    environment there."""
    headers = {"x-fc-control-path": control_path, "x-fc-request-id": getattr(context, "request_id", "") or ""}
    if keys := getattr(context, "credentials", None):
        headers |= {
            "x-fc-access-key-id": keys.access_key_id or "",
            "x-fc-access-key-secret": keys.access_key_secret or "",
            "x-fc-security-token": keys.security_token or "",
        }
    return headers
