"""What a person is told at the start: the banner, and the blocks to paste into a client."""
