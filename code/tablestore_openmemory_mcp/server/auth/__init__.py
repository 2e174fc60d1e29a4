"""Who may come in, and as whom.

middleware.py      the ASGI middleware that asks the others and answers 401, 403
authenticators.py  one per MCP_AUTH: local, token, issuer, anonymous
local.py           who needs no token: this machine's own user, and nobody who comes through a proxy
peers/             whether the program at the other end is that user's, by the operating system's word
origin.py          pages in a browser that try to talk to us
"""
