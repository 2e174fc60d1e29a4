"""HTTP+SSE: the endpoint, its sessions, and the relay that carries a message to the instance that holds the stream."""
