"""HTTP: connections, and the server that answers on them."""
