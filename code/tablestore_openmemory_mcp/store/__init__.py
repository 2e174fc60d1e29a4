"""Tablestore: tables, memories, history, sessions, credentials. All calls of its SDK are made here."""

import logging

# The SDK (6.4.8) warns at import, on stderr, that it has no C++ codec for this interpreter.
logging.getLogger("tablestore").setLevel(logging.ERROR)
