"""Serving events without a port, for code/index.py."""

from typing import Any

from mangum import Mangum

from ..composition import Composition
from ..server.app import App
from .events import HttpEvent, Invocation
from .host import Host
from .lifecycle import try_to_warm


def initialize(composition: Composition) -> None:
    """Load what the first event needs. Never fails; see lifecycle.py."""
    try_to_warm(composition.warm)


def answer(composition: Composition, event: Any, context: Any) -> dict[str, Any]:
    """What `event` (decoded JSON) gets. The application is made anew for each: what it holds belongs to one event loop,
    and Mangum runs one per event. What is dear, the clients and caches, is the composition's and stays."""
    app = App(composition.settings, composition, sse=False)
    mangum = Mangum(Host(app, composition), lifespan="on", custom_handlers=[HttpEvent, Invocation])
    return mangum(event, context)
