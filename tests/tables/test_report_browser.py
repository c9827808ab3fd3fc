"""The report in a real browser: sorting, filtering, links, colour schemes, narrow windows, and axe where it is at hand.

Needs selenium, chromium and chromedriver (Debian: ``apt-get install chromium chromium-driver``); skips without.
``AXE_CORE=path/to/axe.min.js`` (``npm pack axe-core``) adds the accessibility check.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tables.made_runs import HOSTILE, failed_row, made_row, made_run
from trojai_seam.tables.report import render_page

pytestmark = pytest.mark.slow
SCHEMES = ("light", "dark")
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("needs chromium and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [made_row(n) for n in range(60)]
    rows += [failed_row(61, model_id=f"z{text}", error=text) for text in HOSTILE]
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_page(made_run(rows, command="trojai-seam evaluate x")))
    return path


@pytest.fixture
def page(browser: Any, file: Path) -> Any:
    browser.get("about:blank")
    browser.get(file.as_uri())
    return browser


def column(page: Any, number: int) -> list[str]:
    return page.execute_script(
        "return [...document.querySelectorAll('#table tbody tr')].filter(r => !r.hidden)"
        ".map(r => r.cells[arguments[0]].textContent)",
        number,
    )


def head(page: Any, name: str) -> Any:
    return next(h for h in page.find_elements("css selector", "#table thead th") if h.text.startswith(name))


def test_columns_sort_both_ways_with_missing_values_last(page):
    fidelity = [h.text for h in page.find_elements("css selector", "#table thead th")].index("fidelity")
    for wanted, order in (("ascending", 1), ("descending", -1)):
        head(page, "fidelity").find_element("tag name", "button").click()
        assert head(page, "fidelity").get_attribute("aria-sort") == wanted
        values = column(page, fidelity)
        told = [float(value) for value in values if value != "-"]
        assert told == sorted(told, reverse=order < 0)
        assert len(told) == 30
        assert set(values[len(told) :]) == {"-"}
    head(page, "model").find_element("tag name", "button").send_keys("\ue007")  # the Enter key does it as well
    assert head(page, "fidelity").get_attribute("aria-sort") == "none"
    names = column(page, 0)
    assert names.index("id-00000002") < names.index("id-00000010")


def test_filters_narrow_the_table_and_say_so(page):
    shown = page.find_element("id", "shown")
    assert shown.text == "70 of 70 models"
    page.find_element("css selector", "#kind option:nth-child(2)").click()
    assert set(column(page, 2)) == {"poisoned"}
    page.find_element("css selector", "#status option:nth-child(3)").click()
    assert set(column(page, 4)) == {"failed"}
    assert shown.text == "10 of 70 models"
    page.find_element("css selector", "#status option:nth-child(1)").click()
    page.find_element("id", "search").send_keys("VGG11bn polygon")
    assert set(column(page, 1)) == {"vgg11bn"}
    assert set(column(page, 3)) == {"polygon"}
    assert shown.text == f"{len(column(page, 1))} of 70 models"
    page.find_element("id", "search").send_keys(" nothing-like-this")
    assert shown.text == "0 of 70 models"


def test_a_link_opens_the_section_of_its_model(page):
    section = page.find_element("id", "m4")
    assert section.get_attribute("open") is None
    page.execute_script("document.querySelector('#table a[href=\"#m4\"]').click()")
    page.execute_async_script("setTimeout(arguments[0], 200)")
    assert section.get_attribute("open") is not None
    assert page.execute_script("return document.activeElement.closest('details').id") == "m4"
    assert section.find_element("css selector", "path.curve.recover").is_displayed()


def test_hostile_names_ran_nothing(page):
    assert page.title.startswith("a made-up run")
    assert page.execute_script("return document.images.length") == 0
    assert page.get_log("browser") == []  # neither an error of ours nor anything for the policy to forbid


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_and_colours_follow_the_scheme(page, width, scheme):
    arrange(page, width, scheme)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    colour = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, colour[4:-1].split(","))) > 384) == (scheme == "light")
    text = page.execute_script("return getComputedStyle(document.querySelector('figure svg text')).fill")
    assert (sum(map(int, text[4:-1].split(","))) < 384) == (scheme == "light")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing(page, width, scheme):
    script = os.environ.get("AXE_CORE")
    if not script:
        pytest.skip("needs AXE_CORE=path/to/axe.min.js")
    arrange(page, width, scheme)
    page.execute_script("for (const id of ['m2', 'm61']) document.getElementById(id).open = true")
    page.execute_script(Path(script).read_text("utf-8"))
    found = page.execute_async_script(
        "axe.run().then(r => arguments[0](r.violations.map(v => `${v.impact} ${v.id}: ${v.nodes[0].html}`)))"
    )
    assert found == []


def arrange(page: Any, width: int, scheme: str) -> None:
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
