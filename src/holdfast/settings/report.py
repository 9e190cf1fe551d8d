"""Everything that is wrong with the environment, at once, a line a variable."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from holdfast.settings.failure import Exit, StartFailure
from holdfast.settings.shared import COMMAND_LINE

_LONGEST = 160  # of one part of a line; longer is cut
_SECRET = re.compile(
    r"pass(word|wd|phrase)?s?[0-9]*(_|$)|secret|token|credential|(^|_)(api_?)?key(_|$)|(^|_)pwd(_|$)|salt",
    re.IGNORECASE,
)
# Ours, of routes that need a key: their values are none.
_NO_SECRETS = frozenset({"HOLDFAST_REQUIRE_KEY", "[tool.holdfast] require_key"})
_LOCATOR = re.compile(r"(_|^)(url|uri|dsn|urls|connection_string)(_|$)", re.IGNORECASE)

MAKE_A_SECRET = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'  # noqa: S105 - how to make one, not one


def is_secret(name: str) -> bool:
    """Whether the variable *name* sounds like a password, a key or a token."""
    return _SECRET.search(name) is not None and name not in _NO_SECRETS


def may_show(name: str) -> bool:
    """Whether the value of the variable *name* may stand in a message."""
    return not is_secret(name) and _LOCATOR.search(name) is None


PYPROJECT = "pyproject.toml"
_MENDED = {
    "environment": (
        "Set what is named above in the process environment or in FILE, and start again.\n"
        "The process environment wins over .env.{APP_ENV}, and that over .env."
    ),
    "file": "Correct the file that is named above, and start again.",
    PYPROJECT: "Correct pyproject.toml in what is named above, and start again.",
    COMMAND_LINE: "Correct the option of the command line that is named above, and start again.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: `wrong` finishes the sentence "NAME ..."; no field holds a secret."""

    name: str
    wrong: str
    purpose: str = ""
    example: str = ""
    source: str = ""

    @property
    def place(self) -> str:
        """Where it is mended: a key of `_MENDED`."""
        if self.source == COMMAND_LINE or self.name.startswith("--"):
            return COMMAND_LINE
        if PYPROJECT in (self.source, self.name):
            return PYPROJECT
        return "file" if self.name.startswith(".env") else "environment"

    @property
    def _assigned(self) -> str:
        if self.place == COMMAND_LINE:
            return f"--{self.name.strip('-').lower().replace('_', '-')} "
        return f"{self.name}="

    def line(self) -> str:
        """Name, what is wrong (and where it was read), what it is for, an example."""
        example = "<32 or more random characters>" if is_secret(self.name) else _short(self.example)
        return "".join(
            (
                f"{self.name} {_short(self.wrong)}",
                f" (from {self.source})" if self.source else "",
                f" | {_short(self.purpose)}" if self.purpose else "",
                f" | for example {self._assigned}{example}" if self.example else "",
            )
        )


class Misconfigured(StartFailure):
    """The environment is not what the application and holdfast need; carries all problems."""

    problems: tuple[Problem, ...]

    def __init__(self, problems: Iterable[Problem], app_env: str = "") -> None:
        found = tuple(dict.fromkeys(problems))
        super().__init__("environment", _describe(found), _how_to_fix(found, app_env), Exit.CONFIG)
        self.args = (found, app_env)  # what a copy is made from
        self.problems = found


def _describe(problems: tuple[Problem, ...]) -> str:
    count = "One thing is" if len(problems) == 1 else f"{len(problems)} things are"
    return "\n".join((f"{count} wrong with the environment:", *(f"- {one.line()}" for one in problems)))


def _how_to_fix(problems: tuple[Problem, ...], app_env: str) -> str:
    file = f".env.{app_env}" if app_env else ".env"
    places = {one.place for one in problems}
    lines = [words.replace("FILE", file) for place, words in _MENDED.items() if place in places]
    if any(is_secret(one.name) for one in problems):
        lines.append(f"A good secret: {MAKE_A_SECRET}")
    return "\n".join(lines)


def _short(words: str) -> str:
    plain = " ".join(words.split())
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
