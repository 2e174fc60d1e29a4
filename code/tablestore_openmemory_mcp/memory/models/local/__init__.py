"""An embedder in this process: needs no key and no network."""
