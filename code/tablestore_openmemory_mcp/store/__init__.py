"""Tablestore: every call of its SDK lives in this package. It knows scopes and commits; nothing of MCP or Mem0."""
