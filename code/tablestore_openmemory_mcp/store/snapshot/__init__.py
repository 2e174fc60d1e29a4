"""Exact snapshots of a scope: loading, refreshing by the ring, the cache that bounds them."""
