"""What a person or a script reads of a command: lines or JSON on stdout; progress and complaints on stderr."""

import json
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


class Terminal:
    """Prints. A progress bar is drawn on a terminal alone, never into a file or a pipe."""

    def say(self, text: str) -> None:
        """A line, or several, on stdout."""
        print(text, flush=True)

    def complain(self, text: str) -> None:
        """A line on stderr."""
        print(text, file=sys.stderr, flush=True)

    def confirm(self, question: str) -> bool:
        """Whether a person says yes. False without asking where there is none: in a script, at the end of a pipe."""
        if not sys.stdin.isatty():
            return False
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def json(self, value: Any) -> None:
        """One JSON document on stdout."""
        print(json.dumps(value, ensure_ascii=False, indent=2), flush=True)

    def progress(self, items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
        """`items`, with a bar on stderr while they are taken. `what`: "Reading the old table"."""
        from tqdm import tqdm

        return tqdm(items, desc=what, total=total, disable=None, leave=False)


def shown(name: str) -> str:
    """`name` as a terminal may be given it: what others stored may hold anything."""
    sound = name.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in sound)
