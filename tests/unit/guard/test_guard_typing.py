"""What users write keeps its types under mypy's strict mode (POL-7)."""

from __future__ import annotations

import pytest

SNIPPET = """
from holdfast.guard import guard
from holdfast.policy.breaker import Breaker
from holdfast.policy.retry import Retry

@guard("payments", timeout=2, retry=Retry(attempts=3), breaker=Breaker(failures=5, reset_after=60))
async def charge(order: int, *, note: str = "") -> str:
    return note * order

@guard("tax")
def tax(amount: float) -> float:
    return amount * 0.2

class Shop:
    @guard("stock")
    async def stock(self, sku: str) -> int:
        async with guard("inner"):
            return len(sku)

async def use() -> None:
    reveal_type(tax)
    reveal_type(await charge(3, note="x"))
    reveal_type(await Shop().stock("tea"))
    await charge("three")
"""


@pytest.mark.slow
def test_types_survive_the_guard(tmp_path) -> None:
    api = pytest.importorskip("mypy.api")
    code = tmp_path / "uses_guard.py"
    code.write_text(SNIPPET)
    told, trouble, _ = api.run(
        ["--strict", "--no-error-summary", f"--cache-dir={tmp_path / 'cache'}", str(code)]
    )

    assert trouble == ""
    lines = [line.split(": ", 1)[1] for line in told.splitlines() if str(code) in line]
    assert [line.replace("builtins.", "") for line in lines] == [
        'note: Revealed type is "def (amount: float) -> float"',
        'note: Revealed type is "str"',
        'note: Revealed type is "int"',
        'error: Argument 1 to "charge" has incompatible type "str"; expected "int"  [arg-type]',
    ]
