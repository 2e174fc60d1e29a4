"""The content of an index: documents by number, and a field of each kind with its inverted lists. Knows no query."""
