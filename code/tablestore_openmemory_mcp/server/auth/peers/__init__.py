"""Whose a loopback connection is, as the operating system tells."""
