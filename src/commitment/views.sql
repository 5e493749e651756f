CREATE VIEW commitment_requests AS
SELECT
  id,
  transaction_uid,
  calling AS calling_ae_title,
  called AS called_ae_title,
  address,
  association,
  strftime('%Y-%m-%dT%H:%M:%SZ', received_ms / 1000, 'unixepoch') AS received,
  CASE state WHEN 0 THEN 'received' WHEN 1 THEN 'evaluated' WHEN 2 THEN 'reported' ELSE 'failed' END AS state,
  instances,
  committed,
  refused,
  strftime('%Y-%m-%dT%H:%M:%SZ', evaluated_ms / 1000, 'unixepoch') AS evaluated,
  attempts,
  CASE WHEN state < 2 THEN strftime('%Y-%m-%dT%H:%M:%SZ', next_ms / 1000, 'unixepoch') END AS next_attempt,
  CASE WHEN last_status IS NOT NULL THEN printf('%04X', last_status) END AS last_status,
  last_comment,
  strftime('%Y-%m-%dT%H:%M:%SZ', ended_ms / 1000, 'unixepoch') AS ended
FROM request WHERE state < 4;

CREATE VIEW commitment_references AS
SELECT
  request,
  position,
  CASE WHEN sop_class >= x'FF' THEN CAST(substr(sop_class, 2) AS TEXT)
    ELSE replace(rtrim(hex(sop_class), 'F'), 'A', '.') END AS sop_class_uid,
  CASE WHEN sop_instance >= x'FF' THEN CAST(substr(sop_instance, 2) AS TEXT)
    ELSE replace(rtrim(hex(sop_instance), 'F'), 'A', '.') END AS sop_instance_uid,
  CASE WHEN outcome IS NULL THEN 'unknown' WHEN outcome = 0 THEN 'committed' ELSE printf('%04X', outcome) END AS outcome
FROM reference WHERE EXISTS (SELECT 1 FROM request WHERE request.id = reference.request AND state < 4);
