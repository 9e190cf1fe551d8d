"""The same failure is told in full once, then one line each ten seconds (LOG-5)."""

from __future__ import annotations

from holdfast.telemetry.counting import (
    FORGET_S,
    Counted,
    Fingerprint,
    Full,
    Quiet,
    Seen,
    settle,
    step,
    template,
)

KEY = Fingerprint("shop", "error", "OSError", "it broke")


def test_the_first_is_told_in_full():
    assert (Seen(5.0, 5.0), Full()) == step(None, 5.0)


def test_the_next_is_counted():
    assert (Seen(5.0, 6.0, untold=1), Quiet()) == step(Seen(5.0, 5.0), 6.0)


def test_after_ten_seconds_one_line_says_how_often():
    assert (Seen(15.0, 15.0), Counted(times=4, within=10.0)) == step(Seen(5.0, 14.0, untold=3), 15.0)


def test_a_failure_unseen_for_a_minute_is_a_new_one_and_brings_what_was_not_told():
    late = 14.0 + FORGET_S + 0.1

    assert (Seen(late, late), Full(earlier=3)) == step(Seen(5.0, 14.0, untold=3), late)


def test_the_end_of_an_outage_takes_what_was_not_told_and_forgets_the_old():
    other = KEY._replace(message="it broke elsewhere")
    old = KEY._replace(message="long ago")
    state = {KEY: Seen(5.0, 99.0, untold=2), other: Seen(5.0, 99.0, untold=7), old: Seen(5.0, 5.0)}

    left, untold = settle(state, 100.0)

    assert {other: 7, KEY: 2} == untold
    assert [other, KEY] == list(untold)
    assert {KEY: Seen(100.0, 99.0), other: Seen(100.0, 99.0)} == left


def test_numbers_and_ids_do_not_make_a_failure_another_one():
    assert template("order 7 (0x7f3a) failed") == template("order 12 (0x9b) failed")
    assert template("user deadbeef-0001-4000-8000-0123456789ab") == template("user cafebabe0123")
    assert len(template("x" * 5000)) <= 120
