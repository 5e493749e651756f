-- Version 5. Files that the node is about to remove, since their instances are delivered: one that is found missing is released and not gone.
CREATE TABLE releasing (
  instance INTEGER PRIMARY KEY REFERENCES instance,
  at_ms INTEGER NOT NULL
);
