"""How memories are found: terms, lexical index, ranking, and what this process has worked out about each scope.
May import models."""
