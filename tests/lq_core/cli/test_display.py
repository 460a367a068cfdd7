"""The output in a terminal: important columns are not cut, and text of tasks cannot control the terminal."""

from collections.abc import Sequence

import click
import pytest

from lq_core.cli.display import print_facts, print_table

ID = "01a208d6-f3cf-7975-a1ad-42770b79d626"
HEADS = ("id", "status", "task", "queue", "age", "note")
ROW = (ID, "failed", "shop.tasks.send_welcome", "default", "14 min", f"TimeoutError: {'it took too long ' * 4}")


def lines(capsys: pytest.CaptureFixture[str]) -> Sequence[str]:
    return click.unstyle(capsys.readouterr().out).splitlines()


@pytest.fixture
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


@pytest.mark.parametrize("columns", [60, 80, 200], indirect=True)
def test_a_long_note_is_cut_and_the_age_is_not(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEADS, [ROW], empty="")

    head, _, row, *folded = lines(capsys)
    assert max(map(len, (head, row, *folded))) == columns
    assert [word in row for word in ("failed", "default", "14 min", "Timeout")] == [True] * 4
    assert len(folded) <= 3


@pytest.mark.parametrize("columns", [80], indirect=True)
def test_an_id_is_whole_in_80_columns(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEADS, [ROW], empty="")

    assert ID in lines(capsys)[2]


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("task", "note"), [("send", "\x1b[2J\rgone")], empty="")
    print_facts({"error": "one\ntwo\x1b]0;title\x07", "queues": ("a\x9b", "\u202eb")})

    assert lines(capsys)[1:] == [
        r"send  \x1b[2J\rgone",
        "error   one",
        r"        two\x1b]0;title\x07",
        r"queues  a\x9b, \u202eb",
    ]
