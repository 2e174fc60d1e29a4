"""The table of release 1.x: read for `migrate`, counted for the notice, and deleted from by `erase --include-1x` alone.

table.py   the table: is it there, its rows, how many of them
row.py     what a row says, and what is odd about it
record.py  which of its rows were taken over, kept in `_sessions`
"""
