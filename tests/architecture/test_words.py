"""One word for one thing: words that the glossary retires do not come back."""

import re
from pathlib import Path
from typing import Final

import pytest

from tree import ROOT, files, place

GLOSSARY: Final = ROOT / "docs/glossary.md"
RETIRED: Final = {
    "doubt": "uncertain claim",
    "doubts": "uncertain claims",
    "freed": "released, or unblocked",
    "gave_back": "released",
    "give_back": "release",
    "given_back": "released",
    "gives_back": "releases",
    "hurt": "warning",
    "hurts": "warning",
    "lane": "partition, or pacer",
    "lanes": "partitions, or pacers",
    "leaping": "fake clock",
    "ledger": "index",
    "let_go": "release",
    "living": "live",
    "lost_claim": "uncertain claim",
    "lost_claims": "uncertain claims",
    "passage": "middleware chain",
    "permit": "slot",
    "permits": "slots",
    "plays": "scenarios",
    "pump": "fetcher",
    "pumps": "fetchers",
    "reaching": "connect with retry",
    "revive": "retry, or register",
    "revived": "retried by hand, or registered",
    "storms": "soak",
    "troubled": "fault injection",
}
RETIRED_FOLDERS: Final = {"ground", "house", "leaping", "plays", "storms", "together", "troubled"}
KINDS: Final = (".html", ".md", ".py", ".sh", ".sql", ".toml", ".yaml", ".yml", "")
EXCEPTION: Final = re.compile(r"retired word: \S+ \S+")
"""On the line of an exception, in a comment, with its reason."""


def retired_by_the_glossary() -> set[str]:
    """The words in backticks in the third column of the tables of the glossary."""
    rows = [line.split("|") for line in GLOSSARY.read_text().splitlines() if line.startswith("|")]
    return {word for row in rows for word in re.findall(r"`([\w ]+)`", row[3])}


def plain(text: str) -> str:
    """The words of *text* in small letters with one space between, so that ``_givenBack`` is "given back"."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    return re.sub(r"[\s_-]+", " ", words).lower()


def retired_words(text: str, retired: re.Pattern[str]) -> list[str]:
    return [] if EXCEPTION.search(text) else retired.findall(plain(text))


def pattern(words: set[str]) -> re.Pattern[str]:
    return re.compile(rf"\b({'|'.join(sorted(map(plain, words), key=len, reverse=True))})\b")


@pytest.mark.parametrize(
    "line, found",
    [
        ("class LostClaims:", ["lost claims"]),
        ("self._pump = HTTPPump()", ["pump", "pump"]),
        ("records are given back", ["given back"]),
        ("def let_go(self) -> None:", ["let go"]),
        ("the liveliest pumpkin", []),
        ("permits = 3  # retired word: the name of a setting of PostgreSQL", []),
        ("permits = 3  # retired word:", ["permits"]),
    ],
)
def test_a_retired_word_is_found_in_names_and_in_prose(line: str, found: list[str]) -> None:
    assert retired_words(line, pattern(set(RETIRED))) == found


def test_no_retired_word_is_used() -> None:
    retired = pattern({*RETIRED, *retired_by_the_glossary()} if GLOSSARY.exists() else set(RETIRED))
    used = [
        f"{place(path, number)}: {' and '.join(words)}"
        for path in files(*KINDS)
        if path not in {Path(__file__), GLOSSARY} and path.name not in {"LICENSE", "uv.lock"}
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if (words := retired_words(line, retired))
    ]

    assert used == [], "use the word of the glossary, or say `retired word: <reason>` in a comment on the line"


def test_no_folder_of_tests_has_a_retired_name() -> None:
    tests = [path.relative_to(ROOT).with_suffix("") for path in files(".py") if path.is_relative_to(ROOT / "tests")]

    assert [path.as_posix() for path in tests if RETIRED_FOLDERS & set(path.parts)] == []
