"""The commands besides serving: what an operator runs by hand. May import everything; nothing imports it but cli.py."""
