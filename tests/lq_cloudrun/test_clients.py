"""Where and as whom the dispatcher calls Google's API, and clients of the application."""

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.cloud.run_v2 import JobsAsyncClient

import container_tasks as shop
from cloud import cloud
from lq_cloudrun import CloudRunClients, CloudRunExecutionConfig
from lq_cloudrun.emulator import connected
from lq_cloudrun.google.connection import connect, credentials_for
from lq_core import ConfigurationError, QueueConfig, QueueService, Worker

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


def settings(**fields: Any) -> CloudRunExecutionConfig:
    return CloudRunExecutionConfig("shop", job_name="tasks", **fields)


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of this machine, in a universe of their own: those of a user, which need no key."""
    path = tmp_path / "credentials.json"
    kept = {
        "type": "authorized_user",
        "client_id": "id",
        "client_secret": "secret",
        "refresh_token": "token",
        "universe_domain": "cloud.example",
        "quota_project_id": "mine",
    }
    path.write_text(json.dumps(kept))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))


@pytest.fixture
async def host(request: pytest.FixtureRequest) -> AsyncGenerator[str]:
    clients = await connect(settings(**request.param))
    assert isinstance(clients.jobs, JobsAsyncClient)
    assert clients.close is not None
    yield str(clients.jobs.api_endpoint)
    await clients.close()


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    "host, expected",
    [
        ({}, "run.cloud.example:443"),
        ({"universe_domain": "other.example"}, "run.other.example:443"),
        ({"api_host": "europe-west1-run.googleapis.com"}, "europe-west1-run.googleapis.com:443"),
    ],
    indirect=["host"],
)
async def test_the_host_is_regional_or_that_of_a_universe(host: str, expected: str) -> None:
    assert host == expected


@pytest.mark.usefixtures("account")
def test_another_project_can_pay_with_its_quota() -> None:
    assert credentials_for(settings(), scopes=SCOPES).quota_project_id == "mine"
    assert credentials_for(settings(quota_project="payer"), scopes=SCOPES).quota_project_id == "payer"


@pytest.mark.usefixtures("account")
def test_another_account_can_make_the_calls() -> None:
    name = "dispatcher@shop.iam.gserviceaccount.com"
    credentials = credentials_for(settings(impersonate=name, quota_project="payer"), scopes=SCOPES)

    assert credentials.service_account_email == name
    assert credentials.quota_project_id == "payer"


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_application_hands_over_clients_of_its_own(queue: QueueConfig, address: str, is_async: bool) -> None:
    closed: list[str] = []

    async def close() -> None:
        closed.append("closed")

    async with cloud(queue, address) as sky, connected(sky.emulator.address) as connection:
        google: Any = connection

        def clients() -> CloudRunClients:
            return CloudRunClients(jobs=google.jobs, executions=google.executions, tasks=google.tasks, close=close)

        async def later() -> CloudRunClients:
            return clients()

        config = CloudRunExecutionConfig("emulated", job_name="shop", clients=later if is_async else clients)
        async with QueueService(replace(queue, execution_backends=(config,))) as service, Worker(service):
            sent = await service.enqueue(shop.add.using(execution_backend="cloudrun"), 1, second=2)

            assert await sent.wait(timeout=60) == 3
    assert closed == ["closed"]


async def test_a_function_that_makes_no_clients_is_refused() -> None:
    def nothing() -> Any:
        return None

    with pytest.raises(ConfigurationError, match="must make a CloudRunClients"):
        await connect(settings(clients=nothing))


@pytest.mark.parametrize(
    "fields, advice",
    [
        ({"api_host": "https://run.googleapis.com"}, "without 'https://'"),
        ({"impersonate": "dispatcher"}, "the address of an account"),
        ({"clients": "shop:clients"}, "clients"),
        ({"clients": dict, "quota_project": "payer"}, "set their host, project and account there"),
        ({"endpoint": "127.0.0.1:8085", "api_host": "run.googleapis.com"}, "endpoint names an emulator"),
        ({"dispatch": "pull", "on_console_cancel": "cancel"}, "lq records cancel"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(fields: dict[str, Any], advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        settings(**fields)
