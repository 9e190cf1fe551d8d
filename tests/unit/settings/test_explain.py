"""What a settings class refused is told by the variables' own names, without any value."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

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


class _Secretive(BaseSettings):
    """What the words of its checks may hold, and where it was read."""

    model_config = SettingsConfigDict(env_nested_delimiter="__")
    smtp_host: str
    smtp_password: SecretStr


GIVEN = {"SMTP_HOST": "mail", "SMTP_PASSWORD": "Hunter2 Sesame"}


def test_the_applications_own_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-3: what is wrong, in the words of whoever knows it."""

    class Shop(_Secretive):
        @model_validator(mode="after")
        def refuse(self) -> Shop:
            raise ValueError("SMTP_HOST and SMTP_PORT go together")

    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)

    assert lines(Shop) == ["Shop as a whole is refused: SMTP_HOST and SMTP_PORT go together"]


@pytest.mark.parametrize(
    "transformed",
    [
        str,
        str.lower,
        str.swapcase,
        lambda one: one.replace(" ", "%20"),
        lambda one: one[:3],
        lambda one: one.split()[1],
        lambda one: f"{len(one)} characters",
    ],
)
@pytest.mark.parametrize("where", ["as a whole", "in a field", "with an error of its own"])
def test_no_secret_is_told_whatever_was_made_of_it(
    monkeypatch: pytest.MonkeyPatch, where: str, transformed: Callable[[str], str]
) -> None:
    """ENV-3: its words may quote a value in another case, decoded, or in pieces."""

    def words(secret: str) -> str:
        return f"SMTP_HOST with {transformed(secret)} is refused"

    class Whole(_Secretive):
        @model_validator(mode="after")
        def refuse(self) -> Whole:
            raise ValueError(words(self.smtp_password.get_secret_value()))

    class Inside(_Secretive):
        @field_validator("smtp_password")
        @classmethod
        def refuse(cls, value: SecretStr) -> SecretStr:
            raise ValueError(words(value.get_secret_value()))

    class Custom(_Secretive):
        @field_validator("smtp_password")
        @classmethod
        def refuse(cls, value: SecretStr) -> SecretStr:
            raise PydanticCustomError("shop", "{words}", {"words": words(value.get_secret_value())})

    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    (line,) = lines({"as a whole": Whole, "in a field": Inside, "with an error of its own": Custom}[where])

    assert transformed(GIVEN["SMTP_PASSWORD"]).lower() not in line.lower()
    if where == "as a whole":
        assert line.startswith("Whole as a whole is refused: SMTP_HOST with ***")


def test_a_value_without_a_secret_name_is_masked_in_another_case_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shop(BaseSettings):
        pepper: str

        @field_validator("pepper")
        @classmethod
        def refuse(cls, value: str) -> str:
            raise ValueError(f"{value.lower()} will not do")

    monkeypatch.setenv("PEPPER", "Hunter2")

    assert lines(Shop) == ["PEPPER is refused: *** will not do"]


def test_what_is_allowed_is_told_though_it_was_given_in_another_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-3: a list of the class's own words is made from no value; a secret's is masked all the same."""

    class Level(Enum):
        LOUD = "DEBUG"
        CALM = "INFO"

    class Shop(BaseSettings):
        log_level: Literal["DEBUG", "INFO"]
        other_level: Level
        shop_token: Literal["DEBUG", "hunter2"]

    for name, value in {"LOG_LEVEL": "info", "OTHER_LEVEL": "Info", "SHOP_TOKEN": "HUNTER2"}.items():
        monkeypatch.setenv(name, value)

    assert [one.partition(" |")[0] for one in lines(Shop)] == [
        "LOG_LEVEL should be 'DEBUG' or 'INFO'",
        "OTHER_LEVEL should be 'DEBUG' or 'INFO'",
        "SHOP_TOKEN should be 'DEBUG' or '***'",
    ]


def test_words_that_stand_in_the_code_are_told_of_a_secret_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-3: nothing was made from the value; one that is the same as a word of them is still masked."""

    class Shop(BaseSettings):
        shop_key: SecretStr
        mail_key: SecretStr

        @field_validator("shop_key", "mail_key")
        @classmethod
        def refuse(cls, value: SecretStr) -> SecretStr:
            raise ValueError("must be made with openssl, not be hunter2")

    monkeypatch.setenv("SHOP_KEY", "Hunter2")
    monkeypatch.setenv("MAIL_KEY", "other")

    assert [one.partition(" |")[0] for one in lines(Shop)] == [
        "SHOP_KEY is refused: must be made with openssl, not be ***",
        "MAIL_KEY is refused: must be made with openssl, not be ***",
    ]


def test_secrets_of_groups_and_passwords_of_urls_are_masked_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-3: whatever source of the class they come from."""

    class Mail(BaseModel):
        token: str
        box: str

    class Shop(BaseSettings):
        mail: Mail
        queue: str

        @model_validator(mode="after")
        def refuse(self) -> Shop:
            raise ValueError(f"{self.mail.box}: not {self.mail.token}, nor fish-and-chips at the queue")

    monkeypatch.setenv("QUEUE", "amqp://app:fish-and-chips@queue")

    assert lines(lambda: Shop(mail={"token": "hunter2", "box": "in"})) == [
        "Shop as a whole is refused: in: not ***, nor *** at the queue"
    ]


def test_the_librarys_own_words_quote_no_sign_of_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-3: "found `h` at 1", "expected length 32, found 7"."""

    class Shop(BaseSettings):
        shop_token: UUID

    monkeypatch.setenv("SHOP_TOKEN", "hunter2")

    assert lines(Shop) == ["SHOP_TOKEN is refused by the settings class"]


def test_what_is_not_json_hides_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-3: everything at once, though the library gives up at the first of them."""

    class Shop(BaseSettings):
        hosts: list[str]
        sizes: dict[str, int] = {}
        slots: int
        title: str

        @model_validator(mode="after")
        def refuse(self) -> Shop:
            raise ValueError("sizes are missing")  # which follows from what could not be read

    monkeypatch.setenv("HOSTS", "a,b")
    monkeypatch.setenv("SIZES", "{")
    monkeypatch.setenv("SLOTS", "many")

    assert [one.name for one in report(Shop).problems] == ["HOSTS", "SIZES", "SLOTS", "TITLE"]
    monkeypatch.setenv("SLOTS", "1")
    monkeypatch.setenv("TITLE", "x")
    assert [one.name for one in report(Shop).problems] == ["HOSTS", "SIZES"]


def test_a_group_given_in_parts_is_named_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mail(BaseModel):
        hosts: list[str]

    class Shop(BaseSettings):
        model_config = SettingsConfigDict(env_nested_delimiter="__")
        mail: Mail

    monkeypatch.setenv("MAIL__HOSTS", "a,b")

    assert lines(Shop) == ["MAIL or one of MAIL__… is not JSON, as a list or a group of values must be"]


def test_it_is_judged_as_it_was_made_from_a_file_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """ENV-3: with the same arguments, and its own work is not done twice."""
    made = []

    class Shop(BaseSettings):
        hosts: list[str]
        slots: int
        title: str

        def __init__(self, **given: Any) -> None:
            made.append(given)
            super().__init__(_env_file=tmp_path / "shop.env", **given)

    (tmp_path / "shop.env").write_text("HOSTS=a,b\nTITLE=x\n")

    assert [one.name for one in report(lambda: Shop(slots="many")).problems] == ["HOSTS", "SLOTS"]
    assert len(made) == 1


def test_a_source_that_gives_up_again_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(EnvSettingsSource):
        def __call__(self) -> dict[str, Any]:
            super().__call__()
            raise ValueError("nothing there")

    class Shop(BaseSettings):
        hosts: list[str] = []

        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, **sources: Any) -> tuple[Any, ...]:
            return (Broken(settings_cls),)

    monkeypatch.setenv("HOSTS", "a,b")

    assert lines(Shop) == ["HOSTS is not JSON, as a list or a group of values must be"]
