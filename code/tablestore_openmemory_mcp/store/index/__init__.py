"""Large scopes: the search index, and the candidates that it proposes."""
