-- Version 4. What is owed to destinations, and what they have had: a destination's queue is rows. Nothing is owed of what was stored before.
ALTER TABLE destination ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
-- The sums of its rows in study_destination.
ALTER TABLE destination ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN waiting_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN retrying INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN dead INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN delivered INTEGER NOT NULL DEFAULT 0;

-- A delivery that is owed. The row leaves when it is delivered or dropped. Its key is the order of the queue.
CREATE TABLE delivery (
  destination INTEGER NOT NULL REFERENCES destination,
  state INTEGER NOT NULL,                -- 0 waiting, 1 retrying, 2 dead
  study INTEGER NOT NULL REFERENCES study,
  series INTEGER NOT NULL REFERENCES series,
  number INTEGER NOT NULL,               -- of the instance; 0 for none
  instance INTEGER NOT NULL REFERENCES instance,
  owed_ms INTEGER NOT NULL,              -- since when
  attempts INTEGER NOT NULL DEFAULT 0,
  due_ms INTEGER NOT NULL DEFAULT 0,     -- when it is tried again
  last_ms INTEGER,                       -- of the last attempt
  status INTEGER,                        -- of the last answer
  why TEXT,
  PRIMARY KEY (destination, state, study, series, number, instance)
) WITHOUT ROWID;
CREATE INDEX delivery_due ON delivery (destination, due_ms) WHERE state = 1;

-- A delivery that was made, or that an operator has dropped.
CREATE TABLE delivered (
  instance INTEGER NOT NULL REFERENCES instance,
  destination INTEGER NOT NULL REFERENCES destination,
  at_ms INTEGER NOT NULL,
  status INTEGER,                        -- of the answer; NULL: an operator has dropped it
  why TEXT,
  PRIMARY KEY (instance, destination)
) WITHOUT ROWID;

-- The progress of a study to a destination: the sums of its rows.
CREATE TABLE study_destination (
  study INTEGER NOT NULL REFERENCES study,
  destination INTEGER NOT NULL REFERENCES destination,
  waiting INTEGER NOT NULL DEFAULT 0,
  waiting_bytes INTEGER NOT NULL DEFAULT 0, -- of waiting and retrying ones
  retrying INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  delivered INTEGER NOT NULL DEFAULT 0,
  since_ms INTEGER,                      -- since when something waits or is retried; NULL: nothing does
  PRIMARY KEY (study, destination)
) WITHOUT ROWID;
CREATE INDEX study_destination_since ON study_destination (destination, since_ms) WHERE since_ms IS NOT NULL;
CREATE INDEX study_destination_owed ON study_destination (study) WHERE waiting + retrying + dead > 0;

INSERT INTO mark (name, value) VALUES ('generation', random());
