"""Reads and writes of rows: keys, conditions, filters, versions, batches. Knows tables, not the wire."""
