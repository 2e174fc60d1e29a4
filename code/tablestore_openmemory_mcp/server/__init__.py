"""The MCP side: transports, the door, the tools. Knows nothing of Mem0 or Tablestore; calls memory/ on worker threads.

app.py        the ASGI application: routes and middleware, nothing else
sse.py        GET /mcp/{client_name}/sse/{user_id} and POST /mcp/messages/, on sessions.py
http.py       stateless Streamable HTTP; negotiation.py reads Accept and Content-Type, cors.py answers browsers
stdio.py      the same tools over stdin and stdout: pipe.py the lines, parent.py who started us
calls.py      the MCP server object; tools.py says which tools there are, results.py what they answer, withholding.py
              what of an error only the operator reads
workers.py    bounded threads for blocking work
auth/         who may come in, and as whom
listening.py  the socket, before anything else is imported; serve.py the process: serve, drain
"""
