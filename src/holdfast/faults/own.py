"""What our own exceptions mean; looked up by name like those of any library."""

from __future__ import annotations

from dataclasses import replace

from holdfast.faults.category import Category, Fault, Outcome, Severity
from holdfast.faults.table import Table
from holdfast.faults.verdicts import LOST

TABLE: Table = {
    "holdfast.work.transactions_errors.CommitOutcomeUnknown": replace(LOST, transient=False, lost=False),
    "holdfast.work.transactions_errors.ConcurrentModification": Fault(
        Category.CONFLICT, 409, False, Outcome.NOT_APPLIED, Severity.WARNING
    ),
    # The work of its key is there already: an earlier attempt's answer is the answer.
    "holdfast.databases.sqlalchemy_commit.AlreadyAppliedError": Fault(
        Category.CONFLICT, 409, False, Outcome.NOT_APPLIED, Severity.INFO
    ),
}
