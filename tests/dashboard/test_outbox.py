"""The page of the outbox in a real browser: destinations that are up, down and that refuse; what is owed; and the progress of studies."""

import json

import pytest
from archive import Archive
from conftest import until
from pydicom.dataset import Dataset
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from test_dashboard import CONTRAST, HOSTILE, rows, text, token
from test_studies import ROOT, Scanner

LONG = "the-archive-of-the-north-wing-32"
POISON = f"{ROOT}.1.1.2"
# A DIMSE status of PS3.7 §C: cannot understand.
CANNOT_UNDERSTAND = 0xC000


@pytest.fixture
def archives():
    """One that is up, one that refuses an instance, and one that is down."""
    up, picky, down = Archive("UP").listen(), Archive("PICKY", {POISON: CANNOT_UNDERSTAND}).listen(), Archive("DOWN")
    yield up, picky, down
    for archive in (up, picky, down):
        archive.close()


@pytest.fixture
def node(start_node, tmp_path, archives):
    up, picky, down = archives
    tables = [up.table("archive"), picky.table("picky"), down.table(LONG)]
    return configured(start_node, tmp_path, ["archive", "picky", LONG], tables)


def configured(start_node, tmp_path, to: list[str], tables: list[str]):
    path = tmp_path / "tidegate.toml"
    path.write_text(f"[delivery]\nto = {json.dumps(to)}\n{''.join(tables)}")
    return start_node(configuration=path)


@pytest.fixture
def scanner(tmp_path, node) -> Scanner:
    return Scanner(tmp_path, node)


def api(node, path: str) -> dict:
    status, _, body = node.get(path, **node.operator)
    assert status == 200, body
    return json.loads(body)


def destination(node, name: str) -> dict:
    return next(one for one in api(node, "/api/destinations")["destinations"] if one["name"] == name)


def opened(node, browse, page: str = "outbox", **how):
    browser = browse(f"{node.url}/#/{page}", token=token(node), **how)
    until(lambda: text(browser, "health") == "ready", "the page is live")
    return browser


def row(browser, table: str, name: str) -> str:
    """The text of the row that begins with that name; empty if there is none."""
    found = browser.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].find((row) => row.cells[0].innerText.startsWith(arguments[1]))?.innerText ?? ''",
        table, name,
    )  # fmt: skip
    return " ".join(found.split())


def failed(node, scanner, archives) -> None:
    """A study of three instances, of which `picky` refuses one and the long one has none."""
    scanner.send(1, numbers=(1, 2, 3))
    until(lambda: destination(node, "picky")["dead"] == 1 and destination(node, "picky")["delivered"] == 2, "one is dead")
    until(lambda: destination(node, "archive")["delivered"] == 3, "the other has all")
    until(lambda: destination(node, "archive")["live"]["phase"] == "idle", "and nothing is under way")
    until(lambda: destination(node, LONG)["live"]["phase"] == "down", "the third is down")


def test_each_destination_is_seen_and_what_fails_comes_first(node, scanner, archives, browse):
    failed(node, scanner, archives)
    browser = opened(node, browse)
    until(lambda: len(rows(browser, "destinations")) == 3, "the destinations")
    names = browser.execute_script("return [...document.querySelectorAll('#destinations button.name')].map((button) => button.textContent)")
    assert names == ["picky", LONG, "archive"]
    assert "3 destinations" in text(browser, "destinations-now") and "2 failing" in text(browser, "destinations-now")
    archive, picky, long = (row(browser, "destinations", name) for name in ("archive", "picky", LONG))
    assert "idle" in archive and "UP" in archive and "– – – 3 –" in archive.replace("0", "–"), archive
    assert "status C000" in picky and "Retry dead" in picky and "last failure" in picky, picky
    assert "down" in long and "since" in long and "next call" in long and " 3 " in long, long
    # What failed, and why.
    until(lambda: len(rows(browser, "deliveries")) == 1, "what is dead")
    dead = row(browser, "deliveries", "picky")
    for words in ("dead", POISON, f"{ROOT}.1", "CT_1", "status C000"):
        assert words in dead, dead
    Select(browser.find_element(By.ID, "of-state")).select_by_value("")
    until(lambda: len(rows(browser, "deliveries")) == 4, "all that is owed")
    Select(browser.find_element(By.ID, "of-destination")).select_by_value(LONG)
    until(lambda: len(rows(browser, "deliveries")) == 3, "what one is owed")
    browser.find_element(By.XPATH, "//button[@class='name'][.='archive']").click()
    until(lambda: "Nothing is owed." in text(browser, "no-deliveries"), "the other is owed nothing")


def test_a_destination_is_paused_resumed_and_what_is_dead_retried(node, scanner, archives, browse):
    failed(node, scanner, archives)
    browser = opened(node, browse)
    until(lambda: len(rows(browser, "destinations")) == 3, "the destinations")
    button = browser.find_element(By.CSS_SELECTOR, "button[aria-label='Pause archive']")
    button.send_keys(Keys.ENTER)
    dialog = browser.find_element(By.ID, "confirm")
    assert dialog.is_displayed() and "archive" in dialog.text
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not destination(node, "archive")["is_paused"], "the question is withdrawn, and nothing is done"
    button.send_keys(Keys.ENTER)
    browser.switch_to.active_element.send_keys(Keys.TAB, Keys.ENTER)
    until(lambda: destination(node, "archive")["is_paused"], "it is paused")
    until(lambda: "paused" in row(browser, "destinations", "archive"), "and seen to be")
    assert browser.switch_to.active_element == button and button.text == "Resume", "the focus stays"
    button.send_keys(Keys.ENTER)
    until(lambda: not destination(node, "archive")["is_paused"], "it is resumed, without a question")
    archives[1].refused.clear()
    browser.find_element(By.CSS_SELECTOR, "button[aria-label='Retry the dead deliveries to picky']").send_keys(Keys.ENTER)
    browser.switch_to.active_element.send_keys(Keys.TAB, Keys.ENTER)
    until(lambda: destination(node, "picky")["delivered"] == 3, "what was dead is delivered")
    until(lambda: "Nothing has failed." in text(browser, "no-deliveries"), "and leaves the list")
    archives[2].listen()
    until(lambda: destination(node, LONG)["delivered"] == 3, "what was down is back")
    until(lambda: "none failing" in text(browser, "destinations-now"), "and seen to be")
    assert "attention" not in browser.find_element(By.ID, "destinations").get_attribute("innerHTML")


def test_a_study_says_how_far_it_has_come(node, scanner, archives, browse):
    failed(node, scanner, archives)
    browser = opened(node, browse, "studies")
    until(lambda: rows(browser, "studies-list"), "the study")
    listed = rows(browser, "studies-list")[0].find_element(By.CSS_SELECTOR, ".delivery").text
    assert listed.split("\n") == ["5 of 9", "1 dead"], listed
    browser.find_element(By.ID, "text").send_keys(POISON)
    until(lambda: "An instance has this UID" in text(browser, "found-instance"), "an instance")
    found = text(browser, "found-instance")
    for words in ("to archive: delivered", "to picky: dead", "status C000", f"to {LONG}: waiting"):
        assert words in found, found
    browser.find_element(By.ID, "clear").click()
    until(lambda: rows(browser, "studies-list"), "the study")
    browser.find_element(By.CSS_SELECTOR, "#studies-list a").click()
    until(lambda: len(rows(browser, "progress")) == 3, "its destinations")
    assert row(browser, "progress", "archive") == "archive 3 of 3 0 0 0"
    assert row(browser, "progress", "picky") == "picky 2 of 3 0 0 1"
    assert row(browser, "progress", LONG) == f"{LONG} 0 of 3 3 0 0"
    assert "1 delivery given up" in text(browser, "study-trouble")
    archives[2].listen()
    until(lambda: row(browser, "progress", LONG) == f"{LONG} 3 of 3 0 0 0", "it is followed")
    browser.find_element(By.ID, "study-owed").click()
    until(lambda: len(rows(browser, "deliveries")) == 1, "what it owes")
    assert browser.current_url.endswith(f"#/outbox/{ROOT}.1")
    assert f"Of the study {ROOT}.1" in text(browser, "of-study")


def test_pages_follow_each_other(node, scanner, browse):
    scanner.send(2, numbers=range(1, 121))
    until(lambda: destination(node, LONG)["waiting"] + destination(node, LONG)["retrying"] == 120, "all are owed")
    browser = opened(node, browse)
    until(lambda: rows(browser, "destinations"), "the destinations")
    Select(browser.find_element(By.ID, "of-state")).select_by_value("")
    Select(browser.find_element(By.ID, "of-destination")).select_by_value(LONG)
    seen = set()
    for page, number in ((1, 50), (2, 50), (3, 20)):
        until(lambda: len(rows(browser, "deliveries")) == number and (page == 1 or f"page {page}" in text(browser, "deliveries-count")), f"page {page}")
        uids = browser.execute_script("return [...document.querySelectorAll('#deliveries .instance > span > .uid')].map((uid) => uid.textContent)")
        assert not seen & set(uids)
        seen |= set(uids)
        if page < 3:
            browser.find_element(By.ID, "next-deliveries").send_keys(Keys.ENTER)
    assert len(seen) == 120 and not browser.find_element(By.ID, "next-deliveries").is_displayed()
    browser.find_element(By.ID, "first-deliveries").click()
    until(lambda: len(rows(browser, "deliveries")) == 50, "the first page again")


def test_as_many_destinations_as_there_may_be_stay_in_view(start_node, tmp_path, browse):
    down = Archive("DOWN")
    tables = [down.table(f"destination-{number:03}") for number in range(64)]
    node = configured(start_node, tmp_path, ["destination-050"], tables)
    Scanner(tmp_path, node).send(1)
    until(lambda: destination(node, "destination-050")["live"]["phase"] == "down", "one of them is down")
    browser = opened(node, browse)
    until(lambda: len(rows(browser, "destinations")) == 20, "the first of them")
    assert "64 destinations" in text(browser, "destinations-now") and "1 failing" in text(browser, "destinations-now")
    assert rows(browser, "destinations")[0].text.startswith("destination-050")
    browser.find_element(By.ID, "all-destinations").send_keys(Keys.ENTER)
    until(lambda: len(rows(browser, "destinations")) == 64, "all of them")
    assert browser.switch_to.active_element.text == "destination-019", "the focus is on the next one"
    assert not browser.find_element(By.ID, "all-destinations").is_displayed()


def test_without_destinations_or_a_catalogue_it_says_so(start_node, browse):
    browser = opened(start_node(), browse)
    until(lambda: "No destinations." in text(browser, "no-destinations"), "there are none")
    assert not browser.find_element(By.ID, "deliveries-panel").is_displayed()
    browser = opened(start_node(catalogue__path="off"), browse)
    until(lambda: "no deliveries without the catalogue" in text(browser, "no-destinations"), "the catalogue is off")


def test_a_guest_is_asked_for_the_token(node, browse):
    browser = browse(f"{node.url}/#/outbox")
    until(lambda: browser.find_element(By.ID, "sign-in").is_displayed(), "the sign-in")
    browser.find_element(By.ID, "token").send_keys(token(node), Keys.ENTER)
    until(lambda: len(rows(browser, "destinations")) == 3, "the destinations")


def _commented(comment: str) -> Dataset:
    status = Dataset()
    status.Status, status.ErrorComment = CANNOT_UNDERSTAND, comment
    return status


def test_what_a_destination_answers_is_text(start_node, tmp_path, browse):
    """A comment of PS3.7 §C.4 is the peer's."""
    hostile = Archive("HOSTILE", {f"{ROOT}.1.1.1": _commented(HOSTILE)}).listen()
    try:
        node = configured(start_node, tmp_path, ["hostile"], [hostile.table("hostile")])
        Scanner(tmp_path, node).send(1)
        until(lambda: destination(node, "hostile")["dead"] == 1, "it is dead")
        browser = opened(node, browse)
        until(lambda: HOSTILE in row(browser, "deliveries", "hostile"), "the comment")
        assert HOSTILE in row(browser, "destinations", "hostile")
        assert not browser.find_elements(By.CSS_SELECTOR, "#outbox img")
    finally:
        hostile.close()


@pytest.mark.parametrize("width, dark", [(390, False), (390, True), (1366, False), (1366, True), (820, False)])
def test_it_fits_every_screen_and_is_read_in_the_dark(node, scanner, archives, browse, width, dark):
    failed(node, scanner, archives)
    browser = opened(node, browse, width=width, height=860, dark=dark)
    until(lambda: rows(browser, "deliveries"), "what is dead")
    for page in ("outbox", f"studies/{ROOT}.1", "studies"):
        browser.execute_script("location.hash = `#/${arguments[0]}`", page)
        until(lambda: rows(browser, {"outbox": "deliveries", "studies": "studies-list"}.get(page, "progress")), page)
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), f"{page} scrolls sideways"
        poor = browser.execute_script(CONTRAST)
        assert not poor, poor
