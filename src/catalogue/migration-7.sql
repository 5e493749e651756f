-- Version 7. When a study or a series is complete, and the events that say so. What was stored before is not followed until something new comes, so it
-- is not announced.
ALTER TABLE study ADD COLUMN state INTEGER NOT NULL DEFAULT 0;   -- 0 not followed, 1 open, 2 complete, 3 reopened
ALTER TABLE study ADD COLUMN due_ms INTEGER;                     -- when it has been quiet for long enough; NULL: complete, not followed or held
ALTER TABLE study ADD COLUMN is_held INTEGER NOT NULL DEFAULT 0; -- 1: it was due while somebody was sending of it
ALTER TABLE study ADD COLUMN told INTEGER NOT NULL DEFAULT 0;    -- how often it was complete
ALTER TABLE study ADD COLUMN told_ms INTEGER;                    -- when it was complete last, and with what
ALTER TABLE study ADD COLUMN told_instances INTEGER;
ALTER TABLE study ADD COLUMN told_bytes INTEGER;
ALTER TABLE study ADD COLUMN told_digest BLOB;                   -- of the set: docs/events.md
CREATE INDEX study_due ON study (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX study_complete ON study (id) WHERE state = 2;
CREATE INDEX study_held ON study (is_held) WHERE is_held = 1;

ALTER TABLE series ADD COLUMN state INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN due_ms INTEGER;
ALTER TABLE series ADD COLUMN is_held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN told_ms INTEGER;
ALTER TABLE series ADD COLUMN told_instances INTEGER;
ALTER TABLE series ADD COLUMN told_bytes INTEGER;
ALTER TABLE series ADD COLUMN told_digest BLOB;
CREATE INDEX series_due ON series (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX series_held ON series (study) WHERE is_held = 1;

-- Whether it was announced that a destination has all of a study, since it was complete last, and that deliveries of it are dead, since there are any.
ALTER TABLE study_destination ADD COLUMN is_done_told INTEGER NOT NULL DEFAULT 0;
ALTER TABLE study_destination ADD COLUMN is_dead_told INTEGER NOT NULL DEFAULT 0;

-- An event that a sink wants, without the patient.
CREATE TABLE event (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind INTEGER NOT NULL,                 -- 0 study.complete, 1 study.reopened, 2 series.complete, 3 instance.stored, 4 delivery.done, 5 delivery.dead
  study INTEGER NOT NULL REFERENCES study,
  subject TEXT NOT NULL,                 -- Study Instance UID
  at_ms INTEGER NOT NULL,
  data TEXT NOT NULL                     -- JSON
);

CREATE TABLE sink (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  gone_ms INTEGER,                       -- when it has said that it wants no events any more
  asked_ms INTEGER,                      -- when an operator wanted everything tried again
  waiting INTEGER NOT NULL DEFAULT 0,    -- the sums of its rows in owed_event
  dead INTEGER NOT NULL DEFAULT 0,
  published INTEGER NOT NULL DEFAULT 0
);

-- An event that is owed to a sink. The row leaves when it is published or dropped.
CREATE TABLE owed_event (
  sink INTEGER NOT NULL REFERENCES sink,
  event INTEGER NOT NULL REFERENCES event,
  study INTEGER NOT NULL REFERENCES study,
  state INTEGER NOT NULL DEFAULT 0,      -- 0 waiting, 1 dead
  due_ms INTEGER,                        -- when it is tried; NULL: dead, or behind an earlier one of its study
  owed_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  last_ms INTEGER,
  why TEXT,
  PRIMARY KEY (sink, event)
) WITHOUT ROWID;
CREATE INDEX owed_event_due ON owed_event (sink, due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX owed_event_study ON owed_event (sink, study, event) WHERE state = 0;
CREATE INDEX owed_event_event ON owed_event (event);

-- What was received before is not announced when it is entered from the disk. The minute is for what a node receives between its start and the making
-- of this file.
INSERT INTO mark (name, value) VALUES ('followed_since_ms', CAST(unixepoch('subsec') * 1000 AS INTEGER) - 60000);
