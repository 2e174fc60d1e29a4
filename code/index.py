"""Entry for Function Compute's built-in Python runtimes, which call a function per event instead of a port.

It serves stateless Streamable HTTP, /healthz and `s invoke` events; SSE needs the custom runtime, which streams.
"""

import functools
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).with_name("python")))  # where the package keeps its libraries

if TYPE_CHECKING:
    from tablestore_openmemory_mcp.composition import Composition


@functools.cache
def _composition() -> "Composition":
    from tablestore_openmemory_mcp.composition import Composition, check_place
    from tablestore_openmemory_mcp.server.logs import configure
    from tablestore_openmemory_mcp.settings import Settings

    settings = Settings.load(os.environ)
    check_place(settings)
    configure(settings.log_level)
    return Composition(settings)


def initialize(context: Any) -> None:
    """The instance's first hook; harmless when called again."""
    from tablestore_openmemory_mcp.fc.builtin_runtime import initialize

    initialize(_composition())


def handler(event: bytes | str, context: Any) -> dict[str, Any]:
    """Answer one event: an HTTP trigger's, or one of invocation.py's actions."""
    from tablestore_openmemory_mcp.fc.builtin_runtime import answer

    return answer(_composition(), json.loads(event or b"{}"), context)
