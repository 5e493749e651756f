-- The catalogue, version 1. Tables are the node's own and change with versions; the views `studies`, `series_of_studies` and `instances`
-- are for readers and keep their columns. Times are milliseconds since 1970, UTC.

CREATE TABLE study (
  id INTEGER PRIMARY KEY,
  uid TEXT NOT NULL UNIQUE,              -- (0020,000D); '' for instances without one
  patient_id TEXT COLLATE NOCASE,
  patient_name TEXT COLLATE NOCASE,
  patient_birth_date TEXT,
  accession_number TEXT COLLATE NOCASE,
  study_date TEXT,
  description TEXT,
  first_ms INTEGER NOT NULL,
  last_ms INTEGER NOT NULL               -- when the instance was received whose values these are
);
CREATE INDEX study_last ON study (last_ms);
CREATE INDEX study_patient_id ON study (patient_id) WHERE patient_id IS NOT NULL;
CREATE INDEX study_patient_name ON study (patient_name) WHERE patient_name IS NOT NULL;
CREATE INDEX study_accession_number ON study (accession_number) WHERE accession_number IS NOT NULL;

CREATE TABLE series (
  id INTEGER PRIMARY KEY,
  study INTEGER NOT NULL REFERENCES study,
  uid TEXT NOT NULL,                     -- (0020,000E)
  modality TEXT,
  number INTEGER,
  description TEXT,
  first_ms INTEGER NOT NULL,
  last_ms INTEGER NOT NULL,
  instances INTEGER NOT NULL DEFAULT 0,  -- files that are there, each version of an instance one
  bytes INTEGER NOT NULL DEFAULT 0,      -- of them
  gone INTEGER NOT NULL DEFAULT 0,       -- files that are not there any more, whoever removed them
  UNIQUE (study, uid)
);

CREATE TABLE kind (
  id INTEGER PRIMARY KEY,
  sop_class_uid TEXT NOT NULL,
  transfer_syntax_uid TEXT NOT NULL,
  UNIQUE (sop_class_uid, transfer_syntax_uid)
);

CREATE TABLE destination (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
);

CREATE TABLE source (
  id INTEGER PRIMARY KEY,
  calling_ae_title TEXT NOT NULL,
  address TEXT NOT NULL,                 -- without port
  rule TEXT NOT NULL,                    -- the access rule; '' for none
  destinations TEXT NOT NULL,            -- their ids, ascending, with commas
  UNIQUE (calling_ae_title, address, rule, destinations)
);
CREATE TABLE source_destination (
  source INTEGER NOT NULL REFERENCES source,
  destination INTEGER NOT NULL REFERENCES destination,
  PRIMARY KEY (source, destination)
) WITHOUT ROWID;

-- What one association sent.
CREATE TABLE arrival (
  id INTEGER PRIMARY KEY,
  source INTEGER NOT NULL REFERENCES source,
  association INTEGER NOT NULL,          -- its number in the log; numbers begin anew with each start of the node
  UNIQUE (source, association)
);

CREATE TABLE study_source (
  study INTEGER NOT NULL REFERENCES study,
  source INTEGER NOT NULL REFERENCES source,
  PRIMARY KEY (study, source)
) WITHOUT ROWID;
CREATE INDEX study_source_source ON study_source (source);

CREATE TABLE directory (
  id INTEGER PRIMARY KEY,
  path NOT NULL UNIQUE,                  -- below the root; a blob where it is not UTF-8
  stamp_ns INTEGER                       -- its time of change when its files were last compared with the catalogue
);

-- One row for each file.
CREATE TABLE instance (
  id INTEGER PRIMARY KEY,
  series INTEGER NOT NULL REFERENCES series,
  uid BLOB NOT NULL,                     -- (0008,0018), a digit in four bits: 0-9, A for the period, F behind an odd number of them
  directory INTEGER NOT NULL REFERENCES directory,
  name NOT NULL,                         -- '' for the SOP Instance UID and `.dcm`
  kind INTEGER NOT NULL REFERENCES kind,
  number INTEGER,                        -- Instance Number (0020,0013)
  bytes INTEGER NOT NULL,
  digest BLOB,                           -- XXH3-128 of the file, most significant byte first
  received_ms INTEGER NOT NULL,
  modified_ns INTEGER,                   -- of the file, if the record was made from it
  arrival INTEGER REFERENCES arrival,    -- NULL if it is not known who sent it
  state INTEGER NOT NULL,                -- 0 present, 1 gone, 2 released
  ended_ms INTEGER                       -- when it was found gone, or was released
);
CREATE UNIQUE INDEX instance_uid ON instance (uid, directory, name);
CREATE INDEX instance_series ON instance (series);
CREATE INDEX instance_directory ON instance (directory);
CREATE INDEX instance_name ON instance (directory, name) WHERE name <> '';

-- Times in which instances were stored and not entered.
CREATE TABLE gap (
  id INTEGER PRIMARY KEY,
  opened_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  missed INTEGER NOT NULL,               -- instances known to be missed
  closed_ms INTEGER                      -- when a catch-up had found them
);
CREATE INDEX gap_open ON gap (id) WHERE closed_ms IS NULL;

CREATE TABLE mark (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
