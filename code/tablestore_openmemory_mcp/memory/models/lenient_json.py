"""JSON as models write it: other quotes, inner quotes, commas too many, brackets too few, comments, a truncated end.

Linear in the text. Where a damaged string may end in two places, the text is refused: of a guess a broken memory would
be stored (json_repair makes "Improves tennis']}" of one wrong backslash, and takes 7 s for 20 KB of quotes).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_SPACE = re.compile(r"(?:[\s,，]|#[^\n]*|//[^\n]*|\.{3}|…)*+")  # between values; Mem0's prompt shows comments and "..."
_BLANK = re.compile(r"(?:\s|#[^\n]*|//[^\n]*)*+")
_CLOSING: Mapping[str, str] = {'"': '"', "'": "'", "“": "”", "”": "”", "‘": "’", "`": "`", "「": "」"}
_OPEN = re.compile(r"(\\?)([\"'“”‘`「])")
_ENDS = re.compile(r"[ \t]*+(?:[,，:：\]}\r\n]|$)")  # what follows the quote that ends a string
_BEFORE = re.compile(r"[,，:：\[{\"“”]\s*+$")  # what comes before a quote that begins one
_AFTER = re.compile(r"\s*+[,，:：\]}\"“”]")
_SEAM = re.compile(r"[\"'“”‘’]\s*+[,，:：]|[,，:：]\s*+\\?[\"'“”‘’]")  # where two strings may have become one
_WORD = re.compile(r"[^\W\d][\w-]*+")
_COLON = re.compile(r"\s*+[:：]")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")
_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "null": None, "none": None, "nan": None}
_ESCAPES: Mapping[str, str] = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_BRACKET = re.compile(r"[{\[]")
_TORN = re.compile(r"[\]}][\s`]*+$")  # an answer that was cut off does not end like this
_FAILURES = 500  # brackets from which nothing can be read
_SHOWN = 20  # characters before a quote that are looked at


class Damaged(ValueError):
    """What is meant cannot be told for certain. `str(e)` tells the model what is wrong with its answer."""


def values(text: str) -> Iterator[Any]:
    """The objects and lists in `text` that are inside no other, in order. Raises Damaged.

    A bracket of the prose around them is passed over: it holds no quoted text.
    """
    at, failures = 0, 0
    while failures < _FAILURES and (bracket := _BRACKET.search(text, at)):
        reader = _Reader(text, bracket.start())
        try:
            yield reader.value()
            at = reader.at
        except Damaged:
            if reader.strings:
                raise
            at = bracket.end()
            failures += 1


class _Reader:
    """Never looks at a character more than a few times; recursion is as deep as the brackets."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self.at = at
        self.strings = 0  # read so far

    def value(self) -> Any:
        self._skip(_BLANK)
        here = self._text[self.at : self.at + 1]
        if here == "{":
            return self._object()
        if here == "[":
            return self._list()
        if quote := _OPEN.match(self._text, self.at):
            return self._string(quote)
        if number := _NUMBER.match(self._text, self.at):
            self.at = number.end()
            return float(number[0]) if set(number[0]) & set(".eE") else int(number[0][:300])
        word = _WORD.match(self._text, self.at)
        if word and word[0].lower() in _CONSTANTS:
            self.at = word.end()
            return _CONSTANTS[word[0].lower()]
        raise Damaged("a text in it has no quotes")

    def _object(self) -> dict[str, Any]:
        self.at += 1
        found: dict[str, Any] = {}
        while self._more("}"):
            if self._text[self.at] == "]":  # one too many
                self.at += 1
                continue
            key = self._key()
            colon = _COLON.match(self._text, self.at)
            if colon is None:
                if self.at == len(self._text):
                    break  # truncated inside a key
                raise Damaged("a key in it has no value")
            self.at = colon.end()
            self._skip(_BLANK)
            if self.at == len(self._text):
                break
            found[key] = self.value()
        return found

    def _list(self) -> list[Any]:
        self.at += 1
        found: list[Any] = []
        while self._more("]"):
            if self._text[self.at] == "}":
                break  # the list's own bracket is missing; this one is its object's
            found.append(self.value())
        return found

    def _more(self, closing: str) -> bool:
        """Whether another item follows; past the `closing` bracket if that is what follows."""
        self._skip(_SPACE)
        if self._text.startswith(closing, self.at):
            self.at += 1
            return False
        return self.at < len(self._text)

    def _key(self) -> str:
        if quote := _OPEN.match(self._text, self.at):
            return self._string(quote)
        word = _WORD.match(self._text, self.at) or _NUMBER.match(self._text, self.at)
        if word is None:
            raise Damaged("a key in it has no quotes")
        self.at = word.end()
        return word[0]

    def _string(self, opening: re.Match[str]) -> str:
        """The string after its `opening` quote; to the end of the text if nothing closes it."""
        escaped, quote = bool(opening[1]), _CLOSING[opening[2]]
        begin = at = opening.end()
        self.strings += 1
        marks = _marks(quote)
        inner = 0
        while mark := marks.search(self._text, at):
            at = mark.end()
            closes = mark[0] == (f"\\{quote}" if escaped else quote)
            if closes and _ENDS.match(self._text, at):
                self.at = at
                if inner % 2:
                    raise Damaged("a quote in a text of it is not escaped")
                return self._whole(begin, mark.start())
            if closes:
                inner += quote != "'" or not _is_apostrophe(self._text, mark)
                self._refuse_a_border(mark)
        if _TORN.search(self._text[-_SHOWN:]):
            raise Damaged("a text in it has no closing quote")
        self.at = len(self._text)
        return _unescaped(self._text[begin:])

    def _whole(self, begin: int, end: int) -> str:
        said = self._text[begin:end]
        edges = {said.lstrip(" \\")[:1], said.rstrip()[-1:]}
        escaped = re.match(r"\\[\"'“]", said) or re.search(r"\\[\"'”]$", said)
        odd = escaped or any(quote in edges and said.count(quote) % 2 for quote in "\"'`")
        if odd or said.count("“") != said.count("”") or _SEAM.search(said):
            raise Damaged("where a text in it ends cannot be told")
        return _unescaped(said)

    def _refuse_a_border(self, mark: re.Match[str]) -> None:
        """A quote inside a string, where another string might begin or end."""
        before = self._text[max(0, mark.start() - _SHOWN) : mark.start()]
        if _BEFORE.search(before) or _AFTER.match(self._text, mark.end()):
            raise Damaged("where a text in it ends cannot be told")

    def _skip(self, what: re.Pattern[str]) -> None:
        found = what.match(self._text, self.at)
        if found:
            self.at = found.end()


def _marks(quote: str) -> re.Pattern[str]:
    return re.compile(rf"\\.|{re.escape(quote)}", re.DOTALL)


def _is_apostrophe(text: str, mark: re.Match[str]) -> bool:
    return text[mark.start() - 1 : mark.start()].isalnum() and text[mark.end() : mark.end() + 1].isalnum()


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda m: chr(int(m[1], 16)) if m[1] else _ESCAPES.get(m[2], m[2]), text)
