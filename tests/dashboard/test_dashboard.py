"""The dashboard in a real browser, under real load."""

import pytest
from conftest import until
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from sender import Load, Sender

HOSTILE = "<img src=x>"
POINTS = "return import('/core.js').then((core) => core.state.points)"


def text(browser, id: str) -> str:
    return browser.find_element(By.ID, id).text


def token(node) -> str:
    return node.operator["Authorization"].removeprefix("Bearer ")


def ready(browser):
    until(lambda: text(browser, "health") == "ready", "the page is live")
    return browser


def rows(browser, table: str) -> list:
    return browser.find_elements(By.CSS_SELECTOR, f"#{table} tbody tr")


def number(words: str) -> float:
    return float(words.split()[0].replace("\u202f", ""))


def test_what_is_sent_is_seen(node, browse):
    load = Load(node.port, {"CT_1": 300_000, "MR_2": 60_000, HOSTILE: 20_000}, 0.02)
    browser = ready(browse(node.url + "/", token=token(node)))
    until(lambda: len(rows(browser, "associations")) == 3, "three associations")
    until(lambda: number(text(browser, "instances")) > 0, "instances a second")
    until(lambda: text(browser, "p50") != "–", "a response time")
    until(lambda: browser.find_elements(By.CSS_SELECTOR, "#memory-chart path.floor"), "the floors in the memory chart")
    until(lambda: browser.find_elements(By.CSS_SELECTOR, "#throughput-chart path.s-received"), "throughput")
    assert "of " in text(browser, "memory-now") and "pressure normal" in text(browser, "memory-now")
    assert browser.find_elements(By.CSS_SELECTOR, "#memory-chart path.resident")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#writers li")) == 16
    # A peer's string is text, and nothing else.
    assert HOSTILE in browser.find_element(By.ID, "associations").text
    assert not browser.find_elements(By.CSS_SELECTOR, "#associations img")
    load.stop()
    until(lambda: "No open associations." in text(browser, "main"), "nobody any more")
    # Whoever comes later sees the same past.
    later = ready(browse(node.url + "/", token=token(node)))
    until(lambda: len(later.execute_script(POINTS)) > 2, "the past")
    assert sum(point["acknowledged"] for point in later.execute_script(POINTS)) > 0


def test_an_association_is_aborted_from_the_keyboard_after_a_question(node, browse):
    sender = Sender(node.port, "STUCK_1")
    sender.begin("1.2.3.1", 3_000_000, 1_000_000)
    browser = ready(browse(node.url + "/", token=token(node)))
    until(lambda: len(rows(browser, "associations")) == 1, "the association")
    button = browser.find_element(By.CSS_SELECTOR, "#associations button")
    assert button.accessible_name.startswith("Abort the association of STUCK_1 from 127.0.0.1:")
    button.send_keys(Keys.ENTER)
    dialog = browser.find_element(By.ID, "confirm")
    assert dialog.is_displayed() and "STUCK_1" in dialog.text
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    until(lambda: not dialog.is_displayed(), "the question is withdrawn")
    assert node.get("/api/associations")[2] != b"[]", "and nothing is done"
    browser.find_element(By.CSS_SELECTOR, "#associations button").send_keys(Keys.ENTER)
    browser.switch_to.active_element.send_keys(Keys.TAB, Keys.ENTER)
    assert sender._pdu()[0] == 7, "A-ABORT"
    until(lambda: not rows(browser, "associations"), "it is gone")


def test_a_refusal_and_a_drain_are_seen(node, browse):
    sender = Sender(node.port, "OLD_CR")
    browser = ready(browse(node.url + "/", token=token(node)))
    assert sender.store("1.2.3.1", 1000, named="1.2.3.2") == 0xA900
    until(lambda: len(rows(browser, "refusals")) == 1, "the refusal")
    row = rows(browser, "refusals")[0].text
    assert "OLD_CR" in row and "A900" in row and "data set mismatch" in row
    until(lambda: text(browser, "refused") == "1", "it is counted")
    browser.find_element(By.ID, "drain").click()
    browser.find_element(By.ID, "confirm-yes").click()
    until(lambda: text(browser, "health") == "draining", "it drains")
    assert not Sender(node.port, "NEW").accepted
    assert node.get("/ready")[0] == 503
    browser.find_element(By.ID, "drain").click()
    ready(browser)
    assert Sender(node.port, "NEW").accepted


def test_an_association_that_has_ended_is_seen_with_its_instances(node, browse):
    browser = ready(browse(node.url + "/", token=token(node)))
    until(lambda: "No association has ended" in text(browser, "main"), "none yet")
    sender = Sender(node.port, HOSTILE)
    assert [sender.store("1.2.3.1", pixels) for pixels in (1000, 1000, 2000)] == [0, 0, 0]
    assert sender.store("1.2.3.2", 1000, named="1.2.3.3") == 0xA900
    sender.close()
    until(lambda: len(rows(browser, "past")) == 1, "it is listed")
    row = rows(browser, "past")[0].text
    for words in (HOSTILE, "TIDEGATE", "127.0.0.1:", "1.2.3", "1 new, 1 identical, 1 kept both", "connection lost"):
        assert words in row, row
    assert not browser.find_elements(By.CSS_SELECTOR, "#past img")
    # Without a token the page has the figures, and nobody's name or study.
    guest = ready(browse(node.url + "/"))
    until(lambda: len(rows(guest, "past")) == 1, "it is listed")
    row = rows(guest, "past")[0].text
    assert "1 new" in row and HOSTILE not in row and "1.2.3" not in row and "127.0.0.1" not in row, row


def test_a_page_whose_node_is_gone_says_so(node, browse):
    browser = ready(browse(node.url + "/", token=token(node)))
    node.stop()
    until(lambda: text(browser, "health") == "disconnected", "it is noticed")
    assert "the last ones received" in text(browser, "notice")


def test_a_token_is_asked_for_and_kept_for_the_session(start_node, browse, tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "token").chmod(0o600)
    node = start_node(admin__token_file=str(tmp_path / "token"))
    browser = browse(node.url + "/")
    field = until(lambda: next((e for e in browser.find_elements(By.ID, "token") if e.is_displayed()), None), "the question")
    field.send_keys("wrong-wrong-wrong", Keys.ENTER)
    until(lambda: browser.find_element(By.ID, "token").is_displayed(), "it is asked for again")
    browser.find_element(By.ID, "token").send_keys("0123456789abcdef", Keys.ENTER)
    ready(browser)
    browser.refresh()
    ready(browser)


@pytest.mark.parametrize("width,dark", [(1366, False), (1366, True), (390, False), (390, True), (320, False)])
def test_it_reads_well_at_every_size_and_in_both_schemes(node, browse, width, dark):
    load = Load(node.port, {"CT_1": 300_000, "A_VERY_LONG_NAME": 60_000}, 0.05)
    bad = Sender(node.port, "OLD_CR")
    bad.store("1.2.3.1", 1000, named="1.2.3.2")
    past = Sender(node.port, "A_LONG_NAME_ALSO")
    past.store("1.2.3.4", 1000)
    past.close()
    browser = ready(browse(node.url + "/", token=token(node), width=width, height=844, dark=dark))
    until(lambda: len(rows(browser, "associations")) == 3 and rows(browser, "refusals") and rows(browser, "past"), "everything is shown")
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    # WCAG 2 AA: 4.5 to 1 for text, as the browser has computed it.
    poor = browser.execute_script(CONTRAST)
    assert not poor, poor
    load.stop()


def test_the_chart_is_read_with_the_keyboard(node, browse):
    browser = ready(browse(node.url + "/", token=token(node)))
    until(lambda: len(browser.execute_script(POINTS)) > 3, "some seconds")
    chart = browser.find_element(By.ID, "memory-chart")
    chart.send_keys(Keys.ARROW_LEFT)
    tip = until(lambda: browser.find_elements(By.CSS_SELECTOR, "#memory-chart .tip"), "the figures of a second")[0]
    assert "resident" in tip.text and "pressure" in tip.text
    chart.send_keys(Keys.ESCAPE)
    until(lambda: not browser.find_elements(By.CSS_SELECTOR, "#memory-chart .tip"), "it goes")
    browser.find_element(By.CSS_SELECTOR, "#scale input[value=budget]").send_keys(Keys.SPACE)
    until(lambda: browser.find_elements(By.CSS_SELECTOR, "#memory-chart path.budget"), "the budget's line")


CONTRAST = """
const channel = (c) => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const luminance = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
const ground = (element) => { for (let e = element; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
const poor = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.checkVisibility() || element.closest("svg, noscript, .sr-only, .skip, legend, thead")) continue;
  const [a, b] = [luminance(parse(getComputedStyle(element).color)), luminance(ground(element))].sort((x, y) => y - x);
  const ratio = (a + .05) / (b + .05);
  if (ratio < 4.5 && !element.disabled) poor.push(`${element.tagName}#${element.id}.${element.className} ${element.textContent.slice(0, 30)}: ${ratio.toFixed(2)}`);
}
return poor;
"""
