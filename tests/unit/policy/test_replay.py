"""REQ-4: the one question, answered for every combination there is."""

from __future__ import annotations

from itertools import product

import pytest

from holdfast.policy.replay import SAFE_METHODS, Commit, Known, may_run_again, worst

# What is known of an attempt of which no byte has left and whose body is whole. Written out, not
# computed: S safe method, K keyed, - neither; then whether a statement was sent.
TABLE = """
    commit         S     S,sent  S,K   S,K,sent  K     K,sent  -     -,sent
    none           yes   yes     yes   yes       yes   yes     yes   no
    rolled back    yes   yes     yes   yes       yes   yes     yes   no
    sent           no    no      no    no        no    no      no    no
    unknown        no    no      no    no        no    no      no    no
    committed      yes   yes     yes   yes       no    no      no    no
"""


def written_out() -> dict[tuple[bool, bool, bool, Commit], bool]:
    """The table as (safe, keyed, sent, commit) -> answer."""
    head, *lines = TABLE.strip().splitlines()
    columns = [(("S" in one), ("K" in one), ("sent" in one)) for one in head.split()[1:]]
    rows = {}
    for line in lines:
        answers = line.split()[-len(columns) :]
        commit = Commit(" ".join(line.split()[: -len(columns)]))
        rows |= {(*column, commit): answer == "yes" for column, answer in zip(columns, answers, strict=True)}
    return rows


EXPECTED = written_out()


def test_the_table_leaves_no_combination_out() -> None:
    assert set(EXPECTED) == set(product([True, False], [True, False], [True, False], Commit))


@pytest.mark.parametrize("whole", [True, False], ids=["whole body", "body lost"])
@pytest.mark.parametrize("started", [False, True], ids=["nothing left", "a byte left"])
@pytest.mark.parametrize(("safe", "keyed", "sent", "commit"), EXPECTED)
def test_the_truth_table(
    safe: bool, keyed: bool, sent: bool, commit: Commit, started: bool, whole: bool
) -> None:
    """REQ-4: all 160 of them; TXN-4: a commit in doubt is in the table, not in the order of events."""
    known = Known(safe, keyed, sent, commit, started=started, body_whole=whole)
    in_the_table = EXPECTED[safe, keyed, sent, commit]

    assert may_run_again(known) == (False if started or not whole else in_the_table)


def test_by_default_nothing_has_left_and_the_body_is_whole() -> None:
    known = Known(safe=False, keyed=False, sent=False, commit=Commit.NONE)

    assert (known.started, known.body_whole) == (False, True)


# The worse of two ends, row and column in the order of gravity.
WORSE = """
    none          none          rolled back   committed   sent      unknown
    rolled back   rolled back   rolled back   committed   sent      unknown
    committed     committed     committed     committed   sent      unknown
    sent          sent          sent          sent        sent      unknown
    unknown       unknown       unknown       unknown     unknown   unknown
"""
IN_ORDER = (Commit.NONE, Commit.ROLLED_BACK, Commit.COMMITTED, Commit.SENT, Commit.UNKNOWN)


def _worse() -> list[tuple[Commit, Commit, Commit]]:
    cells = []
    for line in WORSE.strip().splitlines():
        words = [one.strip() for one in line.split("  ") if one.strip()]
        one = Commit(words[0])
        cells += [(one, other, Commit(word)) for other, word in zip(IN_ORDER, words[1:], strict=True)]
    return cells


@pytest.mark.parametrize(("one", "other", "expected"), _worse())
def test_an_attempt_is_judged_by_its_worst_transaction(one: Commit, other: Commit, expected: Commit) -> None:
    assert worst(one, other) == expected


def test_all_ends_are_ranked() -> None:
    assert set(IN_ORDER) == set(Commit)


def test_the_safe_methods_are_those_of_rfc_9110() -> None:
    assert {"GET", "HEAD", "OPTIONS", "TRACE"} == SAFE_METHODS
