"""Sockets, and what is bounded of a connection before a request reaches the application."""
