-- Version 9. Events that are of no study: of the node, and of what another file of it records.
CREATE TABLE event_of_9 (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind INTEGER NOT NULL,                 -- 0 study.complete, 1 study.reopened, 2 series.complete, 3 instance.stored, 4 delivery.done, 5 delivery.dead,
                                         -- 6 commitment.reported, 7 node.draining
  study INTEGER REFERENCES study,        -- NULL: of none
  subject TEXT NOT NULL,                 -- Study Instance UID, Transaction UID, AE title of this node
  at_ms INTEGER NOT NULL,
  data TEXT NOT NULL                     -- JSON
);
INSERT INTO event_of_9 SELECT id, kind, study, subject, at_ms, data FROM event;

CREATE TABLE owed_event_of_9 (
  sink INTEGER NOT NULL REFERENCES sink,
  event INTEGER NOT NULL REFERENCES event,
  study INTEGER REFERENCES study,        -- NULL: of none, and behind no other
  state INTEGER NOT NULL DEFAULT 0,      -- 0 waiting, 1 dead
  due_ms INTEGER,                        -- when it is tried; NULL: dead, or behind an earlier one of its study
  owed_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  last_ms INTEGER,
  why TEXT,
  PRIMARY KEY (sink, event)
) WITHOUT ROWID;
INSERT INTO owed_event_of_9 SELECT sink, event, study, state, due_ms, owed_ms, attempts, last_ms, why FROM owed_event;

DROP TABLE owed_event;
DROP TABLE event;
ALTER TABLE event_of_9 RENAME TO event;
ALTER TABLE owed_event_of_9 RENAME TO owed_event;
CREATE INDEX owed_event_due ON owed_event (sink, due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX owed_event_study ON owed_event (sink, study, event) WHERE state = 0;
CREATE INDEX owed_event_event ON owed_event (event);

-- What other parts of the node have told lately, so that each is an event once: they tell again what they do not know to be entered.
CREATE TABLE told (
  origin TEXT PRIMARY KEY,
  at_ms INTEGER NOT NULL
) WITHOUT ROWID;
