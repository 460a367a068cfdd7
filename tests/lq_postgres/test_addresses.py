"""What the options of an address mean, before anybody connects."""

import pytest

from lq_core.foundation.errors import ConfigurationError
from lq_postgres import PostgresConfig
from lq_postgres.connection.address import Place, read_address


@pytest.mark.parametrize(
    "address, places",
    [
        ("postgres://ada:secret@db.example/shop", [Place("db.example", 5432)]),
        ("postgresql+asyncpg://db.example:6543/shop", [Place("db.example", 6543)]),
        ("postgresql://ada@[::1]:5433,[::2]/shop", [Place("::1", 5433), Place("::2", 5432)]),
        ("postgresql://ada:a@b@one,two/shop", [Place("one", 5432), Place("two", 5432)]),
        ("postgresql://one:5433,two/shop", [Place("one", 5433), Place("two", 5432)]),
        ("postgresql:///shop?host=one,two&port=5433", [Place("one", 5433), Place("two", 5433)]),
        ("postgresql:///shop?host=one,two&port=5433,5434", [Place("one", 5433), Place("two", 5434)]),
        ("postgresql://ada@:6000/shop", [Place("localhost", 6000)]),
        ("postgresql:///shop?host=/cloudsql/shop:europe:db", [Place("/cloudsql/shop:europe:db", 5432)]),
        ("postgresql://ada:x@/shop?host=%2Fcloudsql%2Fshop:europe:db", [Place("/cloudsql/shop:europe:db", 5432)]),
        ("postgresql://ada:x@localhost/shop?host=/cloudsql/shop:europe:db", [Place("/cloudsql/shop:europe:db", 5432)]),
        ("postgresql://ada:x@%2Fcloudsql%2Fshop:europe:db/shop", [Place("/cloudsql/shop:europe:db", 5432)]),
        ("postgresql:///shop", []),
        ("postgresql:///?service=shop", []),
    ],
)
def test_the_servers_of_an_address_are_found(address: str, places: list[Place]) -> None:
    assert list(read_address(address).places) == places


def test_the_servers_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "one,two")
    monkeypatch.setenv("PGPORT", "5433")

    assert read_address("postgresql:///shop").places == (Place("one", 5433), Place("two", 5433))
    assert read_address(None).places == (Place("one", 5433), Place("two", 5433))
    assert read_address("postgresql:///?service=shop").places == ()


def test_the_name_of_an_application_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGAPPNAME", "shop")

    assert read_address("postgresql:///shop?fallback_application_name=other").application_name == "shop"
    assert read_address("postgresql:///shop?application_name=mine").application_name == "mine"


@pytest.mark.parametrize(
    "options",
    ["pgbouncer=true", "statement_cache_size=0", "sslmode=require&prepared_statement_cache_size=0"],
)
def test_an_address_may_say_that_a_pooler_is_in_between(options: str) -> None:
    assert not read_address(f"postgresql://db.example/shop?{options}").keeps_sessions
    assert read_address("postgresql://db.example/shop?pgbouncer=false").keeps_sessions


@pytest.mark.parametrize(
    "option, said",
    [
        ("require_auth=scram-sha-256", "require_auth, which lq does not support. asyncpg does not have it"),
        ("hostaddr=10.0.0.1", "hostaddr, which lq does not support. Write the IP address as the host"),
        ("sslaccept=strict", "write sslmode=verify-full"),
        ("unix_sock=/cloudsql/shop:europe:db/.s.PGSQL.5432", "host=/cloudsql/INSTANCE"),
        ("gssencmode=require", "gssencmode=require, which lq does not support; it can be disable, prefer"),
        ("target_session_attrs=standby", "it can be any, primary, read-write"),
        ("sslmode=disable&channel_binding=require", "channel_binding=require, which needs TLS"),
    ],
)
def test_what_lq_cannot_keep_is_refused_with_advice(option: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        _ = PostgresConfig(dsn=f"postgresql://ada:secret@db.example/shop?{option}")

    assert str(raised.value).startswith("dsn, or LQ_POSTGRES_DSN, has")
    assert said in str(raised.value)


@pytest.mark.parametrize("value, mode", [("true", "require"), ("false", "disable"), ("require", "require")])
def test_tls_may_be_asked_for_as_other_drivers_do(value: str, mode: str) -> None:
    assert read_address(f"postgresql://db.example/shop?ssl={value}").dsn == (
        f"postgresql://db.example/shop?sslmode={mode}"
    )


def test_the_options_that_asyncpg_knows_are_left_to_it() -> None:
    query = "sslmode=verify-full&sslrootcert=%2Fetc%2Fdb.pem&options=-c+work_mem%3D8MB&target_session_attrs=any"

    assert read_address(f"postgresql://ada:%2Fx@db.example/shop?{query}").dsn == (
        f"postgresql://ada:%2Fx@db.example/shop?{query}"
    )
