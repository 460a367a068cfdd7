"""
The rules that the emulator enforces beyond those of the environment: what each says, and where it comes from.

docs/cloud-run.md shows this table. The numbers of a project are :class:`Limits`; all others stand here.
"""

from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

from lq_cloudrun.config import LONGEST_TIMEOUT

DEFAULT_PAGE: Final = 100
LARGEST_PAGE: Final = 1000
MOST_RETRIES: Final = 10
MOST_TASKS: Final = 10_000
MOST_ARGUMENTS: Final = 1_000
LABEL: Final = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
"""A DNS label, such as the name of a container."""

NAME: Final = r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?"
"""The name of a job: the name of its executions adds a suffix, and is a DNS label, too."""

QUOTAS: Final = "https://docs.cloud.google.com/run/quotas"
EXECUTE: Final = "https://docs.cloud.google.com/run/docs/execute/jobs"


class Rule(NamedTuple):
    """One rule: the methods that it is about, what they do, and the source."""

    methods: str
    rule: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The limits of a project in one region; the defaults are Google's."""

    runs_per_minute: float = 180
    """The calls of RunJob in any sixty seconds. Projects have between 10 and 180; ``math.inf`` for no limit."""

    running_executions: float = 1_000
    jobs: float = 1_000
    kept_executions: float = 1_000
    """How many ended executions of a job are kept, however old they are."""

    kept_seconds: float = 7 * 86_400.0
    """For how many seconds an ended execution is kept, however many there are."""


GOOGLE_LIMITS: Final = Limits()
NO_LIMITS: Final = Limits(runs_per_minute=inf, running_executions=inf, jobs=inf, kept_executions=inf)
"""For measurements, and for tests with very many executions."""


def is_timeout(seconds: float) -> bool:
    """Whether Cloud Run takes this many seconds as the limit of a task."""
    return 1 <= seconds <= LONGEST_TIMEOUT and seconds == int(seconds)


RULES: Final = (
    Rule("RunJob", "at most 180 calls a minute (RESOURCE_EXHAUSTED)", "reports of projects; they have 10 to 180"),
    Rule("RunJob", "at most 1,000 running executions in a region (RESOURCE_EXHAUSTED)", QUOTAS),
    Rule("RunJob", "a timeout of whole seconds, at most 168 hours", "comment of Overrides.timeout; " + QUOTAS),
    Rule("RunJob", "one override for a container; with sidecars, it names one of them", "comment of ContainerOverride"),
    Rule(
        "RunJob, CreateJob, UpdateJob", f"at most {MOST_TASKS:,} tasks, {MOST_RETRIES} retries, 1,000 arguments", QUOTAS
    ),
    Rule("RunJob, CreateJob, UpdateJob", "1,000 variables of 32 KiB; none that Cloud Run reserves", QUOTAS),
    Rule("RunJob", "no more tasks at once than parallelism", "comment of ExecutionTemplate.parallelism"),
    Rule("CreateJob", "a name of at most 49 small letters, digits and dashes; at most 1,000 jobs", QUOTAS),
    Rule("CreateJob, UpdateJob", "names of containers are DNS labels", "comment of ContainerOverride.name"),
    Rule("UpdateJob, DeleteJob, RunJob, CancelExecution, DeleteExecution", "another etag is ABORTED", "aip.dev/154"),
    Rule("lists", f"at most {LARGEST_PAGE:,} items a page; a negative page size is refused", "aip.dev/158"),
    Rule(
        "lists",
        "an answer over 4 MiB does not reach a client with the default channel",
        "grpc.max_receive_message_length",
    ),
    Rule("GetExecution, ListExecutions", "ended executions are kept for 7 days, and the newest 1,000 longer", EXECUTE),
    Rule("ListExecutions, ListTasks", "a dash instead of a name means all", "comments of the requests"),
    Rule("all", "a name may contain the number of its project instead of the id", "comments of the requests"),
    Rule("all", "a permission that faults.forbid has taken away is PERMISSION_DENIED", "aip.dev/211"),
    Rule("CancelExecution", "an execution that has ended is FAILED_PRECONDITION", "reports of another emulator"),
    Rule("DeleteExecution, DeleteJob", "running executions are ended; lists show them with show_deleted", EXECUTE),
    Rule(
        "GetTask, ListTasks",
        "the exit code or the signal of the last attempt, not both",
        "comment of TaskAttemptResult",
    ),
    Rule(
        "GetJob, GetExecution", "unset fields show their defaults", "comments of Job, ExecutionTemplate, TaskTemplate"
    ),
)
"""Every rule, in the order in which the documentation shows them."""
