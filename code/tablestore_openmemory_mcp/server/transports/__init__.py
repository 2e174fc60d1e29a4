"""How a client speaks to us: Streamable HTTP, stdio and, in sse/, the older HTTP+SSE. Knows the tools alone."""
