"""Long-term memory for MCP clients: Mem0 as the engine, Alibaba Cloud Tablestore as the store."""

__version__ = "2.0.0"  # pyproject.toml says the same; metadata does not exist where the folder is copied
