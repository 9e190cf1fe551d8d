"""Whatever stands in the environment: it is read, or refused by name, and never told."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.settings.environment import load
from holdfast.settings.report import Misconfigured
from holdfast.settings.settings import KNOWN, NAMES, Settings

VALUES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=60)
SECRETS = ("DATABASE_URL", "JWT_SECRET", "DIAGNOSTICS_TOKEN")
WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
LAYER = st.dictionaries(st.sampled_from("ABCDE"), WORDS)


@settings(max_examples=500)
@given(st.dictionaries(st.sampled_from(sorted(NAMES)), VALUES, max_size=8))
def test_whatever_is_wrong_is_one_of_the_variables_given(environ: dict[str, str]) -> None:
    """ENV-3, ENV-5: nothing else is ever raised."""
    _, problems = Settings.examined(environ)

    assert {one.name for one in problems} <= {*environ, "DB_POOL_MIN", "HOLDFAST_PROBE_PORT"}
    assert all("\n" not in one.line() for one in problems)


@settings(max_examples=500)
@given(st.sampled_from(SECRETS), st.text("qwxyzQWXYZ@:/#%?[]", min_size=6, max_size=60))
def test_a_secret_is_never_told(name: str, secret: str) -> None:
    """ENV-3."""
    for environ in ({name: secret}, {name: f"postgresql://app:{secret}@db/shop"}):
        try:
            said = repr(Settings.from_environment({**environ, "ENABLE_DIAGNOSTICS": "true"}))
        except Misconfigured as refused:
            said = str(refused)

        assert secret not in said


@settings(max_examples=200)
@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", max_size=30))
def test_every_unknown_name_of_ours_is_refused(rest: str) -> None:
    """ENV-5."""
    name = f"HOLDFAST_{rest}"
    _, problems = Settings.examined({name: ""})

    assert (name in NAMES) == (problems == ())


@settings(max_examples=300)
@given(st.integers(1, 10**9))
def test_milliseconds_become_seconds(number: int) -> None:
    for attribute, setting in KNOWN.items():
        if setting.name.endswith("_MS"):
            assert getattr(Settings.from_environment({setting.name: str(number)}), attribute) == number / 1000


@settings(max_examples=150, deadline=None)
@given(LAYER, LAYER, LAYER, LAYER)
def test_each_variable_comes_from_the_highest_layer_that_has_it(
    process: dict[str, str], explicit: dict[str, str], own: dict[str, str], common: dict[str, str]
) -> None:
    """ENV-1."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, layer in ((".env", common), (".env.test", own), ("explicit", explicit)):
            (folder / name).write_text("".join(f"{key}={value}\n" for key, value in layer.items()))
        found = load(folder, process, default="test", env_file=folder / "explicit")

    assert {**common, **own, **explicit, **process} == found.values
    assert found.problems == ()
