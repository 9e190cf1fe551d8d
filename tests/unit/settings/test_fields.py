"""Types for an application's settings: they refuse what cannot work, and never echo it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings

import holdfast
from holdfast import Holdfast
from holdfast.settings import fields
from holdfast.settings.fields import DatabaseUrl, HttpUrl, MongoUrl, Port, RedisUrl, Secret
from holdfast.settings.report import Misconfigured

STRONG = "kT7v-Qm2zX9_rW4bN8sL1pD6fH3gJ5cA0yE"
SHORT = "is shorter than 32 characters in production"


def refusal(kind: Any, value: object, **context: str) -> str:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(kind).validate_python(value, context=context or None)
    return refused.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Port, "8000"),
        (Port, 65535),
        (DatabaseUrl, "postgresql+asyncpg://app:x@a:5432,b:5432/shop?target_session_attrs=read-write"),
        (DatabaseUrl, "sqlite+aiosqlite:///shop.db"),
        (DatabaseUrl, "mysql://root@localhost/shop"),
        (MongoUrl, "mongodb+srv://cluster.example/shop"),
        (MongoUrl, "mongodb://a:27017,b:27017/?replicaSet=rs0"),
        (RedisUrl, "rediss://:x@cache:6380/0"),
        (RedisUrl, "unix:///run/redis.sock"),
        (HttpUrl, "https://shop.example/path"),
    ],
)
def test_what_works_is_taken_as_it_is(kind: Any, value: object) -> None:
    """ENV-4."""
    assert str(value) == str(TypeAdapter(kind).validate_python(value))


@pytest.mark.parametrize(
    ("kind", "value", "wrong"),
    [
        (Port, "0", "from 1 to 65535"),
        (Port, "65536", "from 1 to 65535"),
        (Port, "http", "a whole number"),
        (Port, 80.5, "a whole number"),
        (Port, True, "a whole number"),
        (DatabaseUrl, "postgress://db/shop", "did you mean postgres"),
        (DatabaseUrl, "redis://cache", "must begin with postgresql://, mysql://"),
        (DatabaseUrl, "db/shop", "must be a URL such as postgresql://"),
        (DatabaseUrl, "postgresql://app:{x}/y@db/shop", "%2F in a password"),
        (MongoUrl, "mongodb:///shop", "must name a host"),
        (RedisUrl, "http://cache", "must begin with redis://"),
        (HttpUrl, "shop.example", "must be a URL such as https://"),
        (HttpUrl, "https://", "must name a host"),
        (DatabaseUrl, "postgresql://app:p@ss:w0rd@db:5432/shop", "must have one @ before its host"),
        (HttpUrl, "https://shop.example:99999", "a port from 0 to 65535"),
    ],
)
def test_what_cannot_work_is_refused(kind: Any, value: object, wrong: str) -> None:
    """ENV-4."""
    assert wrong.replace("%2F in a password", "as %40 %3A %2F %23") in refusal(kind, value)


@pytest.mark.parametrize(
    "secret", ["changeme-changeme-changeme-changeme", "dev_secret_key_for_the_shop_0123456789"]
)
def test_placeholders_are_refused_in_production(secret: str) -> None:
    """ENV-4."""
    assert (
        refusal(Secret, secret, app_env="production")
        == "is a known placeholder: anyone can guess it in production"
    )
    assert TypeAdapter(Secret).validate_python(secret, context={"app_env": "development"})


def test_a_short_secret_is_refused_in_production_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-4: which environment it is comes from the context, else from APP_ENV."""
    monkeypatch.setenv("APP_ENV", "production")
    assert refusal(Secret, "short") == SHORT
    assert TypeAdapter(Secret).validate_python("short", context={"app_env": "test"})

    monkeypatch.delenv("APP_ENV")
    assert refusal(Secret, "short", app_env="production") == SHORT
    assert TypeAdapter(Secret).validate_python(STRONG, context={"app_env": "production"})


def test_other_words_for_an_environment_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-4: and one that nobody can guess is production, the strict one."""
    for word in ("prod", "PROD", "qa"):
        monkeypatch.setenv("APP_ENV", word)
        assert refusal(Secret, "short") == SHORT
    monkeypatch.setenv("APP_ENV", "testing")
    assert TypeAdapter(Secret).validate_python("short")


def test_an_empty_secret_is_refused_everywhere() -> None:
    assert refusal(Secret, "") == "is empty"


def test_a_settings_class_prints_neither_secrets_nor_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """RED-1, and the value itself stays whole for the library that connects."""
    monkeypatch.setenv("SHOP_DB", "postgresql://app:hunter2@db/shop")
    monkeypatch.setenv("SHOP_KEY", STRONG)

    class Shop(BaseSettings):
        shop_db: DatabaseUrl
        shop_key: Secret

    settings = Shop()

    assert "hunter2" not in repr(settings)
    assert STRONG not in repr(settings)
    assert settings.shop_db == "postgresql://app:hunter2@db/shop"


def test_the_types_work_in_a_plain_model() -> None:
    class Model(BaseModel):
        port: Port
        url: HttpUrl

    assert Model(port=80, url="http://a").model_dump() == {"port": 80, "url": "http://a"}


def test_an_environment_that_nobody_named_is_production(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """ENV-1, ENV-4: in code too, where nobody has written APP_ENV to the environment."""

    class Shop(BaseSettings):
        shop_key: Secret

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("APP_ENV", raising=False)
    monkeypatch.setenv("SHOP_KEY", "changeme")
    with pytest.raises(Misconfigured) as refused:
        Holdfast(Shop)
    assert "SHOP_KEY is a known placeholder: anyone can guess it in production" in str(refused.value)
    assert refusal(Secret, "short") == SHORT

    (tmp_path / ".env").write_text("APP_ENV=development\n")
    assert Shop().shop_key.get_secret_value() == "changeme"
    Holdfast(Shop).close()


@pytest.mark.parametrize("name", ["DatabaseUrl", "HttpUrl", "MongoUrl", "Port", "RedisUrl", "Secret"])
def test_the_types_are_imported_from_the_package(name: str) -> None:
    """ENV-4."""
    assert getattr(holdfast, name) is getattr(fields, name)
