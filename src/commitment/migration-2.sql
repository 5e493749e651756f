-- Version 2. By now, *failed* is said of instances only: a request is given up.

-- Instances whose last C-STORE from an AE title was refused, since other bytes are stored under their SOP Instance UIDs.
CREATE TABLE refusal (
  calling TEXT NOT NULL,                 -- AE title of the peer that sent it
  sop_instance BLOB NOT NULL,            -- (0008,1155), packed
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (calling, sop_instance)
) WITHOUT ROWID;
CREATE INDEX refusal_at ON refusal (at_ms);

DROP VIEW commitment_requests;
CREATE VIEW commitment_requests AS
SELECT
  id,
  transaction_uid,
  calling AS calling_ae_title,
  called AS called_ae_title,
  address,
  association,
  strftime('%Y-%m-%dT%H:%M:%SZ', received_ms / 1000, 'unixepoch') AS received,
  CASE state WHEN 0 THEN 'received' WHEN 1 THEN 'evaluated' WHEN 2 THEN 'reported' ELSE 'given_up' END AS state,
  instances,
  committed,
  refused AS not_committed,
  strftime('%Y-%m-%dT%H:%M:%SZ', evaluated_ms / 1000, 'unixepoch') AS evaluated,
  attempts,
  CASE WHEN state < 2 THEN strftime('%Y-%m-%dT%H:%M:%SZ', next_ms / 1000, 'unixepoch') END AS next_attempt,
  CASE WHEN last_status IS NOT NULL THEN printf('%04X', last_status) END AS last_status,
  last_comment,
  strftime('%Y-%m-%dT%H:%M:%SZ', ended_ms / 1000, 'unixepoch') AS ended
FROM request WHERE state < 4;
