-- Version 8. Hints of whether a study or series is whole: numbers that datasets tell, and what the source of a study has answered. Those of a row are
-- of the contents that came since it was reopened last.
ALTER TABLE study ADD COLUMN expected_least INTEGER;             -- Number of Study Related Instances (0020,1208), the least and the most that was told
ALTER TABLE study ADD COLUMN expected_most INTEGER;
ALTER TABLE study ADD COLUMN expected_by INTEGER NOT NULL DEFAULT 0; -- how many contents have told one
ALTER TABLE study ADD COLUMN wait_until_ms INTEGER;              -- something seems missing: it is complete by then; NULL: it was not due yet
ALTER TABLE study ADD COLUMN asked_ms INTEGER;                   -- its source was asked then, and has not answered
ALTER TABLE study ADD COLUMN source_has INTEGER;                 -- instances by the answer; -1: there was none
CREATE INDEX study_asked ON study (id) WHERE asked_ms IS NOT NULL;

ALTER TABLE series ADD COLUMN expected_least INTEGER;            -- Number of Series Related Instances (0020,1209); 0 of one that tells only Images in Acquisition
ALTER TABLE series ADD COLUMN expected_most INTEGER;
ALTER TABLE series ADD COLUMN expected_by INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN wait_until_ms INTEGER;
