"""What is on the disk: the engine over SQLite, damage and full disks, upkeep, the dump."""
