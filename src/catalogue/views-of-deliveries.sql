CREATE VIEW IF NOT EXISTS deliveries AS
SELECT
  destination.name AS destination,
  CASE delivery.state WHEN 0 THEN 'waiting' WHEN 1 THEN 'retrying' WHEN 2 THEN 'dead' ELSE 'sent' END AS state,
  study.uid AS study_instance_uid,
  CASE WHEN instance.uid >= x'FF' THEN CAST(substr(instance.uid, 2) AS TEXT)
    ELSE replace(rtrim(hex(instance.uid), 'F'), 'A', '.') END AS sop_instance_uid,
  instance.bytes,
  strftime('%Y-%m-%dT%H:%M:%SZ', delivery.owed_ms / 1000, 'unixepoch') AS owed,
  delivery.attempts,
  CASE delivery.state WHEN 1 THEN strftime('%Y-%m-%dT%H:%M:%SZ', delivery.due_ms / 1000, 'unixepoch') END AS due,
  strftime('%Y-%m-%dT%H:%M:%SZ', delivery.last_ms / 1000, 'unixepoch') AS last_attempt,
  iif(delivery.status IS NULL, NULL, format('%04X', delivery.status)) AS status,
  delivery.why,
  instance.uid AS packed_uid
FROM delivery
JOIN destination ON destination.id = delivery.destination
JOIN study ON study.id = delivery.study
JOIN instance ON instance.id = delivery.instance;

CREATE VIEW IF NOT EXISTS past_deliveries AS
SELECT
  destination.name AS destination,
  CASE WHEN delivered.status IS NULL THEN 'dropped' ELSE 'delivered' END AS outcome,
  study.uid AS study_instance_uid,
  CASE WHEN instance.uid >= x'FF' THEN CAST(substr(instance.uid, 2) AS TEXT)
    ELSE replace(rtrim(hex(instance.uid), 'F'), 'A', '.') END AS sop_instance_uid,
  instance.bytes,
  strftime('%Y-%m-%dT%H:%M:%SZ', delivered.at_ms / 1000, 'unixepoch') AS at,
  iif(delivered.status IS NULL, NULL, format('%04X', delivered.status)) AS status,
  delivered.why,
  instance.uid AS packed_uid
FROM delivered
JOIN destination ON destination.id = delivered.destination
JOIN instance ON instance.id = delivered.instance
JOIN series ON series.id = instance.series
JOIN study ON study.id = series.study;
