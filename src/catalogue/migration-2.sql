-- Version 2. By now the numbers of associations (`arrival`) do not begin anew with each start. Names are searched by the beginning of each of their components, without regard to case: src/catalogue/names.rs makes the parts.
DROP INDEX study_patient_name;
CREATE TABLE study_name (
  part TEXT NOT NULL,                    -- a group of the patient's name from one of its components on, folded
  study INTEGER NOT NULL REFERENCES study,
  PRIMARY KEY (part, study)
) WITHOUT ROWID;
CREATE INDEX study_study_date ON study (study_date) WHERE study_date IS NOT NULL;
