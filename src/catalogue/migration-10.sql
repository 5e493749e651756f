-- Version 10. The first event that waits for a sink is found beside any number of dead ones, and the dead ones beside any number that wait.
CREATE INDEX owed_event_waiting ON owed_event (sink, event) WHERE state = 0;
CREATE INDEX owed_event_dead ON owed_event (sink, event) WHERE state = 1;
