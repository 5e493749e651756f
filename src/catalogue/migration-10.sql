-- Version 10. The first event that waits for a sink is found beside any number of dead ones.
CREATE INDEX owed_event_waiting ON owed_event (sink, event) WHERE state = 0;
