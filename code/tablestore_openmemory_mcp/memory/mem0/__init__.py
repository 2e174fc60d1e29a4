"""All that touches Mem0: its `add` with our step inside, and our store, history and models in its protocols."""
