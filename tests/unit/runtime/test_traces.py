"""The traceback that --debug shows holds no secret (BOOT-6, ENV-3, RED-1)."""

from __future__ import annotations

import pytest
from pydantic import model_validator
from pydantic_settings import BaseSettings

from holdfast.runtime.traces import traceback_without_secrets

PASSWORD = "fish/chips"
GIVEN = {
    "SHOP_SLOTS": "many-hunter2",
    "SMTP_PASSWORD": "Sesame open",
    "DSN": f"postgresql://app:{PASSWORD}@db/shop",
}


class Shop(BaseSettings):
    smtp_password: str
    dsn: str

    @model_validator(mode="after")
    def refuse(self) -> Shop:
        raise ValueError(f"{self.smtp_password.upper()} of {self.dsn} and {PASSWORD}")


class Slots(BaseSettings):
    shop_slots: int


@pytest.mark.parametrize("cls", [Shop, Slots])
def test_it_names_no_input_and_no_secret(cls: type[BaseSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    """BOOT-6, ENV-3."""
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError) as refused:
        cls()
    told = traceback_without_secrets(refused.value, GIVEN).lower()

    assert "traceback (most recent call last)" in told
    assert "test_traces.py" in told
    assert not [one for one in ("hunter2", "sesame", "fish/chips") if one in told]


def test_the_shells_folders_are_no_passwords() -> None:
    assert "/srv/shop" in traceback_without_secrets(OSError("/srv/shop/x"), {"PWD": "/srv/shop"})
