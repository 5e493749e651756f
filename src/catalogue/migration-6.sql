-- Version 6. What destinations with `commit = true` were sent and have not committed yet: deliveries in state 3, with sums of their own.
ALTER TABLE delivery ADD COLUMN asked INTEGER; -- the first transaction by which the commitment was asked for since it was sent; NULL: none
CREATE INDEX delivery_sent ON delivery (destination, due_ms) WHERE state = 3;
ALTER TABLE destination ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN asked INTEGER NOT NULL DEFAULT 0; -- the last transaction
ALTER TABLE study_destination ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;
DROP INDEX study_destination_owed;
CREATE INDEX study_destination_owed ON study_destination (study) WHERE waiting + retrying + sent + dead > 0;
