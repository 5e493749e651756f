-- The record of commitment requests, version 1. Tables are the node's own and change with versions; the views `commitment_requests` and
-- `commitment_references` are for readers and keep their columns. Times are milliseconds since 1970, UTC, of a clock that may have been set.

CREATE TABLE request (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- ascending; a new file begins with the time, so that no id is ever used twice
  transaction_uid TEXT NOT NULL,         -- (0008,1195)
  calling TEXT NOT NULL,                 -- AE title of the peer that asked
  called TEXT NOT NULL,                  -- AE title that it called this node
  address TEXT NOT NULL,                 -- without port
  association INTEGER NOT NULL,          -- its number in the log
  received_ms INTEGER NOT NULL,
  state INTEGER NOT NULL,                -- 0 received, 1 evaluated, 2 reported, 3 failed, 4 on its way out
  instances INTEGER NOT NULL,            -- that it names
  committed INTEGER NOT NULL DEFAULT 0,  -- of them, by the last evaluation
  refused INTEGER NOT NULL DEFAULT 0,    -- of them, by the last evaluation
  next_ms INTEGER NOT NULL,              -- when it is looked at next, while it is pending
  attempts INTEGER NOT NULL DEFAULT 0,   -- to report it
  last_status INTEGER,                   -- of the last one: the peer's DIMSE status, if it gave one
  last_comment TEXT NOT NULL DEFAULT '', -- why the last one failed
  tried_ms INTEGER NOT NULL DEFAULT 0,   -- for so long it has been tried, each step of at most 15 minutes
  counted_ms INTEGER NOT NULL,           -- up to this time
  evaluated_ms INTEGER,                  -- last
  ended_ms INTEGER                       -- when it was reported or failed
);
CREATE UNIQUE INDEX request_transaction ON request (calling, transaction_uid);
CREATE INDEX request_pending ON request (calling, address, state, next_ms, instances, received_ms) WHERE state < 2;
CREATE INDEX request_ended ON request (ended_ms, instances) WHERE state > 1;
CREATE INDEX request_failed ON request (state) WHERE state = 3;

CREATE TABLE reference (
  request INTEGER NOT NULL REFERENCES request,
  position INTEGER NOT NULL,             -- in the Referenced SOP Sequence (0008,1199), from 0
  sop_class BLOB NOT NULL,               -- (0008,1150), packed as in the catalogue
  sop_instance BLOB NOT NULL,            -- (0008,1155), packed
  outcome INTEGER,                       -- NULL: not known yet; 0 committed; else the Failure Reason (0008,1197)
  PRIMARY KEY (request, position)
) WITHOUT ROWID;
