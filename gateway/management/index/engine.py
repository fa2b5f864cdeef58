"""Opening the index: one schema, SQLite by default, PostgreSQL by URL; nothing here is particular to one of them
but the few lines that say so.

Writing and reading differ: ``with engine.begin() as connection`` is for writing and takes SQLite's write lock at
once (a transaction that reads first and writes later would fail when another process wrote in between);
``with engine.connect() as connection`` is for reading and never blocks a writer.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import ConnectionPoolEntry

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table module of this package adds its tables here."""

BUSY_TIMEOUT_S = 15.0
_WRITING = "index_writing"
_SCHEMA_LOCK = 0x6D504143  # PostgreSQL advisory lock: processes that start together create the tables once


class IndexEngine(Engine):
    """An engine whose ``begin`` is a writing transaction from its first moment."""

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that writes; commits at the end, rolls back on an exception."""
        with self.connect() as connection:
            connection.execution_options(**{_WRITING: True})
            with connection.begin():
                yield connection


def open_index(url_or_path: str | Path) -> Engine:
    """Open the index and create what tables of the imported modules are missing.

    Args:
        url_or_path: a path of an SQLite file, or a SQLAlchemy URL (``postgresql+psycopg://...``).

    Raises:
        sqlalchemy.exc.OperationalError: the database cannot be reached or written.
    """
    text = str(url_or_path)
    url = sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=text)
    # hide_parameters: an error text must not carry a patient's name.
    stock = sa.create_engine(url, pool_size=5, max_overflow=32, hide_parameters=True)
    engine = IndexEngine(stock.pool, stock.dialect, stock.url, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
        metadata.create_all(connection)
    return engine


def _prepare_sqlite(raw: sqlite3.Connection, _record: ConnectionPoolEntry) -> None:
    raw.isolation_level = None  # pysqlite would begin on its own, and only before some statements
    raw.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
    _use_wal(raw)
    # NORMAL lost acknowledged rows in nearly every power cut.
    raw.execute("PRAGMA synchronous=FULL")
    raw.execute("PRAGMA foreign_keys=ON")


def _use_wal(raw: sqlite3.Connection) -> None:
    """The switch to WAL ignores busy_timeout when another process switches at the same moment."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            raw.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get(_WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN DEFERRED")


def next_revision(connection: Connection) -> int:
    """The next value of the index's change counter, inside the caller's writing transaction.

    The counter's row is locked until the commit, so revisions become visible in ascending order: who has seen
    revision n never finds a smaller one later.
    """
    found = connection.execute(_NEXT_REVISION).scalar_one_or_none()
    if found is None:
        connection.execute(sa.insert(counters).values(name="revision", value=1))
        return 1
    return int(found)


counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

_NEXT_REVISION = (
    sa.update(counters)
    .where(counters.c.name == "revision")
    .values(value=counters.c.value + 1)
    .returning(counters.c.value)
)
