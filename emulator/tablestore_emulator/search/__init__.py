"""The search index: analysis, inverted lists, vectors, queries, sorting, replicas that lag.

`service.service.SearchService` is the only door for the rest of the emulator; `search_index.SearchIndex` is the engine,
usable and tested on its own. `service` imports `search_index`, that imports `query`, and that imports `index`. What a
part of the search language does, and what is left out, is listed in emulator/SEARCH.md.
"""
