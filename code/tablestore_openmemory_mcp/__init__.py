"""Long-term memory for MCP clients: Mem0 as the engine, Alibaba Cloud Tablestore as the store."""

import os

__version__ = "2.0.0"  # pyproject.toml says the same; metadata does not exist where the folder is copied

# numpy reads it once, when it is imported. A server multiplies small matrices on many threads of its own; OpenBLAS then
# wakes more for each, which wait for each other in a loop: an add took three times the CPU.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
