"""An application that fails as told, and the house it stands in."""

from __future__ import annotations

from typing import Any

from asgi_stage import House, answers, ledger, loses, reads

from holdfast.policy.replay import Commit


class Failing:
    """An application that loses its database in its first attempts, and lets the error out."""

    def __init__(self, times: int = 1, *, sent: int = 1, commit: Commit = Commit.NONE) -> None:
        self.times, self.sent, self.commit = times, sent, commit
        self.runs = 0
        self.house: House

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        await reads(receive)
        if self.runs <= self.times:
            error = loses(self.house.main, sent=self.sent)
            ledger().settled = self.commit
            raise error
        await answers(send)


def housed(app: Any, clock: Any, **about: Any) -> House:
    app.house = house = House(app, clock, **about)
    return house
