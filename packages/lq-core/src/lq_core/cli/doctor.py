"""``lq doctor``: the findings of the store and of every execution backend, in one report."""

from collections.abc import Sequence

import click

from lq_core.cli.display import print_json, print_table
from lq_core.cli.event_loop import run_in_loop
from lq_core.cli.options import Command, json_option
from lq_core.cli.output import echo
from lq_core.cli.session import check_that_others_can_see, migrate_advice, names_of, read_config, short_errors
from lq_core.config.queue_config import ExecutionBackendConfig, QueueConfig
from lq_core.execution import ExecutionService, get_execution_backend
from lq_core.execution.registry import REGISTRY
from lq_core.foundation.errors import QueueError, StorageError
from lq_core.queue import BaseQueueBackend, Finding
from lq_core.service import QueueService


@click.command("doctor", cls=Command, examples=("", "--json"))
@json_option("a JSON list")
def doctor(*, as_json: bool) -> None:
    """
    Check the queue and its execution backends.

    The command says what to do about each problem, and changes nothing. It exits with 1 if there is a warning.
    """
    config = read_config()
    with short_errors():
        service = QueueService(config)
        check_that_others_can_see(service.queue_backend)
        findings = run_in_loop(_diagnose(service))
    report(findings, subject=service.queue_backend.address, as_json=as_json)


def report(findings: Sequence[Finding], *, subject: str, as_json: bool) -> None:
    """Print *findings* about *subject*. If there is a warning, the command exits with 1."""
    warns = any(finding.level == "warning" for finding in findings)
    if as_json:
        print_json(findings)
    else:
        rows = [(finding.check, finding.level, finding.found) for finding in findings]
        print_table(("check", "state", "found"), rows, empty="There was nothing to check.")
        for finding in findings:
            if finding.advice:
                echo(f"{finding.check}: {finding.advice}")
        if not warns:
            echo(f"{subject} is ok.")
    if warns:
        raise click.exceptions.Exit(1)


async def _diagnose(service: QueueService) -> list[Finding]:
    backend = service.queue_backend
    try:
        findings = [*await _diagnose_store(backend)]
        for name, setting in _execution_backends(service.config).items():
            findings += await _diagnose_execution(name, setting, service)
        return findings
    finally:
        await backend.close()


async def _diagnose_store(backend: BaseQueueBackend) -> Sequence[Finding]:
    # Check the schema first: to open the store could migrate it, and the doctor changes nothing.
    try:
        if missing := await backend.pending_migrations():
            return [Finding.of("schema", f"lacks {names_of(missing)}", advice=migrate_advice())]
        await backend.open()
        return await backend.diagnose()
    except StorageError as error:
        return [Finding.of("database", "cannot be used", advice=str(error))]


async def _diagnose_execution(
    name: str, setting: ExecutionBackendConfig, service: ExecutionService
) -> Sequence[Finding]:
    check = f"execution backend {name}"
    try:
        backend = get_execution_backend(setting, service.config)
    except (QueueError, ImportError, TypeError) as error:
        configured = (service.config.execution_backend, *service.config.execution_backends)
        is_default = setting == QueueConfig().execution_backend  # It says nothing about what this installation is for.
        return (
            [Finding.of(check, "cannot be used", advice=str(error))] if setting in configured and not is_default else []
        )
    try:
        return await backend.diagnose(service)
    except Exception as error:  # noqa: BLE001 -- a check that fails is a finding, whatever it raised
        return [Finding.of(check, "cannot be checked", advice=f"{type(error).__name__}: {error}")]
    finally:
        await backend.close()


def _execution_backends(config: QueueConfig) -> dict[str, ExecutionBackendConfig]:
    """Find the installed and the configured execution backends. A configuration object replaces a name."""
    configured = (config.execution_backend, *config.execution_backends)
    found: dict[str, ExecutionBackendConfig] = {name: name for name in sorted(REGISTRY.names())}
    found |= {one: one for one in configured if isinstance(one, str)}
    return found | {one.execution_backend: one for one in configured if not isinstance(one, str)}
