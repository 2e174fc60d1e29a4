"""Drives MCP Inspector's command line, one process per request: python inspector.py NODE INSPECTOR [OPTION...]."""

import json
import subprocess
import sys
from typing import Any

PROGRAM = sys.argv[1:3]
OPTIONS = sys.argv[3:]
listed: dict[str, list[str]] = {}


def ask(connection: dict[str, Any], *method: str) -> Any:
    if connection["transport"] == "stdio":
        env = [part for name, value in connection["env"].items() for part in ("-e", f"{name}={value}")]
        command = [*PROGRAM, "--cli", *env, *method, "--", *connection["command"]]
    else:
        url = [connection["url"], "--transport", connection["transport"], *OPTIONS]
        command = [*PROGRAM, "--cli", *url, *method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    # 5: the tool answered that it failed; the answer is printed all the same.
    if done.returncode not in (0, 5):
        raise SystemExit(f"{command}\n{done.returncode}\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout)


def run(connection: dict[str, Any]) -> dict[str, Any]:
    where = json.dumps({**connection, "calls": None})
    if where not in listed:  # a connection that was opened before: each request is a new process anyhow
        listed[where] = [tool["name"] for tool in ask(connection, "--method", "tools/list")["tools"]]
    results = []
    for name, arguments in connection["calls"]:
        given = ["--tool-args-json", json.dumps(arguments)] if arguments else []
        result = ask(connection, "--method", "tools/call", "--tool-name", name, *given)
        texts = [block["text"] for block in result["content"]]
        results.append({"error": result.get("isError", False), "texts": texts})
    return {"tools": listed[where], "results": results}


print(json.dumps([run(connection) for connection in json.load(sys.stdin)]))
