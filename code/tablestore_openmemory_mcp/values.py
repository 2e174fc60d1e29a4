"""What every variable's value has in common, whatever it is for."""

import unicodedata

_INVISIBLE = "\ufeff\u200b\u2060"  # a byte order mark and blanks without width, which come along when a person copies


def trimmed(value: str) -> str:
    """`value` without what stands around it and means nothing: white space, line ends, invisible marks."""
    while (inner := value.strip().strip(_INVISIBLE)) != value:
        value = inner
    return value


def mistake(value: str, *, many_lines: bool) -> str | None:
    """Why `value` cannot be used, as the end of a sentence that does not quote it. `many_lines`: it is a text."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return "it holds bytes that are not UTF-8"
    if not many_lines and any(unicodedata.category(c) == "Cc" for c in value):
        return "it holds a line end or another control character"
    return None


def key_mistake(value: str) -> str | None:
    """The same for a key or a token, which travels in the header of a request."""
    if value.startswith("<") and value.endswith(">"):
        return "a placeholder stands where the key belongs"
    if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0]:
        return "it stands in quotation marks: leave them out"
    if not (value.isascii() and value.isprintable()):
        return "it holds a character that no key has"
    return None
