"""The page of studies in a real browser: what storescu has sent is found, followed and looked into."""

from pathlib import Path

import peers
import pytest
from conftest import until
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from test_dashboard import CONTRAST, HOSTILE, ready, rows, text, token

ROOT = "1.2.826.0.1.3680043.9"


class Scanner:
    """Studies as files, and DCMTK to send them."""

    def __init__(self, directory: Path, node):
        self.directory, self.node = directory / "sent", node
        self.directory.mkdir()

    def send(self, study: int, numbers=(1,), calling="CT_1", pixels=64, **values: str) -> str:
        """Stores instances with these numbers; the Study Instance UID."""
        return self.send_all([(study, numbers, values)], calling, pixels)[0]

    def send_all(self, studies, calling="CT_1", pixels=64) -> list[str]:
        """Stores them by one association."""
        files = [self._file(study, number, pixels, values) for study, numbers, values in studies for number in numbers]
        peers.run("storescu", "-aet", calling, "-aec", "TIDEGATE", "127.0.0.1", self.node.port, *files)
        return [f"{ROOT}.{study}" for study, _, _ in studies]

    def _file(self, study: int, number: int, pixels: int, values: dict[str, str]) -> Path:
        sent = Dataset()
        sent.SOPClassUID, sent.SOPInstanceUID = CTImageStorage, f"{ROOT}.{study}.1.{number}"
        sent.SpecificCharacterSet = "ISO_IR 192"
        defaults = {"PatientName": f"Patient^{study}", "PatientID": f"P{study:04}", "AccessionNumber": f"A{study:04}", "StudyDate": "20261129", "Modality": "CT"}
        for name, value in (defaults | values).items():
            setattr(sent, name, value)
        sent.StudyInstanceUID, sent.SeriesInstanceUID = f"{ROOT}.{study}", f"{ROOT}.{study}.1"
        sent.SeriesNumber, sent.InstanceNumber = 1, number
        sent.Rows, sent.Columns, sent.PixelData = 1, pixels, bytes(pixels)
        sent.BitsAllocated, sent.BitsStored, sent.HighBit, sent.PixelRepresentation = 8, 8, 7, 0
        sent.SamplesPerPixel, sent.PhotometricInterpretation = 1, "MONOCHROME2"
        sent.file_meta = FileMetaDataset()
        sent.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = self.directory / f"{study}-{number}-{pixels}.dcm"
        sent.save_as(path, enforce_file_format=True)
        return path


@pytest.fixture
def scanner(tmp_path, node) -> Scanner:
    return Scanner(tmp_path, node)


def studies(node, browse, **how):
    browser = browse(node.url + "/#/studies", token=token(node), **how)
    until(lambda: text(browser, "health") == "ready", "the page is live")
    return browser


def names(browser) -> list[str]:
    """Who is listed, from the top."""
    return browser.execute_script("return [...document.querySelectorAll('#studies-list tbody tr')].map((row) => row.cells[0].firstChild.textContent)")


def listed(browser, *expected: str) -> None:
    until(lambda: names(browser) == list(expected), f"{expected} are listed")


def test_a_study_is_found_as_one_types_by_what_one_has(node, scanner, browse):
    scanner.send(1, PatientName="Müller^Anna", StudyDate="20260102")
    scanner.send(2, calling="MR_2", PatientName="Yamada^Tarou=山田^太郎", StudyDate="20260203")
    scanner.send(3, PatientName=HOSTILE, PatientID="ACME-7")
    browser = studies(node, browse)
    listed(browser, HOSTILE.replace("=", " · "), "Yamada, Tarou · 山田 太郎", "Müller, Anna")
    assert not browser.find_elements(By.CSS_SELECTOR, "#studies-list img"), "a peer's string is text"
    assert text(browser, "studies-count") == "3 studies"
    field = browser.find_element(By.ID, "text")
    for typed, found in [
        ("müller, a", "Müller, Anna"),  # as the page writes it, in lower case
        ("yama", "Yamada, Tarou · 山田 太郎"),
        ("acme", HOSTILE.replace("=", " · ")),
        ("A0001", "Müller, Anna"),
        (f"{ROOT}.2", "Yamada, Tarou · 山田 太郎"),
        ("mr_2", "Yamada, Tarou · 山田 太郎"),
    ]:
        field.clear()
        field.send_keys(typed)
        listed(browser, found)
    field.clear()
    field.send_keys("nobody")
    until(lambda: "No study fits" in text(browser, "no-studies"), "nothing is found")
    field.clear()
    field.send_keys(f"{ROOT}.1.1.1")
    until(lambda: "An instance has this UID" in text(browser, "found-instance"), "an instance is found by its UID")
    assert "present" in text(browser, "found-instance")
    browser.find_element(By.ID, "clear").click()
    until(lambda: len(names(browser)) == 3, "all again")
    browser.find_element(By.ID, "source").send_keys("MR_2")
    listed(browser, "Yamada, Tarou · 山田 太郎")
    browser.find_element(By.ID, "clear").click()
    browser.execute_script("const from = document.getElementById('date-from'); from.value = '2026-02-01'; from.dispatchEvent(new Event('input', { bubbles: true }))")
    listed(browser, HOSTILE.replace("=", " · "), "Yamada, Tarou · 山田 太郎")
    # A patient is in no address: browsers keep addresses.
    assert browser.current_url.endswith("/#/studies")


def test_what_arrives_is_seen_and_moves_nothing_that_is_read(node, scanner, browse):
    browser = studies(node, browse)
    until(lambda: "No studies yet" in text(browser, "no-studies"), "it says that there is nothing")
    scanner.send(1)
    listed(browser, "Patient, 1")
    scanner.send(2)
    listed(browser, "Patient, 2", "Patient, 1")
    # Who has a study under the keyboard keeps it there: counts change in place, and new studies wait.
    older = browser.find_elements(By.CSS_SELECTOR, "#studies-list a")[1]
    browser.execute_script("arguments[0].focus()", older)
    place = older.rect
    scanner.send(1, numbers=(2, 3))
    scanner.send(3)
    until(lambda: rows(browser, "studies-list")[1].find_element(By.CSS_SELECTOR, ".count").text == "3", "it counts on")
    until(lambda: text(browser, "newer") == "1 new study: show", "the new one waits")
    assert names(browser) == ["Patient, 2", "Patient, 1"]
    assert browser.switch_to.active_element == older and older.rect == place
    browser.find_element(By.ID, "newer").click()
    listed(browser, "Patient, 3", "Patient, 1", "Patient, 2")


def test_pages_follow_each_other_and_the_page_stays_small(node, scanner, browse):
    scanner.send_all([(study, (1,), {}) for study in range(1, 371)])
    until(lambda: '"entered_total":370' in node.get("/api/catalogue")[2].decode(), "all are entered")
    browser = studies(node, browse)
    until(lambda: len(names(browser)) == 50, "a page")
    assert text(browser, "studies-count") == "the newest 50"
    seen = set(names(browser))
    more = browser.find_element(By.ID, "more")
    while more.is_displayed():
        before = names(browser)[-1]
        more.send_keys(Keys.ENTER)
        until(lambda: names(browser)[-1] != before, "the next page")
        focused = browser.switch_to.active_element
        assert focused.text == names(browser)[names(browser).index(before) + 1], "the focus is on its first study"
        seen |= set(names(browser))
        assert len(names(browser)) <= 300
    assert seen == {f"Patient, {study}" for study in range(1, 371)}
    assert "further back" in text(browser, "studies-count")
    browser.find_element(By.ID, "to-top").click()
    until(lambda: len(names(browser)) == 50 and not browser.find_element(By.ID, "to-top").is_displayed(), "the newest again")


def test_a_study_tells_its_gaps_its_versions_what_is_gone_and_its_senders(start_node, tmp_path, browse):
    node = start_node(storage__duplicates="keep-both")
    scanner = Scanner(tmp_path, node)
    uid = scanner.send(7, numbers=(1, 2, 3, 6, 9), PatientName="Doe^John", StudyDescription="Thorax")
    scanner.send(7, numbers=(3,), calling="CT_2", pixels=128, PatientName="Doe^John")
    browser = studies(node, browse)
    until(lambda: names(browser), "the study")
    browser.find_element(By.CSS_SELECTOR, "#studies-list .what").click()
    until(lambda: text(browser, "study-title") == "Doe, John", "its page")
    (series,) = until(lambda: rows(browser, "series"), "its series")
    assert "1–9" in series.text and "missing 4: 4–5, 7–8" in series.text and "of them 1 version" in series.text
    assert "4 Instance Numbers missing in 1 series" in text(browser, "study-trouble")
    assert uid in text(browser, "study-facts") and "6 files in 1 series" in text(browser, "study-facts")
    arrivals = text(browser, "arrivals")
    assert "CT_1" in arrivals and "CT_2" in arrivals and "127.0.0.1" in arrivals
    # It lives: what comes meanwhile closes the gap.
    scanner.send(7, numbers=(4, 5, 7, 8), PatientName="Doe^John")
    until(lambda: "missing" not in text(browser, "series"), "the gap is closed")
    gone = next(path for path in node.files() if ".1.9" in path.name)
    gone.unlink()
    node.get("/api/catalogue/catch-up", "POST", b"", **node.operator)
    until(lambda: "1 stored file gone" in text(browser, "study-trouble"), "what is gone is told")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
    until(lambda: browser.find_element(By.ID, "studies").is_displayed(), "back to the list")
    until(lambda: "1 gone" in text(browser, "studies-list"), "there as well")
    # The time of the viewer, and UTC beside it.
    title = browser.find_element(By.CSS_SELECTOR, "#studies-list time").get_attribute("title")
    assert title.endswith("Z UTC")
    browser.get(f"{node.url}/#/studies/1.2.3")
    until(lambda: "No study with that UID is known." in text(browser, "study-nothing"), "an unknown one")


def test_the_keyboard_reaches_everything(node, scanner, browse):
    for study in (1, 2, 3):
        scanner.send(study)
    browser = ready(browse(node.url + "/", token=token(node)))
    page = browser.find_element(By.TAG_NAME, "body")
    page.send_keys("/")
    until(lambda: browser.switch_to.active_element.get_attribute("id") == "text", "the search")
    listed(browser, "Patient, 3", "Patient, 2", "Patient, 1")
    field = browser.switch_to.active_element
    assert field.get_property("value") == "", "the key is not typed"
    field.send_keys(Keys.ARROW_DOWN)
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    chosen = browser.switch_to.active_element
    assert chosen.text == "Patient, 2"
    row = chosen.find_element(By.XPATH, "./ancestor::tr")
    assert row.value_of_css_property("outline-style") == "solid", "the focus is seen"
    chosen.send_keys(Keys.ENTER)
    until(lambda: text(browser, "study-title") == "Patient, 2", "the study")
    assert browser.switch_to.active_element.get_attribute("id") == "study-title"
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    until(lambda: browser.switch_to.active_element.text == "Patient, 2", "back where one was")
    browser.switch_to.active_element.send_keys(Keys.HOME)
    assert browser.switch_to.active_element.text == "Patient, 3"
    browser.switch_to.active_element.send_keys(Keys.ARROW_UP)
    assert browser.switch_to.active_element.get_attribute("id") == "text"


def test_without_a_token_no_patient_is_shown_and_the_page_says_what_to_do(node, scanner, browse):
    scanner.send(1)
    browser = browse(node.url + "/#/studies")
    form = browser.find_element(By.ID, "sign-in")
    until(form.is_displayed, "the question")
    assert ".tidegate/admin.token" in form.text and "Patient, 1" not in browser.page_source
    # The figures of the node need none.
    browser.find_element(By.ID, "to-node").click()
    until(lambda: browser.find_element(By.ID, "main").is_displayed() and not form.is_displayed(), "the page of the node")
    browser.find_element(By.ID, "to-studies").click()
    until(form.is_displayed, "the question again")
    browser.find_element(By.ID, "token").send_keys("wrong", Keys.ENTER)
    until(lambda: "The token is wrong" in text(browser, "sign-in-why"), "it is refused")
    browser.find_element(By.ID, "token").send_keys(token(node), Keys.ENTER)
    listed(browser, "Patient, 1")
    ready(browser)


def test_a_node_without_a_catalogue_says_so(start_node, browse):
    node = start_node(catalogue__path="off")
    browser = studies(node, browse)
    until(lambda: "The catalogue is off: set [catalogue] path" in text(browser, "no-studies"), "the reason")


@pytest.mark.parametrize("width,dark", [(1366, False), (1366, True), (360, False), (360, True)])
def test_it_reads_well_at_every_size_and_in_both_schemes(start_node, tmp_path, browse, width, dark):
    node = start_node(storage__duplicates="keep-both")
    scanner = Scanner(tmp_path, node)
    long = {"PatientName": "Hölzl-Oberhuber zu Waldburg-Wolfegg^Maximilian Alexander", "PatientID": "9" * 64, "StudyDescription": "W" * 64, "AccessionNumber": "A" * 16}
    scanner.send_all([(1, (1, 5, 9, 200), long), (2, (1,), {"PatientName": "", "PatientID": "", "AccessionNumber": "", "StudyDate": ""}), (3, (1,), {})], calling="A_VERY_LONG_NAME")
    browser = studies(node, browse, width=width, height=800, dark=dark)
    until(lambda: len(names(browser)) == 3, "all are listed")
    assert f"{ROOT}.2" in names(browser), "a study without a patient has a name"
    for look in ("the list", "a study"):
        if look == "a study":
            browser.get(f"{node.url}/#/studies/{ROOT}.1")
            until(lambda: rows(browser, "series"), look)
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), f"{look} scrolls sideways"
        assert browser.execute_script("return innerWidth") == width, f"{look} is wider than the screen"
        poor = browser.execute_script(CONTRAST)
        assert not poor, poor
