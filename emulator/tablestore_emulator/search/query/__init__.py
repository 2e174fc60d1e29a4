"""The search language: queries as values, which documents match them, and in which order. Imports `index`."""
