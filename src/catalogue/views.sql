CREATE VIEW studies AS
SELECT
  study.uid AS study_instance_uid,
  study.patient_id,
  study.patient_name,
  study.patient_birth_date,
  study.accession_number,
  study.study_date,
  study.description AS study_description,
  (SELECT group_concat(DISTINCT modality) FROM series WHERE series.study = study.id) AS modalities,
  (SELECT count(*) FROM series WHERE series.study = study.id) AS series,
  (SELECT sum(instances) FROM series WHERE series.study = study.id) AS instances,
  (SELECT sum(bytes) FROM series WHERE series.study = study.id) AS bytes,
  (SELECT sum(gone) FROM series WHERE series.study = study.id) AS gone,
  (SELECT group_concat(DISTINCT source.calling_ae_title)
     FROM study_source JOIN source ON source.id = study_source.source WHERE study_source.study = study.id) AS calling_ae_titles,
  strftime('%Y-%m-%dT%H:%M:%SZ', study.first_ms / 1000, 'unixepoch') AS first_received,
  strftime('%Y-%m-%dT%H:%M:%SZ', study.last_ms / 1000, 'unixepoch') AS last_received,
  study.last_ms AS last_received_ms
FROM study;

CREATE VIEW series_of_studies AS
SELECT
  study.uid AS study_instance_uid,
  series.uid AS series_instance_uid,
  series.modality,
  series.number AS series_number,
  series.description AS series_description,
  series.instances,
  series.bytes,
  series.gone,
  strftime('%Y-%m-%dT%H:%M:%SZ', series.first_ms / 1000, 'unixepoch') AS first_received,
  strftime('%Y-%m-%dT%H:%M:%SZ', series.last_ms / 1000, 'unixepoch') AS last_received
FROM study JOIN series ON series.study = study.id;

CREATE VIEW instances AS
SELECT
  study.uid AS study_instance_uid,
  series.uid AS series_instance_uid,
  CASE WHEN instance.uid >= x'FF' THEN CAST(substr(instance.uid, 2) AS TEXT)
    ELSE replace(rtrim(hex(instance.uid), 'F'), 'A', '.') END AS sop_instance_uid,
  kind.sop_class_uid,
  kind.transfer_syntax_uid,
  instance.number AS instance_number,
  CASE directory.path WHEN '' THEN '' ELSE directory.path || '/' END
    || CASE instance.name WHEN '' THEN (
      CASE WHEN instance.uid >= x'FF' THEN CAST(substr(instance.uid, 2) AS TEXT)
        ELSE replace(rtrim(hex(instance.uid), 'F'), 'A', '.') END) || '.dcm' ELSE instance.name END AS path,
  instance.bytes,
  lower(hex(instance.digest)) AS xxh128,
  strftime('%Y-%m-%dT%H:%M:%SZ', instance.received_ms / 1000, 'unixepoch') AS received,
  source.calling_ae_title,
  source.address,
  source.rule,
  arrival.association,
  CASE instance.state WHEN 0 THEN 'present' WHEN 1 THEN 'gone' ELSE 'released' END AS state,
  strftime('%Y-%m-%dT%H:%M:%SZ', instance.ended_ms / 1000, 'unixepoch') AS ended,
  instance.uid AS packed_uid
FROM study
JOIN series ON series.study = study.id
JOIN instance ON instance.series = series.id
JOIN kind ON kind.id = instance.kind
JOIN directory ON directory.id = instance.directory
LEFT JOIN arrival ON arrival.id = instance.arrival
LEFT JOIN source ON source.id = arrival.source;
