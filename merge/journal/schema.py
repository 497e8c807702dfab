"""What does a journal look like on disk, and how does an older one come to look like it?"""

from __future__ import annotations

MARK = 0x6D70_6A31
"""What tells a journal from any other database."""

VERSION = 2
"""The number of the schema."""

_BOUNCES = """
CREATE TABLE bounces (
    id INTEGER PRIMARY KEY,
    edition INTEGER NOT NULL REFERENCES editions,
    key TEXT NOT NULL,          -- of the row that it is about
    recipient TEXT NOT NULL,    -- the address that the report names
    kind TEXT NOT NULL CHECK (kind IN ('hard', 'soft', 'complaint', 'unsubscribed')),
    code TEXT NOT NULL,         -- the enhanced status code, or empty
    reply TEXT NOT NULL,
    time REAL NOT NULL,         -- of the report, in seconds since the epoch
    report TEXT NOT NULL UNIQUE -- a hash of the report and the recipient: what was read twice counts once
);
"""
_ATTEMPTED = """
CREATE TRIGGER attempted AFTER UPDATE OF time ON rows
    BEGIN INSERT OR REPLACE INTO attempts VALUES (new.time, new.id, new.state, new.code, new.recipients);
    END;
"""

SCHEMA = f"""
CREATE TABLE editions (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    forgotten REAL
);
CREATE TABLE meta (
    edition INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (edition, name)
) WITHOUT ROWID;
CREATE TABLE rows (
    id INTEGER PRIMARY KEY,
    edition INTEGER NOT NULL REFERENCES editions,
    key TEXT NOT NULL,
    copy INTEGER NOT NULL,      -- 0: the row that counts; else the row number of a further row with this key
    row INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    listed TEXT NOT NULL,       -- what the list says: waiting, invalid, skipped; empty when gone from it
    state TEXT NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL,
    digest TEXT NOT NULL,       -- of what the list and the letter make of the row now
    attempts INTEGER NOT NULL DEFAULT 0,
    first REAL,                 -- seconds since the epoch, as are time and due
    time REAL,
    due REAL,
    stage TEXT NOT NULL DEFAULT '',
    code INTEGER,
    enhanced TEXT NOT NULL DEFAULT '',
    reply TEXT NOT NULL DEFAULT '',
    message_id TEXT NOT NULL DEFAULT '',
    date TEXT NOT NULL DEFAULT '',
    given TEXT NOT NULL DEFAULT '',         -- digest of what a server was given
    fingerprint TEXT NOT NULL DEFAULT '',   -- of the campaign when a server was given it
    recipients INTEGER NOT NULL DEFAULT 1,  -- how many people its letter goes to, Cc and Bcc included
    UNIQUE (edition, key, copy)
);
CREATE INDEX place ON rows (edition, row);
CREATE INDEX tally ON rows (edition, listed, state, settled);
CREATE INDEX copies ON rows (edition) WHERE copy > 0;
CREATE INDEX in_flight ON rows (id) WHERE state = 'committing';
CREATE TABLE attempts (
    time REAL NOT NULL,
    row INTEGER NOT NULL,
    state TEXT NOT NULL,
    code INTEGER,
    recipients INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (time, row)
) WITHOUT ROWID;
CREATE TRIGGER sent_is_final BEFORE UPDATE OF state ON rows
    WHEN old.state = 'sent' AND new.state <> 'sent'
    BEGIN SELECT raise(ABORT, 'a row that was sent stays sent'); END;
{_BOUNCES}CREATE INDEX bounced ON bounces (edition, key);{_ATTEMPTED}"""

STEPS = {
    1: f"""
ALTER TABLE rows ADD COLUMN recipients INTEGER NOT NULL DEFAULT 1;
ALTER TABLE attempts ADD COLUMN recipients INTEGER NOT NULL DEFAULT 1;
DROP TRIGGER attempted;
{_BOUNCES}CREATE INDEX bounced ON bounces (edition, key);{_ATTEMPTED}""",
}
"""What makes the next format of a file of each older one; nothing is lost on the way."""

STAND_INS = {1: _BOUNCES.replace("CREATE TABLE", "CREATE TEMP TABLE").replace("REFERENCES editions", "")}
"""What an older file has to be lent where it may only be read."""
