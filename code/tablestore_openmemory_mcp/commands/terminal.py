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

    def json(self, value: Any) -> None:
        """One JSON document on stdout."""
        print(json.dumps(value, ensure_ascii=False, indent=2), flush=True)

    def progress(self, items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
        """`items`, with a bar on stderr while they are taken. `what`: "Reading the old table"."""
        from tqdm import tqdm

        return tqdm(items, desc=what, total=total, disable=None, leave=False)
