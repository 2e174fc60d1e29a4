"""Tablestore: every call of its SDK lives in this package. It knows scopes and commits; nothing of MCP or Mem0."""

import logging

# The SDK (6.4.8) warns at import, on stderr, that it has no C++ codec for this interpreter.
logging.getLogger("tablestore").setLevel(logging.ERROR)
