"""Texts at the border: what the caller may pass, and what of a model's output is kept."""

from ..errors import InvalidInput
from ..unicode_normalization import normalized

_SPACE = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\u1680\u2028\u2029"  # what NFKC leaves of white space
_QUOTES = "\"'“”‘’「」"
_END_MARKS = _SPACE + _QUOTES + ".,;:!?。，、；：！？…~～"  # neither + nor #: C, C++ and C# differ


def checked_text(text: str, what: str, limit: int) -> str:
    """`text` in Unicode NFC without outer white space. Raises InvalidInput, naming `what`, if it cannot be taken."""
    rule = f"accepted: 1 to {limit:,} characters of valid Unicode, not only white space"
    if "\x00" in text:
        raise InvalidInput(f"The {what} holds a NUL character; {rule}.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"The {what} holds a lone surrogate; {rule}.") from None
    if len(text) > limit:
        raise InvalidInput(f"The {what} has {len(text):,} characters; {rule}.", setting="MAX_TEXT_LENGTH")
    checked = normalized("NFC", text).strip()
    if not checked:
        raise InvalidInput(f"The {what} is empty; {rule}.")
    return checked


def repaired_text(text: str) -> str:
    """What a model wrote, fit to be stored: surrogate pairs joined, lone ones and NULs dropped, outer space gone."""
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")
    return normalized("NFC", joined.replace("\x00", "")).strip()


def likeness_key(text: str) -> str:
    """Equal for texts that differ only in the marks at their ends, width, white space, or a word's first capital.

    The case inside a word is kept: FOO_BAR and foo_bar are what a coding preference is about.
    """
    folded = normalized("NFKC", text).lstrip(_SPACE + _QUOTES).rstrip(_END_MARKS)
    return " ".join(word.lower() if word.istitle() else word for word in folded.split())
