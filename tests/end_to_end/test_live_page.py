"""The page of `study run --live` in a real browser: a newer version keeps the reader's place."""

import importlib.util
import shutil
import time

import pytest

from quatrain.report.live import LivePage

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
MISSING = [
    name
    for name, found in (
        ("chromium", CHROMIUM),
        ("chromedriver", DRIVER),
        ("selenium", importlib.util.find_spec("selenium")),
    )
    if not found
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';
img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<link rel="icon" href="data:,"><title>Page</title></head><body>
<h1>{done} of 9 runs</h1>{sentences}
<label>Metric <select id="metric"><option value="0">BLEU</option><option value="1">chrF</option>
</select></label>
<label>Filter <input type="search" id="filter"></label>
<label><input type="checkbox" checked data-group="0"> self</label>
<details><summary>Notes ({done})</summary>text</details>
<details><summary>Runs</summary>text</details>
<table><thead><tr><th><button>cell</button></th><th><button>BLEU</button></th></tr></thead></table>
<div style="height:3000px"></div><h2>Far below</h2><div style="height:3000px"></div>
<script>
document.changes = [];
for (const each of document.querySelectorAll("input, select")) {
  each.addEventListener("change", () => document.changes.push(each.id));
}
for (const each of document.querySelectorAll("th")) {
  each.firstElementChild.addEventListener("click", () => {
    const up = each.getAttribute("aria-sort") !== "ascending";
    each.setAttribute("aria-sort", up ? "ascending" : "descending");
  });
}
</script></body></html>"""


@pytest.fixture(scope="module")
def driver():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(DRIVER)) as browser:
        browser.set_window_size(1000, 700)
        yield browser


@pytest.fixture
def live(tmp_path, driver):
    """A page in the browser, and a function that makes a newer one and waits for it."""
    content = [PAGE.replace("{done}", "1").replace("{sentences}", "")]
    with LivePage(tmp_path, build=lambda: content[0], seconds=0.3) as page:
        driver.get(page.address)

        def publish(done, sentences=""):
            content[0] = PAGE.replace("{done}", str(done)).replace("{sentences}", sentences)

        def renew(done, sentences=""):
            publish(done, sentences)
            wait_for(driver, f"return document.querySelector('h1').textContent[0] === '{done}'")

        page.publish, page.renew = publish, renew
        yield page


def wait_for(driver, script, seconds=30):
    end = time.monotonic() + seconds
    while not driver.execute_script(script):
        assert time.monotonic() < end, script
        time.sleep(0.05)
    time.sleep(0.3)  # scripts at the end of the page, and its next frame


def errors(driver):
    return [each["message"] for each in driver.get_log("browser") if each["level"] == "SEVERE"]


def test_a_newer_page_keeps_controls_folds_and_order(live, driver):
    driver.execute_script("""
        document.querySelector("#metric").value = "1";
        document.querySelector("#filter").value = "011";
        document.querySelector("#filter").focus();
        document.querySelector("#filter").setSelectionRange(2, 2);
        document.querySelector("[data-group]").checked = false;
        document.querySelector("details").open = true;
        const button = document.querySelectorAll("th button")[1];
        button.click(); button.click();
    """)
    live.renew(2)
    state = driver.execute_script("""return [
        document.querySelector("#metric").value, document.querySelector("#filter").value,
        document.activeElement.id, document.activeElement.selectionStart,
        document.querySelector("[data-group]").checked,
        [...document.querySelectorAll("details")].map((each) => each.open),
        document.querySelectorAll("th")[1].getAttribute("aria-sort"), document.changes.length]""")
    assert state == ["1", "011", "filter", 2, False, [True, False], "descending", 3]
    assert errors(driver) == []


def test_the_reader_stays_at_the_same_heading_when_text_is_added_above(live, driver):
    place = "return document.querySelector('h2').getBoundingClientRect().top"
    driver.execute_script("document.querySelector('h2').scrollIntoView()")
    before = driver.execute_script(place)
    live.renew(3, sentences="<p>Something new.</p>" * 30)
    assert driver.execute_script(place) == pytest.approx(before, abs=2)
    assert driver.execute_script("return scrollY") > 3300


def test_a_page_with_selected_text_is_not_replaced(live, driver):
    driver.execute_script("getSelection().selectAllChildren(document.querySelector('h2'))")
    live.publish(4)
    time.sleep(1.5)
    assert driver.execute_script("return document.querySelector('h1').textContent[0]") == "1"
    driver.execute_script("getSelection().removeAllRanges()")
    live.renew(4)


def test_the_end_of_the_study_is_said(live, driver):
    live.__exit__()
    wait_for(driver, "return document.querySelector('[role=status]') !== null")
    text = driver.execute_script("return document.querySelector('[role=status]').textContent")
    assert text.startswith("This page is no longer updated")
    live.__enter__()
