"""The MCP tools: their schemas, how a call is run on the worker pools, and how its result is written."""
