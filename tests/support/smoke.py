"""The shortest proof that a server works: `python -m support.smoke URL remember TEXT`, `... recall QUERY EXPECTED`."""

import sys

from .clients import over_sse


def main(url: str, what: str, text: str, expected: str = "") -> None:
    with over_sse(url) as client:
        if what == "remember":
            assert client.add(text)["results"][0]["event"] == "ADD"
        else:
            assert client.search(text)[0]["memory"] == expected
    print(f"{what}: ok")


main(*sys.argv[1:])
