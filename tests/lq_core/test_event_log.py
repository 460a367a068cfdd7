"""What lq logs can be read with the plainest of formats, and without parsing."""

import logging
import re
import subprocess
import sys

import pytest

from lq_core.foundation.event_log import event_log


def test_the_message_has_the_event_and_its_facts_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
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


def test_events_are_shown_as_lines_unless_the_application_has_set_up_logging() -> None:
    program = (
        "import logging, sys; from lq_core.foundation.event_log import event_log, show_events; {}; show_events();"
        "event_log().info('door.open', extra={{'door': 'left'}}); event_log().warning('door.shut')"
    )
    shown = subprocess.run([sys.executable, "-c", program.format("pass")], capture_output=True, text=True, check=True)
    own = program.format("logging.basicConfig(format='mine: %(message)s')")
    configured = subprocess.run([sys.executable, "-c", own], capture_output=True, text=True, check=True)

    assert re.sub(r"\d\d:\d\d:\d\d", "TIME", shown.stderr) == "TIME door.open door=left\nTIME WARNING door.shut\n"
    assert configured.stderr == "mine: door.shut\n"
