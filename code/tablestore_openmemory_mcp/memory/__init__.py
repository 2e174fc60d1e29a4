"""The memory service. Knows scopes, snapshots and commits of the store; nothing of MCP or HTTP servers.

service.py       the only door: add, search, list, get, update, delete, history, delete_all
add/             how an add becomes memories
search/          how memories are found
models/          the LLM and the embedder
mem0/            all that touches Mem0
unit_of_work.py  changes collected first and committed at once; writing.py commits them
"""
