"""What a settings class refused is told by the variables' own names, without any value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from holdfast.settings.explain import explain_validation_error
from holdfast.settings.report import Misconfigured


def report(
    make: Callable[[], object], purposes: dict[str, tuple[str, str]] | None = None
) -> Misconfigured | None:
    with pytest.raises(Exception) as raised:
        make()
    return explain_validation_error(raised.value, purposes, "staging")


def lines(make: Callable[[], object]) -> list[str]:
    found = report(make)
    assert found is not None
    return [one.line() for one in found.problems]


def test_prefixes_and_aliases_are_part_of_the_name() -> None:
    """ENV-3."""

    class Shop(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="SHOP_")
        title: str
        mail: str = Field(validation_alias="MAIL_FROM")
        store: str = Field(validation_alias=AliasChoices("store_dsn", AliasPath("STORE", 0)))

    assert [one.partition(" |")[0] for one in lines(Shop)] == [
        "SHOP_TITLE is missing",
        "MAIL_FROM is missing",
        "STORE_DSN or STORE is missing",
    ]


def test_a_case_sensitive_class_keeps_its_case() -> None:
    class Shop(BaseSettings):
        model_config = SettingsConfigDict(case_sensitive=True)
        shopTitle: str

    assert lines(Shop) == ["shopTitle is missing"]


def test_nested_groups_are_named_as_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    class Database(BaseModel):
        dsn: str = Field(description="where orders are", examples=["sqlite://"])
        size: int = 3

    class Shop(BaseSettings):
        model_config = SettingsConfigDict(env_nested_delimiter="__")
        db: Database

    assert lines(Shop) == ["DB__DSN is missing | where orders are | for example DB__DSN=sqlite://"]
    monkeypatch.setenv("DB__SIZE", "many")
    monkeypatch.setenv("DB__DSN", "sqlite://")
    (line,) = lines(Shop)
    assert line.startswith("DB__SIZE should be a valid integer")


def test_a_group_given_as_json_is_named_with_the_place_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shop(BaseSettings):
        slots: dict[str, int]

    monkeypatch.setenv("SLOTS", '{"a": "many"}')
    (line,) = lines(Shop)
    assert line.startswith("SLOTS should be a valid integer")
    assert line.endswith(" at a")


def test_json_that_is_none_is_told_by_variable_and_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own message carries the name of a field, and its cause the value."""

    class Shop(BaseSettings):
        slots: list[int]

    monkeypatch.setenv("SLOTS", "hunter2")
    found = report(Shop)

    assert [one.line() for one in found.problems] == [
        "SLOTS is not JSON, as a list or a group of values must be"
    ]
    assert "hunter2" not in str(found)


def test_no_value_is_told_whatever_the_messages_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-3: secrets are never echoed; a validator's own words may hold them."""

    class Shop(BaseSettings):
        slots: int
        title: str
        shop_key: SecretStr
        dsn: str

        @field_validator("title", "shop_key", "dsn")
        @classmethod
        def refuse(cls, value: Any) -> Any:
            plain = value.get_secret_value() if isinstance(value, SecretStr) else value
            raise ValueError(f"bad value {plain} of {len(plain)} characters, begins with {plain[:3]}")

    for name in ("SLOTS", "TITLE", "SHOP_KEY", "DSN"):
        monkeypatch.setenv(name, "hunter2")
    found = report(Shop)

    assert [one.name for one in found.problems] == ["SLOTS", "TITLE", "SHOP_KEY", "DSN"]
    assert "hunter2" not in str(found)
    assert found.problems[1].wrong.startswith("is refused: bad value *** of")
    assert found.problems[2].wrong == found.problems[3].wrong == "is refused by the settings class"
    assert "hun" not in found.problems[2].line() + found.problems[3].line()


def test_a_check_of_the_class_as_a_whole_is_told_as_such() -> None:
    from pydantic import model_validator

    class Shop(BaseSettings):
        @model_validator(mode="after")
        def refuse(self) -> Shop:
            raise ValueError("either this or that")

    (line,) = lines(Shop)
    assert line.startswith("Shop as a whole is refused")


def test_a_variable_that_the_class_does_not_know_is_told(tmp_path: Any) -> None:
    class Shop(BaseSettings):
        model_config = SettingsConfigDict(env_file=tmp_path / ".env")

    (tmp_path / ".env").write_text("SHOP_EXTRA=hunter2\n")

    assert lines(Shop) == ["SHOP_EXTRA is not declared by the settings class"]


def test_what_the_example_file_tells_is_added() -> None:
    """ENV-2, ENV-3."""

    class Shop(BaseSettings):
        title: str

    found = report(Shop, {"TITLE": ("shown on top", "My shop")})

    assert "TITLE is missing | shown on top | for example TITLE=My shop" in str(found)
    assert ".env.staging" in found.action
    assert found.exit_status == 78


def test_an_error_that_was_wrapped_is_found() -> None:
    class Shop(BaseSettings):
        title: str

    def make() -> None:
        try:
            Shop()
        except ValueError as error:
            raise RuntimeError("no configuration") from error

    assert [one.name for one in report(make).problems] == ["TITLE"]


def test_a_models_error_is_none_of_ours() -> None:
    class Order(BaseModel):
        number: int

    assert report(Order) is None
    assert explain_validation_error(ValueError("x")) is None
