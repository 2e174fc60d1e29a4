"""The commit protocol: the head row, the redo record, the rows, and the sweeping of what is deleted."""
