"""What lq logs can be read with the plainest of formats, and without parsing."""

import logging

import pytest

from lq_core.event_log import event_log


def test_the_message_tells_the_event_and_its_facts_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    event_log("lq.tests").warning("door.shut", extra={"door": "left", "why": "a\nstorm", "by": None, "share": "3 %s"})

    assert caplog.messages == ["door.shut door=left why='a\\nstorm' share='3 %s'"]


def test_a_list_is_told_with_commas(caplog: pytest.LogCaptureFixture) -> None:
    event_log("lq.tests").warning("door.shut", extra={"doors": ["left", "right"], "keys": (), "by": ("Ada L.", "Bob")})

    assert caplog.messages == ["door.shut doors=left,right keys='' by='Ada L.,Bob'"]


def test_each_fact_is_an_attribute_of_the_log_record_too(caplog: pytest.LogCaptureFixture) -> None:
    event_log("lq.tests").warning("door.shut", extra={"door": "left"})

    (told,) = caplog.records
    assert (vars(told)["event"], vars(told)["door"], told.name, told.funcName) == (
        "door.shut",
        "left",
        "lq.tests",
        "test_each_fact_is_an_attribute_of_the_log_record_too",
    )


def test_what_is_not_shown_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Heavy:
        def __str__(self) -> str:
            raise AssertionError("nobody reads it")

    caplog.set_level(logging.WARNING, logger="lq.tests")
    event_log("lq.tests").info("door.shut", extra={"door": Heavy()})

    assert caplog.messages == []
