"""The page of a report in a real browser: headless Chromium, without any network."""

import importlib.resources
import importlib.util
import json
import shutil
import time

import numpy as np
import pytest

from fake.results import write_results
from quatrain.report.build import load_report
from quatrain.report.write import write_report
from quatrain.results import Comparison

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
MISSING = [
    name
    for name, found in (
        ("chromium", CHROMIUM),
        ("chromedriver", DRIVER),
        ("selenium", importlib.util.find_spec("selenium")),
        ("axe-core-python", importlib.util.find_spec("axe_core_python")),
    )
    if not found
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ODD = ["<script>alert(1)</script>", "a|b $x$", "עברית 😀"]


def write_study(root, cells=16, seeds=3):
    """A grid of terms in one group, odd names in another."""
    generator = np.random.default_rng(0)
    names = [f"{n:04b}" for n in range(16)] if cells == 16 else [f"cell {n}" for n in range(cells)]
    groups = {"grid": names, "odd <i>": ODD}
    values = {
        (group, name): {
            seed: {
                "accuracy": 40 + n + float(generator.normal(0, 0.3)),
                "loss": 2 - n / 50 + float(generator.normal(0, 0.01)),
            }
            for seed in range(seeds)
        }
        for group, members in groups.items()
        for n, name in enumerate(members)
    }
    comparisons = [Comparison(group="grid", left=names[-1], right=name) for name in names[:4]]
    comparisons.append(Comparison(group="odd <i>", left=ODD[1], right=ODD[0], published=0.5))
    counted = ("parameters", "multiply_adds", "paper_multiply_adds")
    costs = {
        name: {cost: 1e6 * (10 + n) * 10**place for place, cost in enumerate(counted)}
        for n, name in enumerate(names)
    }
    store = write_results(root, values, costs, comparisons=tuple(comparisons), margin=0.5)
    for number, path in enumerate(sorted(root.glob("runs/*"))):
        log = [{"step": step, "loss": 3 / step + number / 100} for step in range(1, 20)]
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    return write_report(load_report(store), root / "report").as_uri()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def driver():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=Service(DRIVER)) as browser:
        yield browser


@pytest.fixture
def page(driver, address):
    """The page in a window of 1300 pixels, in light mode."""
    show(driver, address)
    return driver


def show(driver, address, width=1300, scheme="light"):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    driver.get(address)


def find(page, selector):
    return page.find_elements("css selector", selector)


def tip(page):
    return page.execute_script(
        "const t = document.getElementById('tip'); return t.hidden ? '' : t.innerText"
    )


def test_page_makes_no_request_and_no_error(driver, address):
    driver.get_log("browser"), driver.get_log("performance")
    show(driver, address)
    assert driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    requests = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in requests if not url.startswith("data:")] == [address]


def test_text_of_records_makes_no_element(page):
    assert len(find(page, "script")) == 2
    assert not find(page, "i")
    assert ODD[0] in page.find_element("css selector", "#results").text


def test_hover_names_a_cell_and_its_numbers(page):
    from selenium.webdriver import ActionChains

    assert tip(page) == ""
    (point,) = find(page, ".point[aria-label^='1111,'] path")
    ActionChains(page).move_to_element(point).perform()
    assert "1111 · grid" in tip(page)
    assert "accuracy 5" in tip(page)
    assert "M multiply-adds" in tip(page)
    assert "on the front with probability" in tip(page)


def test_arrow_keys_move_between_points(page):
    from selenium.webdriver import ActionChains, Keys

    page.execute_script("document.querySelector('.point[tabindex=\"0\"]').focus()")
    first = tip(page)
    ActionChains(page).send_keys(Keys.ARROW_RIGHT).perform()
    second = tip(page)
    ActionChains(page).send_keys(Keys.HOME).perform()
    assert first
    assert first != second
    assert tip(page) == first


def test_axes_and_groups_can_be_selected(page):
    from selenium.webdriver.support.ui import Select

    def label():
        return find(page, "#plot svg")[0].get_attribute("aria-label")

    assert label().startswith("accuracy against M multiply-adds")
    assert len(find(page, "#plot .point")) == 19
    price = Select(page.find_element("id", "price"))
    price.select_by_visible_text("G multiply-adds, paper's convention")
    assert label().startswith("accuracy against G multiply-adds, paper's convention")
    assert len(find(page, "#plot .point")) == 16
    price.select_by_visible_text("M parameters")
    assert label().startswith("accuracy against M parameters")
    assert find(page, "#plot .front")[0].get_attribute("points")
    Select(page.find_element("id", "metric")).select_by_visible_text("loss")
    assert label().startswith("loss against M parameters")
    assert not find(page, "#plot .front")[0].get_attribute("points")
    assert "does not declare" in page.find_element("id", "direction").text
    find(page, "[data-group='0']")[0].click()
    assert len(find(page, "#plot .point")) == 3
    find(page, "[data-group='1']")[0].click()
    assert "No cell has both values" in page.find_element("id", "plot").text


def test_labels_do_not_overlap(page):
    boxes = page.execute_script(
        "return [...document.querySelectorAll('#plot .label')].map(e => {"
        "const b = e.getBoundingClientRect(); return [b.left, b.top + 2, b.right, b.bottom - 2]})"
    )
    assert len(boxes) > 5
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            apart = one[2] <= other[0] or other[2] <= one[0]
            assert apart or one[3] <= other[1] or other[3] <= one[1]


def column(page, place):
    rows = find(page, "#results tbody tr")
    return [row.find_elements("tag name", "td")[place].text for row in rows if row.is_displayed()]


def test_the_table_is_filtered_sorted_and_has_columns_on_and_off(page):
    page.find_element("id", "filter").send_keys("grid 111")
    assert column(page, 1) == ["0111", "1110", "1111"]
    assert page.find_element("id", "count").text == "3 of 19 rows"
    header = find(page, "#results th button")[2]
    header.click()
    header.click()
    assert column(page, 1) == ["1111", "1110", "0111"]
    assert find(page, "#results th[aria-sort='descending']")[0].text.startswith("accuracy")
    find(page, ".columns summary")[0].click()
    find(page, "[data-column='1']")[0].click()
    assert "cell" not in page.find_element("css selector", "#results thead").text.split()
    assert not any(column(page, 1))


def test_dark_mode_is_dark(driver, address):
    shades = {}
    for scheme in ("light", "dark"):
        show(driver, address, scheme=scheme)
        color = "return getComputedStyle(document.body).backgroundColor"
        shades[scheme] = sum(map(int, driver.execute_script(color)[4:-1].split(",")))
    assert shades["light"] > 700
    assert shades["dark"] < 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_no_serious_finding(driver, address, scheme):
    show(driver, address, scheme=scheme)
    script = importlib.resources.files("axe_core_python") / "axe.min.js"
    driver.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    driver.execute_script(script.read_text())
    found = driver.execute_async_script(
        "const done = arguments[arguments.length - 1]; axe.run().then(r => done(r.violations))"
    )
    serious = [
        (each["id"], each["help"], [node["html"][:200] for node in each["nodes"]][:3])
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]
    assert serious == []


def test_the_page_fits_a_phone_and_prints(driver, address):
    show(driver, address, width=390)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
    assert find(driver, "#plot .label")
    paper = {"paperWidth": 8.27, "paperHeight": 11.69}
    printed = driver.execute_cdp_cmd("Page.printToPDF", paper)
    assert printed["data"].startswith("JVBER")


def test_a_thousand_runs_are_interactive_within_two_seconds(driver, tmp_path):
    address = write_study(tmp_path, cells=200, seeds=5)
    waited = []
    for _ in range(5):
        begin = time.perf_counter()
        show(driver, address)
        assert len(find(driver, "#plot .point")) == 203
        waited.append(time.perf_counter() - begin)
    assert min(waited) < 2
