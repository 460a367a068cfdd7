"""Settings from environment variables."""

import pytest

from lq_core import ConfigurationError, QueueConfig, config_from_environment
from lq_core.config.environment import in_app_worker


def test_variables_set_the_plain_fields_over_those_of_the_code() -> None:
    config = config_from_environment(
        QueueConfig(concurrency=5, poll_interval=2, queue_backend="memory"),
        environment={
            "LQ_CONCURRENCY": "50",
            "LQ_QUEUES": "mail, reports",
            "LQ_TASK_MODULES": "shop.tasks",
            "LQ_SHUTDOWN_GRACE": "7.5",
            "LQ_QUEUE_BACKEND": "",
        },
    )

    assert (config.concurrency, config.poll_interval, config.queue_backend) == (50, 2.0, "memory")
    assert (config.queues, config.task_modules, config.shutdown_grace) == (("mail", "reports"), ("shop.tasks",), 7.5)


def test_an_application_chooses_the_prefix() -> None:
    assert config_from_environment(prefix="SHOP_", environment={"SHOP_CONCURRENCY": "3"}).concurrency == 3


@pytest.mark.parametrize(
    "variable, value, message",
    [
        ("LQ_CONCURRENCY", "many", "concurrency is 'many'; it must be a whole number .* sets LQ_CONCURRENCY"),
        ("LQ_POLL_INTERVAL", "-1", "poll_interval is -1"),
        ("LQ_CONCURENCY", "3", "LQ_CONCURENCY, which is not a setting. Did you mean LQ_CONCURRENCY?"),
    ],
)
def test_a_wrong_value_and_a_misspelt_name_are_refused(variable: str, value: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        config_from_environment(environment={variable: value})


def test_the_variables_of_others_are_left_alone() -> None:
    others = {"LQ_SERVICE_HOST": "10.0.0.1", "LQ_PORT": "tcp://10.0.0.1:80", "LQ_CONFIG": "shop:config"}

    assert config_from_environment(environment=others) == QueueConfig()


@pytest.mark.parametrize("value, runs", [("", True), ("true", True), ("0", False), ("Off", False)])
def test_a_variable_turns_off_the_worker_in_an_application(value: str, runs: bool) -> None:
    assert in_app_worker(environment={"LQ_IN_APP_WORKER": value}) is runs


def test_the_variable_of_the_worker_must_be_true_or_false() -> None:
    with pytest.raises(ConfigurationError, match="LQ_IN_APP_WORKER is 'perhaps'; it must be true or false"):
        in_app_worker(environment={"LQ_IN_APP_WORKER": "perhaps"})
