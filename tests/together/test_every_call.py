"""Whichever call of the database goes wrong, and however: in the end every record has ended, once."""

from pathlib import Path

import pytest

from performance import complaints_at_every_call, complaints_at_every_change
from plays import PLAYS, Play
from troubled import Fault

each_play = pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.story.__name__)


@each_play
@pytest.mark.parametrize("fault", Fault)
def test_a_fault_at_any_call_leaves_every_record_with_one_end(play: Play, fault: Fault) -> None:
    assert complaints_at_every_call(play, fault) == []


@each_play
@pytest.mark.parametrize("fault", [Fault.UNANSWERED, Fault.DIES_AFTER])
def test_so_it_does_in_a_file(play: Play, fault: Fault, tmp_path: Path) -> None:
    assert complaints_at_every_change(play, tmp_path, fault) == []
