"""What the built-in runtime does: load index.py once, then call it per event. One JSON line in, one out."""

import importlib.util
import json
import sys
from types import SimpleNamespace


def main(index: str) -> None:
    spec = importlib.util.spec_from_file_location("index", index)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for number, line in enumerate(sys.stdin):
        answer = module.handler(line.encode(), SimpleNamespace(request_id=f"1-event-{number}"))
        print("answer", json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
