"""A stand-in for a model, to try an agent with its tools where there is no model: python fake_llm.py [PORT]

It speaks OpenAI's chat completions on 127.0.0.1 and prints its base URL. Told "Use add_memories with text = I like
tea.", it calls the tool that it was offered under that name (agents put a prefix before it), and then repeats what the
tool answered. What it was offered, and what the tools answered, it prints as JSON, one line per request.
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "fake-model"
WISH = re.compile(r"Use (\w+)(?: with (\w+) = ([^.]+))?\.")
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def text_of(content: Any) -> str:
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content or [] if isinstance(part, dict))


def answer(request: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The assistant's message, and why it ends."""
    messages = request.get("messages", [])
    offered = [tool.get("function", tool).get("name", "") for tool in request.get("tools") or []]
    results = [text_of(message["content"]) for message in messages if message["role"] == "tool"]
    print(json.dumps({"offered": offered, "results": results}, ensure_ascii=False), flush=True)
    if results:
        return {"role": "assistant", "content": f"The tool answered: {results[-1]}"}, "stop"
    said = " ".join(text_of(message.get("content")) for message in messages if message["role"] == "user")
    wish = WISH.search(said)
    name = next((name for name in offered if wish and name.endswith(wish[1])), None)
    if not wish or not name:
        return {"role": "assistant", "content": "I was offered no such tool."}, "stop"
    arguments = {wish[2]: wish[3]} if wish[2] else {}
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The list of models, wherever it is looked for."""
        models = [{"id": MODEL, "object": "model", "created": 1, "owned_by": "nobody"}]
        self._reply(json.dumps({"object": "list", "data": models}).encode(), "application/json")

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        message, why = answer(request)
        head = {"id": "completion", "created": 1, "model": MODEL}
        if not request.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": why}
            whole = {**head, "object": "chat.completion", "choices": [choice], "usage": USAGE}
            self._reply(json.dumps(whole).encode(), "application/json")
            return
        head["object"] = "chat.completion.chunk"
        chunks: list[dict[str, Any]] = [
            {**head, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
            {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": why}]},
            {**head, "choices": [], "usage": USAGE},
        ]
        events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        self._reply("".join([*events, "data: [DONE]\n\n"]).encode(), "text/event-stream")

    def _reply(self, body: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
