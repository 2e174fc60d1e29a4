"""`tablestore-openmemory-mcp migrate`: what release 1.x remembered, taken over into this memory.

command.py    the arguments, and what is printed
takeover.py   one pass over the old table: what is brought, what is not, and why
scope_state.py  what a scope holds and has taken over, while rows arrive
vectors.py    whether the old vectors are of the present model; new ones
findings.py   what was found, per scope and per row, as text and as JSON
"""
