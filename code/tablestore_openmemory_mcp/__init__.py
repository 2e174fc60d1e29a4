"""Long-term memory for MCP clients: Mem0 as the engine, Alibaba Cloud Tablestore as the store."""
