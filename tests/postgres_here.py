"""A PostgreSQL server of its own on this machine, for tests; Debian: apt-get install postgresql."""

import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "kept/se@cret"  # noqa: S105


class Server:
    """A server with the user `searcher`, whose password is `PASSWORD`, and the database `trials`."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder, self._programs = folder, programs
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # It refuses to run as root.
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:
            account = pwd.getpwnam("postgres")
            self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(folder, account.pw_uid, account.pw_gid)

    def url(self, database: str = "trials") -> str:
        return f"postgresql://searcher@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        access = ["--username=searcher", f"--pwfile={secret}", "--auth=scram-sha-256"]
        self._call("initdb", "--pgdata", str(self._folder / "data"), *access, "--no-sync")

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = str(self._folder / "log")
        self._call("pg_ctl", "--pgdata", str(self._folder / "data"), "-o", options, "-l", log, "-w", "start")

    def stop(self) -> None:
        self._call("pg_ctl", "--pgdata", str(self._folder / "data"), "-m", "immediate", "stop")

    def create(self, database: str) -> None:
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        where = ["--host=127.0.0.1", f"--port={self.port}", "--username=searcher"]
        self._call("createdb", *where, database, env=environment)

    def _call(self, program: str, *words: str, env: dict[str, str] | None = None) -> None:
        command: Sequence[str] = [str(self._programs / program), *words]
        nowhere = subprocess.DEVNULL
        subprocess.run(
            command, check=True, cwd="/", env=env, stdin=nowhere, stdout=nowhere, stderr=nowhere, **self._user
        )


@contextmanager
def start_postgres() -> Iterator[Server]:
    """A running server; the test is skipped, with a warning, where none can be started."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb")) or [shutil.which("initdb") or ""]
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    server = None
    try:
        try:
            pytest.importorskip("psycopg")
            server = Server(folder, Path(found[-1]).parent)
            server.make()
            server.start()
        except (OSError, KeyError, subprocess.CalledProcessError, pytest.skip.Exception) as error:
            warnings.warn(f"PostgreSQL IS NOT TESTED: it cannot be started here ({error})", stacklevel=1)
            server = None
            pytest.skip("PostgreSQL cannot be started")
        server.create("trials")
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
