"""The commands besides serving: what an operator runs by hand. May import everything; nothing imports it but cli.py.

catalogue.py  which commands there are. Each has a module of its own, imported only when it is asked for
session.py    what a command is run with: the settings, the store and the memory service, built when first needed
terminal.py   what a person or a script reads: lines, JSON, a progress bar
"""
