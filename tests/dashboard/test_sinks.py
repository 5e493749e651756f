"""Sinks and events in a real browser: a receiver that is up, down and gone; the last events; and whether studies are complete."""

import base64
import http.server
import json
import threading

import pytest
from conftest import until
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from test_dashboard import CONTRAST, rows, text
from test_outbox import api, opened, row
from test_studies import ROOT, Scanner

KEY = "whsec_" + base64.b64encode(bytes(32)).decode()


class Receiver:
    """Answers each event with a status."""

    def __init__(self):
        self.status, self.events = 200, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.status == 200:
                    outer.events.append(json.loads(body))
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook"


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()


@pytest.fixture
def node(start_node, tmp_path, receiver):
    key = tmp_path / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    path = tmp_path / "tidegate.toml"
    path.write_text(
        f'[completeness]\nstudy_quiet = "5s"\nseries_quiet = "1s"\nwait_for_missing = "off"\n[[sink]]\nname = "ris"\nurl = "{receiver.url}"\nsecret_file = "{key}"\n'
    )
    return start_node(configuration=path)


@pytest.fixture
def scanner(tmp_path, node) -> Scanner:
    return Scanner(tmp_path, node)


def sink(node) -> dict:
    """Nothing before the catalogue is made."""
    return next(iter(api(node, "/api/sinks")["sinks"]), {"gone": None, "last_error": None})


def test_a_sink_and_the_last_events_are_seen(node, receiver, scanner, browse):
    browser = opened(node, browse)
    until(lambda: "idle" in row(browser, "sinks", "ris"), "the sink")
    until(lambda: browser.find_element(By.ID, "no-events").is_displayed(), "no event yet")
    receiver.status = 503
    scanner.send(1, numbers=(1, 2))
    until(lambda: "down" in row(browser, "sinks", "ris") and "next attempt" in row(browser, "sinks", "ris"), "it is down")
    assert "status 503" in row(browser, "sinks", "ris") and "1 failing" in text(browser, "sinks-now")
    until(lambda: "owed to 1 sink" in row(browser, "events", "study.complete"), "what it is owed")
    assert f"{ROOT}.1" in row(browser, "events", "study.complete") and "instances 2" in row(browser, "events", "study.complete")
    receiver.status = 200
    until(lambda: "none failing" in text(browser, "sinks-now"), "it is back")
    until(lambda: "owed" not in row(browser, "events", "study.complete"), "it has all")
    assert [event["type"] for event in receiver.events] == ["series.complete", "study.complete"]
    assert [each.text.split()[0] for each in rows(browser, "events")] == ["study.complete", "series.complete"], "the latest first"
    browser.find_element(By.CSS_SELECTOR, "#events a").click()
    until(lambda: "nothing new came" in text(browser, "study-facts"), "the study says by what it is complete")
    assert "missing" not in text(browser, "study-facts")


def test_a_study_that_is_complete_and_lacks_something_says_so(node, receiver, scanner, browse):
    scanner.send(1, numbers=(1, 3))
    browser = opened(node, browse)
    until(lambda: "missing 1" in row(browser, "events", "study.complete"), "the event")
    browser.find_element(By.CSS_SELECTOR, "#events a").click()
    until(lambda: "1 missing" in text(browser, "study-facts"), "the study")


def test_a_sink_that_wants_no_events_is_sent_them_again_if_an_operator_wants_it(node, receiver, scanner, browse):
    receiver.status = 410
    scanner.send(1)
    until(lambda: sink(node)["gone"], "it wants none")
    browser = opened(node, browse)
    until(lambda: "wants no events" in row(browser, "sinks", "ris"), "and is seen not to")
    receiver.status = 200
    browser.find_element(By.CSS_SELECTOR, "button[aria-label='Retry the events of ris']").send_keys(Keys.ENTER)
    assert browser.find_element(By.ID, "confirm").is_displayed()
    browser.switch_to.active_element.send_keys(Keys.TAB, Keys.ENTER)
    until(lambda: len(receiver.events) == 2, "it has had what it was owed")
    until(lambda: "none failing" in text(browser, "sinks-now"), "and is seen to have")


def test_the_list_of_studies_says_which_are_complete(node, scanner, browse):
    scanner.send(1)
    browser = opened(node, browse, "studies")
    until(lambda: " open " in f" {row(browser, 'studies-list', 'Patient')} ", "it is open")
    until(lambda: " complete " in f" {row(browser, 'studies-list', 'Patient')} ", "it is complete")
    scanner.send(1, numbers=(2,))
    until(lambda: " reopened " in f" {row(browser, 'studies-list', 'Patient')} ", "something new has come")
    until(lambda: " complete " in f" {row(browser, 'studies-list', 'Patient')} ", "and it is complete again")


def test_without_sinks_or_a_catalogue(start_node, browse):
    browser = opened(start_node(), browse)
    until(lambda: browser.find_element(By.ID, "no-sinks").is_displayed(), "there are none")
    browser = opened(start_node(catalogue__path="off"), browse)
    until(lambda: "no deliveries without the catalogue" in text(browser, "no-destinations"), "the catalogue is off")
    assert not browser.find_element(By.ID, "sinks-panel").is_displayed()
    assert not browser.find_element(By.ID, "events-panel").is_displayed()


@pytest.mark.parametrize("width, dark", [(390, False), (390, True), (820, False), (1366, True)])
def test_it_fits_every_screen_and_is_read_in_the_dark(node, receiver, scanner, browse, width, dark):
    receiver.status = 503
    scanner.send(1)
    until(lambda: sink(node)["last_error"], "it has failed")
    browser = opened(node, browse, width=width, height=860, dark=dark)
    until(lambda: rows(browser, "events") and rows(browser, "sinks"), "sinks and events")
    for page, table in (("outbox", "events"), ("studies", "studies-list")):
        browser.execute_script("location.hash = `#/${arguments[0]}`", page)
        until(lambda: rows(browser, table), page)
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), f"{page} scrolls sideways"
        poor = browser.execute_script(CONTRAST)
        assert not poor, poor
