"""How an add becomes memories: facts are extracted, compared with what is there, decided on, and staged as one unit of
work. May import models, search and the rest of memory."""
