"""Tablestore: every call of its SDK lives in this package. It knows scopes and commits; nothing of MCP or Mem0.

store.py     the only door; scope_store.py what it does for one scope; model.py the values that pass
client/      the SDK, behind one gateway
commit/      the commit protocol
snapshot/    exact copies of a scope
index/       the search index of large scopes
"""

import logging

# The SDK (6.4.8) warns at import, on stderr, that it has no C++ codec for this interpreter.
logging.getLogger("tablestore").setLevel(logging.ERROR)
