"""Tablestore's wire formats: plain buffer, protocol buffers, signatures, and the list of actions."""
