"""A full disk refuses what a process writes, and takes it again afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from disk import Disk

WRITER = """
import pathlib, sys
for line in sys.stdin:
    try:
        pathlib.Path(sys.argv[1]).write_bytes(bytes(100_000))
    except OSError as error:
        print(type(error).__name__, flush=True)
    else:
        print("written", flush=True)
"""


@pytest.fixture(params=[True, False], ids=["a disk of its own", "a limit"])
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    with Disk(mount=request.param) as disk:
        if request.param and not disk.mounted:
            pytest.skip("mounting is not permitted here")
        yield disk


def test_a_full_disk_refuses_until_it_is_freed(disk: Disk) -> None:
    """JRN-4: what the loop does to the journal's disk is what it says."""
    command = [sys.executable, "-c", WRITER, str(disk.folder / "file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:

        def write() -> str:
            assert writer.stdin is not None
            assert writer.stdout is not None
            print(file=writer.stdin, flush=True)
            return writer.stdout.readline().strip()

        assert write() == "written"
        (disk.folder / "file").unlink()
        disk.fill(writer.pid)
        assert write() == "OSError"
        disk.free()
        assert write() == "written"

    assert disk.folder.exists()
