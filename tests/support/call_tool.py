"""A client as a process: `python -m support.call_tool URL TOOL [ARGUMENT=VALUE ...]` prints what the tool says."""

import sys

from .clients import over_sse


def main(url: str, tool: str, *arguments: str) -> int:
    with over_sse(url) as client:
        answer = client.call(tool, **dict(argument.split("=", 1) for argument in arguments))
    print(answer.text)
    return int(answer.failed)


raise SystemExit(main(*sys.argv[1:]))
