"""The door: who may come in, and as whom.

local.py   who needs no token: this machine's own user, and nobody who comes through a proxy
peers.py   whether the program at the other end is that user's, by the operating system's word
origin.py  pages in a browser that try to talk to us
door.py    the middleware that asks these and answers 401, 403
"""
