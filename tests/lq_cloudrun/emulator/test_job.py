"""The settings of a job: a mistake shows where it was written."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from lq_cloudrun.emulator import EmulatedJob, Emulator


def a_job(*, name: str = "reports", command: Sequence[str] = ("true",)) -> EmulatedJob:
    return EmulatedJob(name=name, command=command)


@pytest.mark.parametrize(
    "make, complaint",
    [
        (lambda: a_job(name="Reports"), "must begin with a small letter"),
        (lambda: a_job(name="r" * 50), "at most 49"),
        (lambda: a_job(command="python -m shop"), "must be a list"),
        (lambda: a_job(command=[]), "must be a list"),
        (lambda: replace(a_job(), timeout=0), "from 1 to 604800"),
        (lambda: replace(a_job(), timeout=604801), "from 1 to 604800"),
        (lambda: replace(a_job(), timeout=0.5), "a whole number of seconds"),
        (lambda: replace(a_job(), parallelism=2), "parallelism must lie between 0 and task_count"),
        (lambda: replace(a_job(), container="Main"), "DNS label"),
        (lambda: replace(a_job(), max_retries=11), "between 0 and 10"),
        (lambda: replace(a_job(), task_count=0), "between 1 and 10000"),
        (lambda: replace(a_job(), grace=-1), "cannot be negative"),
        (lambda: replace(a_job(), sidecars=["proxy"]), "must name its own container"),
        (lambda: replace(a_job(), sidecars=["proxy"], container="proxy"), "the same name"),
        (lambda: replace(a_job(), env={"CLOUD_RUN_JOB": "x"}), "reserved by Cloud Run"),
    ],
    ids=[
        "capital",
        "long-name",
        "command-in-one-string",
        "no-command",
        "no-time",
        "more-than-a-week",
        "half-a-second",
        "parallelism",
        "container-name",
        "retries",
        "no-tasks",
        "grace",
        "sidecar-without-own-name",
        "sidecar-of-own-name",
        "reserved",
    ],
)
def test_a_job_that_cloud_run_would_refuse_cannot_be_made(make: Callable[[], EmulatedJob], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()


def test_the_defaults_are_those_of_cloud_run() -> None:
    job = EmulatedJob(name="reports", command=["true"])

    assert (job.max_retries, job.timeout, job.task_count, job.grace) == (3, 600, 1, 10)


def test_two_jobs_cannot_have_the_same_name() -> None:
    job = EmulatedJob(name="reports", command=["true"])

    with pytest.raises(ValueError, match="same name"):
        Emulator([job, job])
