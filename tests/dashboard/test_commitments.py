"""The panel of storage commitment in a real browser, and its API, with a modality that is off when its report is due."""

import json

import pytest
from conftest import until
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import modality
from modality import Modality
from test_dashboard import CONTRAST, ready, rows, text, token

CT = "1.2.840.10008.5.1.4.1.1.2"
MISSING = [(CT, "1.2.826.0.1.3680043.10.1462.404"), (CT, "1.2.826.0.1.3680043.10.1462.405")]


@pytest.fixture
def ct():
    one = Modality("CT_ROOM_12_NORTH")
    yield one
    one.close()


@pytest.fixture
def node(start_node, tmp_path, ct):
    path = tmp_path / "tidegate.toml"
    path.write_text(f'[[peer]]\nae_title = "{ct.ae_title}"\naddress = "127.0.0.1:{ct.port}"\n')
    return start_node(configuration=path)


def requests(node, query: str = "") -> dict:
    status, _, body = node.get(f"/api/commitments{query}", **node.operator)
    assert status == 200, body
    return json.loads(body)


def failing(node, ct):
    """A request whose first attempt to report has failed."""
    uid = ct.request(node.port, MISSING)
    until(lambda: requests(node, "?state=pending")["commitments"][0]["attempts"], "an attempt has failed")
    return uid


def test_the_api_names_a_request_and_has_it_reported(node, ct):
    uid = failing(node, ct)
    (request,) = requests(node)["commitments"]
    assert (request["transaction_uid"], request["state"]) == (uid, "evaluated")
    assert (request["calling_ae_title"], request["address"]) == (ct.ae_title, "127.0.0.1")
    assert (request["instances"], request["committed"], request["not_committed"]) == (2, 0, 2)
    assert request["attempts"] >= 1 and request["next_attempt"] and request["ended"] is None
    path = f"/api/commitments/{request['id']}"
    detail = json.loads(node.get(path, **node.operator)[2])
    assert detail["commitment"]["id"] == request["id"]
    assert [(one["sop_instance_uid"], one["reason"]) for one in detail["not_committed"]] == [
        (instance, "0112") for _, instance in MISSING
    ]
    # What names peers and changes something is for operators.
    assert (node.get("/api/commitments")[0], node.get(path)[0]) == (401, 401)
    assert node.get(f"{path}/retry", "POST")[0] == 403
    assert node.get("/api/commitments?state=lost", **node.operator)[0] == 400
    assert node.get("/api/commitments?limit=501", **node.operator)[0] == 400
    for unknown in ("/api/commitments/1", "/api/commitments/x"):
        assert node.get(unknown, **node.operator)[0] == 404
    assert node.get("/api/commitments/1/retry", "POST", **node.operator)[0] == 404
    ct.listen()
    assert node.get(f"{path}/retry", "POST", **node.operator)[0] == 200
    report = ct.report(uid)
    assert report.event_type == modality.SOME_FAILED
    until(lambda: requests(node)["commitments"][0]["state"] == "reported", "the report is taken")
    metrics = node.get("/metrics")[2].decode()
    assert "tidegate_commitment_reports_total 1" in metrics
    assert 'tidegate_commitment_instances_total{outcome="no_such_object_instance"} 2' in metrics
    assert "tidegate_commitment_report_duration_seconds_count 1" in metrics
    assert ct.ae_title not in metrics


def test_a_report_that_fails_is_seen_and_sent_from_the_keyboard(node, ct, browse):
    uid = failing(node, ct)
    browser = ready(browse(node.url + "/", token=token(node)))
    until(lambda: len(rows(browser, "commitments")) == 1, "the request")
    row = rows(browser, "commitments")[0].text
    for words in (ct.ae_title, "127.0.0.1", "evaluated", "attempt", "next at"):
        assert words in row, row
    assert "1 report pending" in text(browser, "commitments-now")
    assert ct.ae_title in text(browser, "commitments-trouble")
    ct.listen()
    button = browser.find_element(By.CSS_SELECTOR, "#commitments button")
    assert button.accessible_name.endswith(f"of {ct.ae_title} now")
    button.send_keys(Keys.ENTER)
    assert browser.find_element(By.ID, "confirm").is_displayed()
    browser.switch_to.active_element.send_keys(Keys.TAB, Keys.ENTER)
    ct.report(uid)
    until(lambda: not rows(browser, "commitments"), "it is reported")
    assert "no report pending" in text(browser, "commitments-now")
    assert text(browser, "no-commitments") == "Every report has been taken."
    assert not browser.find_element(By.ID, "commitments-trouble").is_displayed()


def test_a_guest_sees_figures_and_no_names(node, ct, browse):
    failing(node, ct)
    browser = ready(browse(node.url + "/"))
    until(lambda: "1 report pending" in text(browser, "commitments-now"), "the figures")
    panel = text(browser, "commitments-panel")
    assert ct.ae_title not in panel and "127.0.0.1" not in panel, panel
    assert not rows(browser, "commitments") and not browser.find_element(By.ID, "sign-in").is_displayed()


@pytest.mark.parametrize("width, dark", [(390, False), (390, True), (1366, True)])
def test_it_fits_a_phone_and_is_read_in_the_dark(node, ct, browse, width, dark):
    failing(node, ct)
    browser = ready(browse(node.url + "/", token=token(node), width=width, height=844, dark=dark))
    until(lambda: rows(browser, "commitments"), "the request")
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    poor = browser.execute_script(CONTRAST)
    assert not poor, poor


def test_a_node_without_it_has_no_panel(start_node, browse):
    node = start_node(catalogue__path="off")
    browser = ready(browse(node.url + "/", token=token(node)))
    assert not browser.find_element(By.ID, "commitments-panel").is_displayed()
    status, _, body = node.get("/api/commitments", **node.operator)
    assert status == 503 and b"commitment" in body
    assert b"tidegate_commitment" not in node.get("/metrics")[2]
