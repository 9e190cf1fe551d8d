"""What every journal promises (JRN-3, JRN-4, JRN-5), as tests that any store of entries can be put under.

A class of tests for a store takes `JournalContract` and gives it a fixture `opening`: a function that
opens the journal under test, as another worker would, with a bound in bytes.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest
from journaled import (
    ANNA,
    BERT,
    DEAD,
    DONE,
    FAILED,
    GIVEN,
    ROOM,
    a_new,
    accepted,
    ended,
    finished,
    known,
    leased,
    numbers,
)

from holdfast.work.entry import Answer, Entry, Holder, Outcome, State, given_back, name_of
from holdfast.work.holder import holder_of_this_process
from holdfast.work.journal import Journal, JournalError, JournalFullError

Opening = Callable[..., Journal]


class JournalContract:
    @pytest.fixture
    def journal(self, opening: Opening) -> Iterator[Journal]:
        journal = opening(ROOM)
        yield journal
        journal.close()

    # ---- accepting ------------------------------------------------------------------------------

    def test_what_is_accepted_comes_back_as_it_was_sent(self, journal: Journal) -> None:
        new = a_new(body=bytes(range(256)) * 40, client=None)

        number = journal.accept(new).result()

        assert journal.entry(number).result() == Entry(number, new)
        assert journal.find(new.name).result() == Entry(number, new)

    def test_a_request_without_anything_is_kept_too(self, journal: Journal) -> None:
        new = a_new(body=b"", headers=(), target="/", order="", key="")

        number = journal.accept(new).result()

        assert known(journal, number).new == new

    def test_numbers_follow_the_order_of_acceptance(self, journal: Journal) -> None:
        given = accepted(journal, "a", "b", "c")

        assert given == sorted(set(given))

    def test_the_same_name_again_gives_the_same_number(self, journal: Journal) -> None:
        first, second = accepted(journal, "a", "b")

        assert accepted(journal, "a", "b") == [first, second]
        assert journal.backlog().result().entries == 2

    def test_what_nobody_accepted_is_not_there(self, journal: Journal) -> None:
        assert journal.entry(1).result() is None
        assert journal.find(name_of("one")).result() is None
        assert leased(journal) == []
        assert not journal.drop(1).result()
        assert not journal.retry(1).result()
        assert not finished(journal, 1)
        assert journal.renew([1], ANNA, 100.0).result() == []
        for beyond in (10**23, -(10**23)):
            assert journal.entry(beyond).result() is None
            assert not journal.drop(beyond).result()
            assert not journal.retry(beyond).result()

    def test_a_number_is_never_given_twice(self, journal: Journal) -> None:
        (first,) = accepted(journal, "a")
        journal.drop(first).result()

        assert accepted(journal, "a")[0] > first

    # ---- leasing --------------------------------------------------------------------------------

    def test_the_oldest_are_given_out_first_and_no_more_than_asked_for(self, journal: Journal) -> None:
        a, b, c = accepted(journal, "a", "b", "c")

        assert leased(journal, 2) == [a, b]
        assert leased(journal, 2) == [c]
        assert leased(journal, 2) == []

    def test_a_leased_entry_says_who_holds_it_and_until_when(self, journal: Journal) -> None:
        accepted(journal, "a")

        (entry,) = journal.lease(1, ANNA, 130.25, 100.0).result()

        assert entry == Entry(entry.number, a_new("a"), State.RUNNING, leased_until=130.25, holder=ANNA)
        assert known(journal, entry.number) == entry

    def test_entries_of_one_order_run_one_after_the_other(self, journal: Journal) -> None:
        first, second, third = accepted(journal, "a", "b", "c", order="anna")

        for number in (first, second, third):
            assert leased(journal) == [number]
            assert leased(journal, holder=BERT) == []
            assert finished(journal, number)
        assert leased(journal) == []

    def test_an_order_that_begins_like_another_is_another(self, journal: Journal) -> None:
        (one,) = accepted(journal, "a", order="anna")
        (other,) = accepted(journal, "b", order="anna1")

        assert leased(journal) == [one, other]

    def test_an_entry_in_a_pause_keeps_those_behind_it_waiting_and_no_others(self, journal: Journal) -> None:
        first, second = accepted(journal, "a", "b", order="anna")
        assert leased(journal) == [first]
        assert finished(journal, first, Outcome(State.PENDING, None, 1, "answered 500", 5.0), now=110.0)
        (other,) = accepted(journal, "c")

        assert leased(journal, now=114.9) == [other]
        assert leased(journal, now=115.0) == [first]
        assert known(journal, first).attempts == 1
        assert known(journal, first).cause == "answered 500"
        assert known(journal, first).not_before == 115.0
        assert finished(journal, first, now=116.0)
        assert leased(journal, now=116.0) == [second]

    @pytest.mark.parametrize("outcome", [FAILED, DEAD], ids=["failed", "dead"])
    def test_one_that_failed_for_good_does_not_stop_those_behind_it(
        self, journal: Journal, outcome: Outcome
    ) -> None:
        first, second = accepted(journal, "a", "b", order="anna")
        ended(journal, first, outcome)

        assert leased(journal) == [second]

    def test_a_lease_that_ran_out_is_given_to_another(self, journal: Journal) -> None:
        first, _second = accepted(journal, "a", "b", order="anna")
        assert leased(journal, until=130.0) == [first]

        assert leased(journal, holder=BERT, until=160.0, now=129.9) == []
        assert leased(journal, holder=BERT, until=160.0, now=130.1) == [first]
        assert not finished(journal, first, holder=ANNA, now=131.0)
        assert journal.renew([first], ANNA, 190.0).result() == []
        assert known(journal, first).holder == BERT
        assert finished(journal, first, holder=BERT, now=131.0)

    def test_a_result_after_the_lease_ran_out_changes_nothing(self, journal: Journal) -> None:
        (number,) = accepted(journal, "a")
        leased(journal, until=130.0)

        assert not finished(journal, number, now=130.5)
        assert leased(journal, holder=BERT, until=160.0, now=130.5) == [number]

    def test_renewing_prolongs_what_is_held_and_tells_what_is_not(self, journal: Journal) -> None:
        a, b, c = accepted(journal, "a", "b", "c")
        assert leased(journal, 2, ANNA, until=130.0) == [a, b]
        assert leased(journal, 1, BERT, until=130.0) == [c]

        assert sorted(journal.renew([a, b, c, 999], ANNA, 160.0).result()) == [a, b]
        assert leased(journal, holder=BERT, until=190.0, now=140.0) == [c]
        assert sorted(leased(journal, holder=BERT, until=190.0, now=161.0)) == [a, b]

    def test_on_this_machine_a_dead_holder_is_seen_at_once(self, journal: Journal) -> None:
        us = holder_of_this_process()
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        started_at = psutil.Process(child.pid).create_time()
        theirs = Holder("c" * 32, us.host, child.pid, started_at)
        first, second = accepted(journal, "a", "b", order="anna")
        (other,) = accepted(journal, "c")
        assert leased(journal, holder=theirs, until=1e9) == [first, other]

        assert leased(journal, holder=us, until=1e9) == []
        child.kill()
        child.communicate()
        assert leased(journal, 1, holder=us, until=1e9) == [first]
        assert leased(journal, holder=us, until=1e9) == [other]
        assert not finished(journal, first, holder=theirs)
        assert finished(journal, first, holder=us)
        assert leased(journal, holder=us, until=1e9) == [second]

    def test_a_process_that_was_given_a_dead_ones_number_does_not_hold_its_leases(
        self, journal: Journal
    ) -> None:
        us = holder_of_this_process()
        parent = psutil.Process().ppid()
        dead = Holder("c" * 32, us.host, parent, psutil.Process(parent).create_time() - 3600)
        (number,) = accepted(journal, "a")
        assert leased(journal, holder=dead, until=1e9) == [number]

        assert leased(journal, holder=us, until=1e9) == [number]

    def test_what_is_taken_back_from_another_was_interrupted(self, journal: Journal) -> None:
        """JRN-3: so that one that ends its processes is known by it. A run's own end says how many it has."""
        (number,) = accepted(journal, "a")
        assert leased(journal, until=130.0) == [number]
        assert leased(journal, until=160.0, now=130.0) == [number]  # by the same: it lives
        assert known(journal, number).interruptions == 0

        assert leased(journal, holder=BERT, until=190.0, now=160.0) == [number]
        assert leased(journal, until=220.0, now=190.0) == [number]
        assert known(journal, number).interruptions == 2

        assert finished(journal, number, given_back(known(journal, number)), now=190.0)
        assert known(journal, number).interruptions == 2
        ended(journal, number, replace(DEAD, interruptions=3), now=190.0)
        assert known(journal, number).interruptions == 3
        assert journal.retry(number).result()
        assert known(journal, number).interruptions == 0

        assert leased(journal, until=220.0, now=190.0) == [number]
        assert leased(journal, holder=BERT, until=250.0, now=220.0) == [number]
        assert finished(journal, number, holder=BERT, now=220.0)
        assert known(journal, number).interruptions == 0

    # ---- finishing ------------------------------------------------------------------------------

    def test_a_finished_entry_keeps_its_answer(self, journal: Journal) -> None:
        (number,) = accepted(journal, "a")

        ended(journal, number, DONE, now=110.5)

        expected = Entry(number, a_new("a"), State.DONE, answer=GIVEN, finished_at=110.5)
        assert replace(known(journal, number), leased_until=0.0, holder=None) == expected

    def test_only_its_holder_finishes_an_entry_and_only_once(self, journal: Journal) -> None:
        (number,) = accepted(journal, "a")

        assert not finished(journal, number)
        leased(journal)
        assert not finished(journal, number, holder=BERT)
        assert known(journal, number).state is State.RUNNING
        assert finished(journal, number)
        assert not finished(journal, number, DEAD)
        assert known(journal, number).state is State.DONE

    # ---- what an admin does ---------------------------------------------------------------------

    @pytest.mark.parametrize("outcome", [FAILED, DEAD], ids=["failed", "dead"])
    def test_a_retried_entry_starts_from_the_beginning(self, journal: Journal, outcome: Outcome) -> None:
        (number,) = accepted(journal, "a")
        ended(journal, number, outcome)

        assert journal.retry(number).result()

        entry = known(journal, number)
        assert (entry.state, entry.attempts, entry.answer, entry.finished_at) == (
            State.PENDING,
            0,
            None,
            None,
        )
        assert entry.cause == outcome.cause  # that it has failed before is not forgotten
        assert journal.backlog().result().stored_bytes == entry.new.size
        assert journal.prune(1e9).result() == 0
        assert leased(journal) == [number]

    def test_only_what_failed_or_died_is_retried(self, journal: Journal) -> None:
        pending, running, done = accepted(journal, "pending", "running", "done")
        ended(journal, pending, replace(DONE, state=State.PENDING, answer=None, delay_s=1e6))
        assert finished(journal, done)

        assert [journal.retry(number).result() for number in (pending, running, done)] == [False] * 3

    def test_a_retried_entry_takes_its_old_place_once_what_runs_is_over(self, journal: Journal) -> None:
        first, second, third = accepted(journal, "a", "b", "c", order="anna")
        ended(journal, first, DEAD)
        assert leased(journal) == [second]

        assert journal.retry(first).result()

        assert leased(journal) == []
        assert finished(journal, second)
        assert leased(journal) == [first]
        assert finished(journal, first)
        assert leased(journal) == [third]

    def test_a_retried_entry_goes_before_one_that_waits(self, journal: Journal) -> None:
        first, second = accepted(journal, "a", "b", order="anna")
        ended(journal, first, DEAD)
        assert journal.retry(first).result()

        assert leased(journal) == [first]
        assert finished(journal, first)
        assert leased(journal) == [second]

    def test_dropping_lets_those_behind_go(self, journal: Journal) -> None:
        first, second = accepted(journal, "a", "b", order="anna")

        assert journal.drop(first).result()

        assert journal.entry(first).result() is None
        assert journal.find(name_of("a")).result() is None
        assert leased(journal) == [second]
        assert not journal.drop(first).result()

    def test_what_runs_is_not_dropped(self, journal: Journal) -> None:
        (number,) = accepted(journal, "a")
        leased(journal)

        assert not journal.drop(number).result()
        assert finished(journal, number)

    def test_pruning_removes_what_was_done_or_failed_before(self, journal: Journal) -> None:
        done, failed, dead, late, waiting = accepted(journal, "done", "failed", "dead", "late", "waiting")
        leased(journal, 4, until=300.0)
        for number, outcome, now in (
            (done, DONE, 110),
            (failed, FAILED, 120),
            (dead, DEAD, 120),
            (late, DONE, 130),
        ):
            assert finished(journal, number, outcome, now=float(now))

        assert journal.prune(130.0).result() == 2
        assert numbers(journal.listed(None, 10).result()) == [dead, late, waiting]
        assert journal.find(name_of("done")).result() is None

    def test_pruning_removes_however_many_there_are(self, journal: Journal) -> None:
        given = accepted(journal, *(str(number) for number in range(450)))
        assert leased(journal, 1000) == given
        for number in given:
            assert finished(journal, number)

        assert journal.prune(1e9).result() == 450
        assert journal.backlog().result().stored_bytes == 0

    def test_listing_goes_on_where_it_ended(self, journal: Journal) -> None:
        a, b, c, d = accepted(journal, "a", "b", "c", "d")
        leased(journal, 3)
        assert finished(journal, a, DEAD)
        assert finished(journal, c, DEAD)

        assert numbers(journal.listed(None, 3).result()) == [a, b, c]
        assert numbers(journal.listed(None, 3, after=c).result()) == [d]
        assert numbers(journal.listed(State.DEAD, 1).result()) == [a]
        assert numbers(journal.listed(State.DEAD, 9, after=a).result()) == [c]
        assert numbers(journal.listed(State.DONE, 9).result()) == []

    # ---- room -----------------------------------------------------------------------------------

    def test_the_backlog_counts_what_waits_and_what_is_stored(self, journal: Journal) -> None:
        """JRN-4: backlog and age."""
        assert journal.backlog().result().entries == 0
        assert journal.backlog().result().oldest_at is None
        for at, id in enumerate("abc"):  # noqa: A001
            journal.accept(a_new(id, journaled_at=1000.5 + at)).result()
        first = journal.listed(None, 1).result()[0]
        ended(journal, first.number, Outcome(State.DONE, Answer(200, ((b"ab", b"c"),), b"12345")))

        backlog = journal.backlog().result()

        assert backlog.entries == 2
        assert backlog.oldest_at == 1001.5
        assert backlog.by_state == {"pending": 0, "running": 2, "done": 1, "failed": 0, "dead": 0}
        assert backlog.stored_bytes == sum(a_new(id).size for id in "abc") + 8  # noqa: A001

    def test_its_bound_refuses_and_says_what_to_do(self, opening: Opening) -> None:
        """JRN-4: bounded by bytes; room comes back."""
        journal = opening(a_new("a").size * 2)
        first, _ = accepted(journal, "a", "b")

        with pytest.raises(JournalFullError, match="HOLDFAST_JOURNAL_MAX_BYTES"):
            accepted(journal, "c")
        assert accepted(journal, "a") == [first]
        journal.drop(first).result()
        assert len(accepted(journal, "c")) == 1
        journal.close()

    def test_what_is_finished_makes_room_the_oldest_done_first(self, opening: Opening) -> None:
        """JRN-4: an answer that is still kept refuses nobody; `failed` ones go last."""
        size = a_new("a").size
        journal = opening(size * 4)
        failed, first, second, dead = accepted(journal, "a", "b", "c", "d")
        assert leased(journal) == [failed, first, second, dead]
        ends = {failed: replace(FAILED, answer=None), second: Outcome(State.DONE), first: Outcome(State.DONE)}
        for number, outcome in {**ends, dead: DEAD}.items():
            assert finished(journal, number, outcome)

        later = accepted(journal, "e")
        assert numbers(journal.listed(None, 10).result()) == [failed, second, dead, *later]
        assert journal.find(name_of("b")).result() is None
        later += accepted(journal, "f", "g")
        assert numbers(journal.listed(None, 10).result()) == [dead, *later]
        backlog = journal.backlog().result()
        assert backlog.by_state == {"pending": 3, "running": 0, "done": 0, "failed": 0, "dead": 1}
        assert backlog.stored_bytes == size * 4
        with pytest.raises(JournalFullError, match="waits, runs or is dead"):
            accepted(journal, "h")
        assert leased(journal) == later
        journal.close()

    def test_nothing_is_let_go_for_one_that_has_no_room_all_the_same(self, opening: Opening) -> None:
        """JRN-4: several make room for one; what waits, runs or is dead is never let go."""
        size = a_new("a").size
        journal = opening(size * 4)
        first, second, third, waits = accepted(journal, "a", "b", "c", "d")
        assert leased(journal, 3) == [first, second, third]
        for number in (first, second):
            assert finished(journal, number, Outcome(State.DONE))

        body = a_new("a").body
        with pytest.raises(JournalFullError, match="HOLDFAST_JOURNAL_MAX_BYTES"):
            journal.accept(a_new("e", body=body + bytes(size + 1))).result()
        assert numbers(journal.listed(None, 10).result()) == [first, second, third, waits]

        large = journal.accept(a_new("e", body=body + bytes(size))).result()
        assert numbers(journal.listed(None, 10).result()) == [third, waits, large]
        assert journal.backlog().result().stored_bytes == size * 4
        journal.close()

    # ---- several workers ------------------------------------------------------------------------

    def test_two_workers_share_one_journal_and_nothing_runs_twice(self, opening: Opening) -> None:
        """JRN-5: many workers; two threads take turns as the scheduler likes."""
        workers = [(opening(ROOM), ANNA), (opening(ROOM), BERT)]
        given = accepted(workers[0][0], *(str(number) for number in range(60)))
        given += [workers[1][0].accept(a_new(f"x{n}", order="anna")).result() for n in range(20)]
        ran: list[int] = []

        def work(journal: Journal, holder: Holder) -> None:
            dice = random.Random(holder.pid)
            while journal.backlog().result().entries:
                for entry in journal.lease(dice.randint(1, 4), holder, 1e9, 100.0).result():
                    ran.append(entry.number)
                    assert journal.finish(entry.number, holder, DONE, 110.0).result()

        threads = [threading.Thread(target=work, args=worker) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(ran) == given
        assert [number for number in ran if number in given[60:]] == given[60:]
        for journal, _ in workers:
            journal.close()

    def test_everything_asked_is_done_before_it_closes_and_nothing_after(self, opening: Opening) -> None:
        journal = opening(ROOM)
        futures = [journal.accept(a_new(str(number))) for number in range(50)]

        journal.close()

        assert len({future.result() for future in futures}) == 50
        with pytest.raises(JournalError, match="closed"):
            accepted(journal, "late")
        again = opening(ROOM)
        assert again.backlog().result().entries == 50
        again.close()
