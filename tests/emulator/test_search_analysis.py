"""Cutting text into tokens, dates, and minimum_should_match."""

import pytest

from tablestore_emulator.errors import OtsError
from tablestore_emulator.search.index.analysis import FUZZY_LIMIT, tokens
from tablestore_emulator.search.index.dates import check_format, milliseconds
from tablestore_emulator.search.query.minimum_should_match import required
from tablestore_emulator.search.schema import Analyzer

DAY = 86_400_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("杭州", ["杭", "州"]),
        ("Hang Zhou", ["hang", "zhou"]),
        ("我住在 Hangzhou，2026年", ["我", "住", "在", "hangzhou", "2026", "年"]),
        ("𠀀 is one character beyond the BMP", ["𠀀", "is", "one", "character", "beyond", "the", "bmp"]),
        ("カタカナ한글", list("カタカナ한글")),
        ("naïve café, Straße!", ["naïve", "café", "straße"]),
        ("iPhone15", ["iphone15"]),
        ("  ,.!?  ", []),
        ("", []),
    ],
)
def test_single_word_cuts_chinese_into_characters_and_the_rest_into_lower_case_words(
    text: str, expected: list[str]
) -> None:
    assert tokens(Analyzer(), text) == expected


def test_single_word_options() -> None:
    assert tokens(Analyzer(case_sensitive=True), "Hang Zhou") == ["Hang", "Zhou"]
    assert tokens(Analyzer(delimit_word=True), "iPhone15Pro") == ["iphone", "15", "pro"]


def test_split_cuts_at_white_space_or_at_its_delimiter() -> None:
    assert tokens(Analyzer("split"), "A b\tC  d") == ["a", "b", "c", "d"]
    assert tokens(Analyzer("split", delimiter=","), "a b,C,,d") == ["a b", "c", "d"]
    assert tokens(Analyzer("split", delimiter="\\#"), "a#b") == ["a", "b"]


@pytest.mark.parametrize("name", ["min_word", "max_word"])
def test_the_dictionary_analyzers_are_approximated_by_pairs(name: str) -> None:
    assert tokens(Analyzer(name), "菊花茶 Tea 茶") == ["菊花", "花茶", "tea", "茶"]


def test_fuzzy_makes_grams_of_every_size_from_the_first_characters() -> None:
    assert tokens(Analyzer("fuzzy", min_chars=1, max_chars=2), "aB c") == ["a", "b", " ", "c", "ab", "b ", " c"]
    assert len(tokens(Analyzer("fuzzy", min_chars=3, max_chars=3), "x" * 5000)) == FUZZY_LIMIT - 2


@pytest.mark.parametrize(
    ("value", "formats", "expected"),
    [
        ("1970-01-02", ("yyyy-MM-dd",), DAY),
        ("1970-01-2", ("yyyy-MM-dd",), None),  # strict, as the official SDK's test shows
        ("1970-02-30", ("yyyy-MM-dd",), None),
        ("1970-01-02 00:00:01", ("yyyy-MM-dd", "yyyy-MM-dd HH:mm:ss"), DAY + 1000),
        ("1970-01-01T00:00:00.123456", ("yyyy-MM-dd'T'HH:mm:ss.SSSSSS",), 123),
        ("1970-01-01T08:00:00.5+08:00", ("yyyy-MM-dd'T'HH:mm:ss.SX",), 500),
        ("1969-12-31T23:59:59.000Z", (), -1000),
        (12, ("epoch_second",), 12_000),
        ("12", ("epoch_millis",), 12),
        (True, ("epoch_millis",), None),
        (b"12", ("epoch_millis",), None),
    ],
)
def test_dates(value: str | int | bytes, formats: tuple[str, ...], expected: int | None) -> None:
    assert milliseconds(value, formats) == expected


def test_a_date_format_that_is_not_understood_is_refused_when_the_index_is_made() -> None:
    with pytest.raises(OtsError, match="OTSUnsupportOperation"):
        check_format("yyyy-'W'ww")


@pytest.mark.parametrize(
    ("form", "clauses", "expected"),
    [("2", 5, 2), ("-1", 5, 4), ("75%", 5, 3), ("-25%", 5, 4), ("9", 5, 5), ("-9", 5, 0), ("0", 5, 0), ("0%", 5, 0)],
)
def test_minimum_should_match(form: str, clauses: int, expected: int) -> None:
    assert required(form, clauses) == expected


def test_a_minimum_that_is_no_number_is_refused() -> None:
    with pytest.raises(OtsError, match="minimum_should_match"):
        required("2<75%", 3)
