"""Types for the fields of an application's own settings class: they refuse, and never echo.

    from holdfast import DatabaseUrl, Secret

    class Settings(BaseSettings):
        database_url: DatabaseUrl
        jwt_secret: Secret

The rules of production hold unless another environment is named: by the validation context
(`{"app_env": "test"}`), by `APP_ENV`, or by the `.env` of the working directory. A name that is none
of ours, nor a usual word for one (`dev`, `testing`), is taken for production.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from holdfast.faults.redact import redact_text
from holdfast.settings import parse
from holdfast.settings.environment import ASSUMED, known, load


class _Url(str):
    """A URL that hides its password from whoever prints the settings; as text it is whole."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(redact_text(str(self)))


def _refuse(kind: str, wrong: str) -> NoReturn:
    # Braces are the library's placeholders; ours are none.
    raise PydanticCustomError(f"holdfast_{kind}", "{wrong}", {"wrong": wrong})


def _in_production(info: ValidationInfo) -> bool:
    context: Any = info.context
    told = context.get("app_env") if isinstance(context, dict) else None
    name = str(told or os.environ.get("APP_ENV", "")).strip()
    return (known(name) if name else _named_by_a_file()) in {"production", None}


def _named_by_a_file() -> str:
    # Under `holdfast run` it is in the environment by now; in code nobody has put it there.
    return load(Path.cwd(), os.environ, default=ASSUMED.get()).app_env


def _secret(value: SecretStr, info: ValidationInfo) -> SecretStr:
    secret = value.get_secret_value()
    if not secret.strip():
        _refuse("secret", "is empty")
    wrong = parse.weakness(secret) if _in_production(info) else None
    if wrong is not None:
        _refuse("secret", f"{wrong} in production")
    return value


def _port(value: object) -> object:
    try:
        return parse.whole(1, 65535)(str(value))
    except ValueError as error:
        _refuse("port", str(error))


def _url(*schemes: str, host: bool = True) -> Callable[[str], str]:
    read = parse.url(*schemes, host=host)

    def check(value: str) -> str:
        try:
            return _Url(read(value))
        except ValueError as error:
            _refuse("url", str(error))

    return check


_SQL = (
    "postgresql",
    "mysql",
    "mariadb",
    "sqlite",
    "postgres",
    "oracle",
    "mssql",
    "cockroachdb",
    "redshift",
    "snowflake",
    "duckdb",
    "clickhouse",
    "bigquery",
    "databricks",
    "trino",
)

Port = Annotated[int, BeforeValidator(_port), Field(examples=[8000])]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
DatabaseUrl = Annotated[
    str, AfterValidator(_url(*_SQL, host=False)), Field(examples=["postgresql://app:***@localhost:5432/shop"])
]
MongoUrl = Annotated[str, AfterValidator(_url("mongodb")), Field(examples=["mongodb://localhost:27017/shop"])]
RedisUrl = Annotated[
    str,
    AfterValidator(_url("redis", "rediss", "unix", host=False)),
    Field(examples=["redis://localhost:6379/0"]),
]
HttpUrl = Annotated[str, AfterValidator(_url("https", "http")), Field(examples=["https://shop.example"])]
