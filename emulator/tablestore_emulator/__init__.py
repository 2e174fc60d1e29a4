"""A local Alibaba Cloud Tablestore on the real wire protocol. Knows nothing of the memory server."""
