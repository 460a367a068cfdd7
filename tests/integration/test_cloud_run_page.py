"""docs/cloud-run.md shows the rules of the emulator."""

from pathlib import Path

from lq_cloudrun.emulator import RULES

PAGE = Path(__file__).parents[2] / "docs/cloud-run.md"


def test_the_page_shows_every_rule_of_the_emulator_with_its_source() -> None:
    table = PAGE.read_text().partition("| methods | rule | source |\n|---|---|---|\n")[2].partition("\n\n")[0]

    assert table.splitlines() == [f"| {rule.methods} | {rule.rule} | {rule.source} |" for rule in RULES]
