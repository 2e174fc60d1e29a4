"""The MCP side: transports, tools, who may come in. Knows nothing of Mem0 or Tablestore; calls memory/ on threads.

app.py      the ASGI application: routes and middleware, nothing else
listening/  sockets, bounds of a connection, and the process: serve, drain
auth/       who may come in, and as whom; identity.py whose memory it is
transports/ Streamable HTTP, SSE, stdio
tools/      which tools there are, how a call runs, what it answers
startup/    what a person is told at the start
"""
