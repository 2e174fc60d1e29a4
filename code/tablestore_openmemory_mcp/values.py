"""How the values of variables are read, whatever they are for."""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MIN_SECRET = 32  # characters
MIN_DIFFERENT = 8  # of them: "xxxx…" is long, but no secret
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


def json_list(value: Any) -> Any:
    """What a variable holds as JSON. Raises ValueError."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('write a JSON list of strings, such as ["delete_all_memories"]') from None


def switch(value: Any) -> Any:
    """Whether a variable that may be "auto" is on. Raises ValueError."""
    if not isinstance(value, str):
        return value
    meant = value.lower()
    if meant in ("true", "1", "yes", "on", "y", "t"):  # what pydantic takes for true
        return True
    if meant in ("false", "0", "no", "off", "n", "f"):
        return False
    if meant != "auto":
        raise ValueError("write auto, true or false")
    return meant


def folder(value: Any) -> Any:
    """A variable's path, absolute, with ~ resolved. Raises ValueError."""
    if not isinstance(value, str):
        return value
    try:
        return Path(value).expanduser().absolute()  # what is printed to be pasted holds in any working directory
    except RuntimeError:
        raise ValueError(f"{value} names a user that this machine does not know") from None


def weak_secrets(signing: Sequence[str], mint_key: str | None, *, given: bool) -> list[str]:
    """What is wrong with the secrets of MCP_AUTH_SECRET, which was `given`, and with MCP_MINT_KEY; quotes neither."""
    named = [("MCP_AUTH_SECRET", secret) for secret in signing] + [("MCP_MINT_KEY", mint_key)]
    advice = f"{MIN_SECRET} characters at least, as `openssl rand -base64 32` gives"
    wrong = [
        f"{name} is too {'short' if len(secret) < MIN_SECRET else 'simple'}: {advice}."
        for name, secret in named
        if secret is not None and (len(secret) < MIN_SECRET or len(set(secret)) < MIN_DIFFERENT)
    ]
    if given and not signing:
        wrong.append(f"MCP_AUTH_SECRET holds no secret: {advice}.")
    if mint_key is not None and mint_key in signing:
        wrong.append("MCP_MINT_KEY must not be MCP_AUTH_SECRET: the signing secret is sent to nobody.")
    return wrong


def sentence(error: Any, names: Mapping[str, str], hints: Mapping[str, str]) -> str:
    """One of pydantic's errors, as a sentence. `names`: of the variables that fields were read from, where they are not
    the fields' own; `hints`: what to write, by field."""
    if not error["loc"]:  # from a validator of the whole: already sentences
        return str(error["msg"]).removeprefix("Value error, ")
    field = str(error["loc"][0])
    name = names.get(field, field.upper())
    if error["type"] == "string_pattern_mismatch":
        return f"{name} cannot be used: write {hints[field]}."
    what = str(error["msg"]).removeprefix("Value error, ")
    return f"{name} cannot be used: {what[0].lower()}{what[1:].rstrip('.')}."
