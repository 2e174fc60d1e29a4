"""The LLM and the embedder: one endpoint, its dialects and failures, what is asked and how answers are read.
Knows nothing of scopes and memories."""
