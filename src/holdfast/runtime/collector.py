"""Python's garbage collector, told what a server knows: startup lasts, and requests make many objects."""

from __future__ import annotations

import gc

_USUAL, OURS = 700, 7000


def spare_the_collector() -> None:
    """Keep what startup made out of all further collections, and collect less often.

    It lives as long as the process; and a request makes several hundred objects, so that a
    collection in every other is too many. Thresholds that the application chose are kept.
    """
    gc.collect()
    gc.freeze()
    first, *others = gc.get_threshold()
    if first == _USUAL:
        gc.set_threshold(OURS, *others)
