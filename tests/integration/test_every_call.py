"""Every record ends once, whichever call to the database fails, and however it fails."""

from pathlib import Path

import pytest

from fault_injection import Fault
from scenario_runner import problems_at_every_call, problems_at_every_change
from scenarios import SCENARIOS, Scenario

each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.steps.__name__)


@each_scenario
@pytest.mark.parametrize("fault", Fault)
def test_a_fault_at_any_call_leaves_every_record_with_one_end(scenario: Scenario, fault: Fault) -> None:
    assert problems_at_every_call(scenario, fault) == []


@each_scenario
@pytest.mark.parametrize("fault", [Fault.UNANSWERED, Fault.DIES_AFTER])
def test_a_fault_at_any_change_of_a_file_leaves_every_record_with_one_end(
    scenario: Scenario, fault: Fault, tmp_path: Path
) -> None:
    assert problems_at_every_change(scenario, tmp_path, fault) == []
