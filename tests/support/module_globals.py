"""Imports every module of the project, in a process of its own, and prints as JSON what their globals hold.

`python -m support.module_globals`: how many globals there are, which of them hold a client, which are cached functions.
"""

import dataclasses
import datetime
import enum
import importlib
import json
import logging
import re
import struct
import types
from contextvars import ContextVar
from operator import attrgetter

import numpy as np
from mcp_types import ToolAnnotations
from pydantic import TypeAdapter
from starlette.responses import PlainTextResponse

from support.imports import sources

# Values of others that hold no connection, and that nobody changes.
_INERT = (
    np.ndarray,
    ToolAnnotations,
    TypeAdapter,
    PlainTextResponse,
    struct.Struct,
    ContextVar,
    logging.Logger,
    attrgetter,
    json.JSONEncoder,
)
_PLAIN = (str, int, float, bytes, range, re.Pattern, enum.Enum, datetime.date, datetime.tzinfo, datetime.timedelta)
_CODE = (types.ModuleType, type, types.FunctionType, types.BuiltinFunctionType)


def holds_a_client(value: object) -> bool:
    """Whether anything in `value` is an object that is neither a plain value nor code."""
    if value is None or isinstance(value, (*_PLAIN, *_CODE, *_INERT)) or _is_of_typing(value) or _is_cached(value):
        return False
    if isinstance(value, dict):
        return any(holds_a_client(part) for pair in value.items() for part in pair)
    if isinstance(value, tuple | list | set | frozenset):
        return any(map(holds_a_client, value))
    if dataclasses.is_dataclass(value) and getattr(type(value), "__dataclass_params__").frozen:  # noqa: B009 - untyped
        return any(holds_a_client(getattr(value, field.name)) for field in dataclasses.fields(value))
    return f"{type(value).__module__}.{type(value).__name__}" != "mem0.configs.base.MemoryConfig"  # words and numbers


def _is_of_typing(value: object) -> bool:
    return type(value).__module__ in ("typing", "types", "collections.abc", "__future__")


def _is_cached(value: object) -> bool:
    return hasattr(value, "cache_info")


def main() -> None:
    names = [name for name in sources() if not name.endswith("__main__") and name != "index"]
    held = [
        (f"{module}.{name}", value)
        for module in names
        for name, value in vars(importlib.import_module(module)).items()
        if not name.startswith("__")
    ]
    clients = [name for name, value in held if holds_a_client(value)]
    cached = [name for name, value in held if _is_cached(value)]
    print(json.dumps({"globals": len(held), "clients": clients, "cached": cached}))


if __name__ == "__main__":
    main()
