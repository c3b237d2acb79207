"""One database: how it is opened, who may write when, and what its troubles are called."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from lockgate.base.errors import Invalid, LockgateError, Unavailable

#: Advisory locks on PostgreSQL, where SQLite has its one writer.
WRITER, PROFILES, MIGRATION = 0x6C6F636B, 0x6C6F636C, 0x6C6F636D

_SQLITE_TROUBLE = {
    sqlite3.SQLITE_FULL: ("the disk of the database is full", "free some space; nothing was changed"),
    sqlite3.SQLITE_BUSY: ("the database is locked by another program", "try again; look for a backup or a shell on it"),
    sqlite3.SQLITE_LOCKED: ("the database is locked by another program", "try again"),
    sqlite3.SQLITE_READONLY: (
        "the database is read-only",
        "check the file's owner and mode and its disk's mount",
    ),
    sqlite3.SQLITE_IOERR: ("the disk of the database fails", "look at the machine's log; nothing was changed"),
    sqlite3.SQLITE_CANTOPEN: ("the database cannot be opened", "check that its folder exists and may be written"),
    sqlite3.SQLITE_CORRUPT: ("the database file is damaged", "restore the last backup"),
    sqlite3.SQLITE_NOTADB: ("the database file is not a database", "check LOCKGATE_DATABASE_URL"),
}
_POSTGRES_TROUBLE = {
    "53100": ("the disk of the database is full", "free some space; nothing was changed"),
    "53300": ("the database takes no more connections", "raise max_connections"),
    "25006": ("the database is read-only", "it may be a standby; point LOCKGATE_DATABASE_URL at the primary"),
    "55P03": ("the database is locked by another program", "try again"),
    "40P01": ("two changes waited for each other", "try again"),
    "40001": ("two changes met", "try again"),
    "25P03": ("the database gave up on a change that stood still", "try again; nothing was changed"),
}


_log = logging.getLogger(__name__)

#: Seconds after which PostgreSQL ends a transaction whose program stands still: a frozen one must not hold up the rest.
STANDSTILL = 5.0
_OPTIONS = f"-c idle_in_transaction_session_timeout={int(STANDSTILL * 1000)}"


class Database:
    """Connections to one database, for any number of threads. Other processes may have it open too.

    Args:
        url: ``sqlite:////absolute/path`` or ``postgresql://user@host/name``.
        patience: seconds to wait for a lock before giving up with Unavailable.
    """

    def __init__(self, url: str, *, patience: float = 10.0) -> None:
        self.url = _with_driver(make_url(url))
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self._patience = patience
        # SQLite's own waiting polls and is unfair; threads of one process queue here instead.
        self._turn = threading.Lock()
        self._thread = threading.local()
        self.engine = _open(self.url, self.sqlite, patience)
        #: Where a SQLite file is, and which one it was when it was last looked at.
        self._path = self.url.database if self.sqlite else None
        self._file: tuple[int, int] | None = None

    @contextmanager
    def writing(self, *, lock: int | None = WRITER) -> Generator[Connection]:
        """A transaction that may write.

        Writers follow one another: on SQLite all of them, on PostgreSQL those of the same ``lock``
        (None takes none, for statements that guard their own row). So what is read in it stays true
        until it commits.
        """
        with _plainly(), self._my_turn(), self._connected() as opened:
            connection = opened.execution_options(lockgate_writes=True)
            with connection.begin():
                if not self.sqlite:
                    connection.execute(text(f"SET LOCAL lock_timeout = {int(self._patience * 1000)}"))
                    if lock is not None:
                        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
                yield connection

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """A consistent view that refuses writes."""
        with _plainly(), self._connected() as opened:
            connection = opened
            if not self.sqlite:
                connection = opened.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    def use_write_ahead_log(self) -> None:
        """Let readers and the writer of a SQLite file work side by side; the file remembers it."""
        if not self.sqlite:
            return
        give_up = time.monotonic() + self._patience
        with _plainly(), closing(self.engine.raw_connection()) as connection:
            while True:
                try:
                    connection.cursor().execute("PRAGMA journal_mode = WAL")
                    self._note_file()
                    return
                except sqlite3.OperationalError as error:
                    # Programs that start together meet here, and SQLite does not wait for this one.
                    if _primary(error) != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                        raise
                time.sleep(0.02)

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()

    def _connected(self) -> Connection:
        """A connection to the file that is there now: somebody may have put a back-up in its place."""
        if self._path is None or self._file is None:
            return self.engine.connect()
        try:
            found = os.stat(self._path)
        except FileNotFoundError as error:
            # SQLite would make an empty one, and the platform would begin anew as if nothing had been.
            raise Unavailable("the database file is gone", hint="put it back, or restore the last back-up") from error
        if (found.st_dev, found.st_ino) != self._file:
            _log.critical("the database file was replaced; going on with the new one")
            self._file = (found.st_dev, found.st_ino)
            self.engine.dispose()
        return self.engine.connect()

    def _note_file(self) -> None:
        if self._path is not None:
            found = os.stat(self._path)
            self._file = (found.st_dev, found.st_ino)

    @contextmanager
    def _my_turn(self) -> Generator[None]:
        if getattr(self._thread, "writes", False):
            raise LockgateError("a transaction was begun inside another one, which would wait for itself")
        if self.sqlite and not self._turn.acquire(timeout=self._patience):
            raise Unavailable("the database is busy with another change", hint="try again")
        self._thread.writes = True
        try:
            yield
        finally:
            self._thread.writes = False
            if self.sqlite:
                self._turn.release()


def _with_driver(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def _open(url: URL, sqlite: bool, patience: float) -> Engine:
    if not sqlite:
        told = {} if "options" in url.query else {"options": _OPTIONS}
        kept = {"pool_size": 8, "max_overflow": 32, "pool_timeout": patience, "pool_pre_ping": True}
        return create_engine(url, connect_args=told, **kept)
    engine = create_engine(url, pool_size=8, max_overflow=56, pool_timeout=patience, connect_args={"timeout": patience})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: Any) -> None:
    # The driver's own idea of when a transaction begins comes too late for us.
    connection.isolation_level = None
    # NORMAL would lose acknowledged changes in a power cut.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA trusted_schema = OFF")


def _begin(connection: Connection) -> None:
    # A writer that only finds out in the middle that somebody else writes would have to start again.
    writes = connection.get_execution_options().get("lockgate_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _primary(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextmanager
def _plainly() -> Generator[None]:
    """Call the database's troubles by names that say what to do."""
    try:
        yield
    except DBAPIError as error:
        known = _translated(error)
        if known is None:
            raise
        raise known from error
    except sqlite3.Error as error:
        trouble = _SQLITE_TROUBLE.get(_primary(error))
        if trouble is None:
            raise
        raise Unavailable(trouble[0], hint=trouble[1]) from error
    except PoolTimeout as error:
        raise Unavailable("too many changes wait for the database", hint="try again") from error
    except OverflowError as error:
        # SQLite's driver alone says it so; PostgreSQL has an error of its own for it.
        if "SQLite" not in str(error):
            raise
        raise Invalid("a number is larger than can be kept", hint="send numbers of at most 64 bits") from error
    except UnicodeEncodeError as error:
        raise Invalid("a text holds characters that cannot be kept", hint="send valid Unicode") from error


def _translated(error: DBAPIError) -> LockgateError | None:
    if isinstance(error, DataError):
        return Invalid(f"a value cannot be kept: {error.orig}")
    trouble: tuple[str, str] | None = None
    if isinstance(error.orig, sqlite3.Error):
        trouble = _SQLITE_TROUBLE.get(_primary(error.orig))
    else:
        state = getattr(error.orig, "sqlstate", None) or ""
        trouble = _POSTGRES_TROUBLE.get(state)
        if trouble is None and (error.connection_invalidated or state[:2] in ("08", "53", "57") or not state):
            trouble = ("the database does not answer", "start it again; lockgate goes on by itself")
    return None if trouble is None else Unavailable(trouble[0], hint=trouble[1])
