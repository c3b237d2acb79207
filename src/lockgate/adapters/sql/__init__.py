"""SQLite and PostgreSQL from the same code: records, ledger, outbox, jobs and what is watched."""
