"""REQ-4, TXN-4: what must hold of the answer whatever is known."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.replay import Commit, Known, may_run_again, worst

COMMITS = st.sampled_from(Commit)
KNOWN = st.builds(Known, st.booleans(), st.booleans(), st.booleans(), COMMITS, st.booleans(), st.booleans())
IN_DOUBT = (Commit.SENT, Commit.UNKNOWN)


@given(KNOWN)
def test_never_once_a_byte_of_the_answer_left(known: Known) -> None:
    assert not may_run_again(replace(known, started=True))


@given(KNOWN)
def test_never_without_the_whole_body(known: Known) -> None:
    assert not may_run_again(replace(known, body_whole=False))


@given(KNOWN, st.sampled_from(IN_DOUBT))
def test_never_while_a_commit_is_in_doubt(known: Known, commit: Commit) -> None:
    assert not may_run_again(replace(known, commit=commit))


@given(KNOWN)
def test_an_effect_that_is_there_is_never_made_again(known: Known) -> None:
    known = replace(known, safe=False, commit=Commit.COMMITTED)

    assert not may_run_again(known)


@given(KNOWN, COMMITS)
def test_a_worse_end_never_turns_no_into_yes(known: Known, more: Commit) -> None:
    after = replace(known, commit=worst(known.commit, more))

    assert may_run_again(known) or not may_run_again(after)


@given(KNOWN)
def test_what_was_sent_never_turns_no_into_yes(known: Known) -> None:
    assert may_run_again(replace(known, sent=False)) or not may_run_again(replace(known, sent=True))


@given(KNOWN)
def test_a_safe_method_or_a_key_never_turns_yes_into_no(known: Known) -> None:
    if may_run_again(known):
        assert may_run_again(replace(known, safe=True))
        assert may_run_again(replace(known, keyed=True))


@given(COMMITS, COMMITS, COMMITS)
def test_the_worst_of_many_does_not_depend_on_their_order(one: Commit, two: Commit, three: Commit) -> None:
    assert worst(one, one) == one
    assert worst(one, two) == worst(two, one)
    assert worst(worst(one, two), three) == worst(one, worst(two, three))
    assert worst(one, two) in (one, two)


@given(KNOWN, st.lists(COMMITS))
def test_one_commit_in_doubt_among_many_transactions_is_enough(known: Known, ends: list[Commit]) -> None:
    """Whatever came before or after it: doubt is never outvoted."""
    total = Commit.NONE
    for end in ends:
        total = worst(total, end)

    if any(end in IN_DOUBT for end in ends):
        assert not may_run_again(replace(known, commit=total))
