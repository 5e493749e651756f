-- Version 3. Which instances a request names: those of each request that is pending, or was since this version. A row leaves with the reference.
CREATE TABLE named (
  instance INTEGER NOT NULL,             -- 48 bits of a hash of the packed SOP Instance UID: src/commitment/named.rs
  request INTEGER NOT NULL REFERENCES request,
  PRIMARY KEY (instance, request)
) WITHOUT ROWID;
