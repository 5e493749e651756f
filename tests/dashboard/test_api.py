"""Every answer of the admin surface against the document it serves itself."""

import json

import jsonschema
import pytest
from conftest import until
from openapi_spec_validator import validate
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from sender import Sender


@pytest.fixture
def document(node) -> dict:
    return json.loads(node.get("/api/openapi.json")[2])


def check(document: dict, path: str, method: str, status: int, headers, body: bytes):
    """Holds an answer to what the document says of it; the body."""
    responses = document["paths"][path][method.lower()]["responses"]
    assert str(status) in responses, f"{method} {path} answered {status}: {body}"
    (media, content), = responses[str(status)]["content"].items()
    assert headers.get_content_type() == media, f"{method} {path}"
    if media != "application/json":
        return body
    schema = content["schema"] | {"components": document["components"]}
    value = json.loads(body)
    jsonschema.Draft202012Validator(schema).validate(value)
    return value


def test_the_document_is_openapi(document):
    validate(document)


def test_every_answer_is_as_the_document_says(node, document):
    busy = Sender(node.port, "BUSY\\1")
    busy.begin("1.2.3.1", 3_000_000, 1_000_000)
    other = Sender(node.port, "OTHER")
    assert other.store("1.2.3.3", 5000) == 0
    assert other.store("1.2.3.4", 5000, named="1.2.3.5") == 0xA900
    other.close()
    operator = node.operator
    until(lambda: json.loads(node.get("/api/memory", **operator)[2])["held_bytes"] > 900_000, "what was sent is held")
    until(lambda: json.loads(node.get("/api/history")[2]), "a second has passed")
    until(lambda: json.loads(node.get("/api/associations/ended")[2]), "the other has ended")

    for path, item in document["paths"].items():
        if "get" in item and path not in ("/api/events", "/api/events/stream"):
            value = check(document, path, "get", *node.get(path, **operator))
            assert value, path
    bounded = node.get("/api/history?seconds=1")
    assert len(check(document, "/api/history", "get", *bounded)) == 1
    check(document, "/api/history", "get", *node.get("/api/history?seconds=x"))
    check(document, "/api/associations/ended", "get", *node.get("/api/associations/ended?limit=x"))
    guest = check(document, "/api/associations/ended", "get", *node.get("/api/associations/ended"))
    assert guest[0]["first_study"] is None and guest[0]["calling_ae_title"] == ""

    check(document, "/api/loglevel", "put", *node.get("/api/loglevel", "PUT", b'{"level":"debug"}', **operator))
    check(document, "/api/loglevel", "put", *node.get("/api/loglevel", "PUT", b'{"level":"loud"}', **operator))
    check(document, "/api/loglevel", "put", *node.get("/api/loglevel", "PUT", b'{"level":"info"}'))
    check(document, "/api/drain", "post", *node.get("/api/drain", "POST", b""))
    assert check(document, "/api/drain", "post", *node.get("/api/drain", "POST", b"", **operator))["draining"]
    assert not check(document, "/ready", "get", *node.get("/ready"))["ready"]
    assert not check(document, "/api/drain", "delete", *node.get("/api/drain", "DELETE", **operator))["draining"]
    found = json.loads(node.get("/api/associations", **operator)[2])
    busy_id = next(one["id"] for one in found if one["calling_ae_title"].strip() == "BUSY\\1")
    path = f"/api/associations/{busy_id}"
    check(document, "/api/associations/{id}", "delete", *node.get(path, "DELETE"))
    assert check(document, "/api/associations/{id}", "delete", *node.get(path, "DELETE", **operator)) == {"id": busy_id}
    assert busy._pdu()[0] == 7, "A-ABORT"
    gone = node.get("/api/associations/999999", "DELETE", **operator)
    assert "error" in check(document, "/api/associations/{id}", "delete", *gone)


def test_what_is_stored_is_told_to_operators(node, document):
    sender = Sender(node.port, "CT1")
    assert [sender.store(f"1.2.3.4.{number}", 5000) for number in (1, 2)] == [0, 0]
    operator = node.operator
    until(lambda: json.loads(node.get("/api/catalogue")[2])["condition"] == "current", "the first catch-up ends")

    def studies(query: str = "", status: int = 200):
        answer = node.get(f"/api/studies{query}", **operator)
        assert answer[0] == status, answer[2]
        return check(document, "/api/studies", "get", *answer)

    until(lambda: [study["files"] for study in studies()["studies"]] == [2], "both are entered")
    (study,) = studies("?text=dash&since=1h&source=ct1&limit=1")["studies"]
    assert (study["study_instance_uid"], study["patient_name"], study["calling_ae_titles"]) == ("1.2.3", "Dash^Board", ["CT1"])
    assert studies("?until=1h")["studies"] == [] and studies("?patient=nobody")["studies"] == []
    for wrong in ("limit=0", "limit=501", "since=soon", "date_from=1", "after=x", "colour=red"):
        assert "error" in studies(f"?{wrong}", 400)

    path = "/api/studies/{uid}"
    found = check(document, path, "get", *node.get("/api/studies/1.2.3", **operator))
    assert found["directories_total"] == len(found["directories"]) == 1 and (node.root / found["directories"][0]).is_dir()
    assert found["study"] == study and found["arrivals"][0]["calling_ae_title"] == "CT1"
    assert "error" in check(document, path, "get", *node.get("/api/studies/1.2.4", **operator))
    path = "/api/instances/{uid}"
    (file,) = check(document, path, "get", *node.get("/api/instances/1.2.3.4.1", **operator))["instances"]
    assert file["state"] == "present" and (node.root / file["path"]).stat().st_size == file["bytes"]
    check(document, path, "get", *node.get("/api/instances/1.2.3.4.3", **operator))

    numbers = []
    for work in ("check", "rebuild", "catch-up"):
        path = f"/api/catalogue/{work}"
        assert node.get(path, "POST", b"")[0] == 403
        answer = node.get(path, "POST", b"", **operator)
        assert answer[0] == 202, answer
        asked = check(document, path, "post", *answer)
        numbers.append(asked["number"])
    assert numbers == sorted(set(numbers)), "each work has a number of its own"
    state = until(lambda: json.loads(node.get("/api/catalogue")[2])["last_check"], "the check ends")
    assert state["number"] == numbers[0]
    assert (state["files"], state["new"], state["gone"], state["problems"]) == (2, 0, 0, [])


def test_who_has_no_token_reads_of_no_patient_however_the_path_is_written(node):
    for path in ("/api/studies", "/api/%73tudies", "/api/studie%73/1.2.3", "/api/instances/1.2", "/%61pi/instance%73/1.2", "/api/%6demory"):
        assert node.get(path)[0] == 401, path
    assert node.get("/api/catalogue")[0] == 200


def test_without_a_catalogue_the_answer_says_so(start_node, document):
    node = start_node(catalogue__path="off")
    for path in ("/api/studies", "/api/studies/{uid}", "/api/instances/{uid}", "/api/catalogue"):
        status, headers, body = node.get(path.replace("{uid}", "1.2"), **node.operator)
        assert status == 503 and "[catalogue] path" in check(document, path, "get", status, headers, body)["error"]


def test_events_are_ticks(node, document):
    import urllib.request

    schema = document["paths"]["/api/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"]
    schema = schema["contentSchema"] | {"components": document["components"]}
    with urllib.request.urlopen(node.url + "/api/events", timeout=30) as stream:
        seen = 0
        while seen < 2:
            line = stream.readline()
            assert line, "the stream has ended"
            if line.startswith(b"data: "):
                jsonschema.Draft202012Validator(schema).validate(json.loads(line[6:]))
                seen += 1


def test_with_a_token_every_path_but_the_open_ones_asks_for_it(start_node, document, tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "token").chmod(0o600)
    node = start_node(admin__token_file=str(tmp_path / "token"))
    for path, item in document["paths"].items():
        for method, operation in item.items():
            concrete = path.replace("{id}", "1")
            is_open = operation.get("security") == []
            status, headers, body = node.get(concrete, method.upper(), X_Tidegate="1")
            assert (status == 401) != is_open, f"{method} {path}: {status}"
            if not is_open:
                check(document, path, method, status, headers, body)


def test_metrics_are_what_prometheus_reads(node):
    families = list(text_string_to_metric_families(node.get("/metrics")[2].decode()))
    names = {family.name for family in families}
    assert {"tidegate_memory_leased_bytes", "tidegate_response_duration_seconds", "tidegate_instances_refused"} <= names
    assert all(family.documentation for family in families)
