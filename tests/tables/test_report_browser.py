"""The report in a real browser: sorting, filtering, links, colour schemes, narrow windows, and axe where it is at hand.

Needs selenium, chromium and chromedriver (Debian: ``apt-get install chromium chromium-driver``); skips without.
``AXE_CORE=path/to/axe.min.js`` (``npm pack axe-core``) adds the accessibility check.
"""

from __future__ import annotations

import csv
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
    wait = "const w = () => document.getElementById('listing').hidden ? setTimeout(w, 20) : arguments[0](); w()"
    browser.execute_async_script(wait)
    return browser


def column(page: Any, number: int) -> list[str]:
    return page.execute_script(
        "return [...document.querySelectorAll('#table tbody tr')].filter(r => !r.hidden)"
        ".map(r => r.cells[arguments[0]].textContent)",
        number,
    )


def head(page: Any, name: str) -> Any:
    return next(
        h
        for h in page.find_elements("css selector", "#table thead th")
        if h.text.split("\N{NO-BREAK SPACE}")[0] == name
    )


def heads(page: Any) -> list[str]:
    return page.execute_script("return [...document.querySelectorAll('#table thead button')].map(b => b.textContent)")


def test_columns_sort_both_ways_with_missing_values_last(page):
    fidelity = heads(page).index("fidelity")
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


def choose(page: Any, name: str, value: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(page.find_element("id", name)).select_by_visible_text(value)


def test_filters_narrow_the_table_and_say_so(page):
    shown = page.find_element("id", "shown")
    kind, status, network, trigger = (heads(page).index(name) for name in ("kind", "status", "network", "trigger"))
    assert shown.text == "70 of 70 models"
    choose(page, "only-kind", "poisoned")
    assert set(column(page, kind)) == {"poisoned"}
    choose(page, "only-status", "failed")
    assert set(column(page, status)) == {"failed"}
    assert shown.text == "10 of 70 models"
    choose(page, "only-status", "all")
    page.find_element("id", "search").send_keys("VGG11bn polygon")
    assert set(column(page, network)) == {"vgg11bn"}
    assert set(column(page, trigger)) == {"polygon"}
    assert shown.text == f"{len(column(page, network))} of 70 models"
    page.find_element("id", "search").send_keys(" nothing-like-this")
    assert shown.text == "0 of 70 models"


def test_models_are_found_by_value(page):
    at = heads(page).index("ACC after")
    choose(page, "measure", "ACC after")
    page.find_element("id", "from").send_keys("0.8")
    page.find_element("id", "to").send_keys("0.9")
    told = [float(text) for text in column(page, at)]
    known = [row["acc_after"] for row in map(made_row, range(60)) if 0.8 <= row["acc_after"] <= 0.9]
    assert told == [float(f"{value:.2f}") for value in known]


def test_the_figures_that_most_come_for_need_no_scrolling(page):
    arrange(page, 1280, "light")
    for name in ("model", "fidelity", "kept ACC", "seconds"):
        assert head(page, name).rect["x"] + head(page, name).rect["width"] < 1280


def test_what_is_shown_is_what_python_would_write(page):
    for name, key in (("fidelity", "fidelity"), ("ACC after", "acc_after"), ("ASR after", "asr_after")):
        told = column(page, heads(page).index(name))[:60]
        known = [made_row(n).get(key) for n in range(60)]
        assert told == ["-" if value is None else f"{value:.2f}".replace("-0.00", "0.00") for value in known]


def test_the_table_is_there_to_take_away(page):
    """What the button saves is caught on its way to the disk."""
    page.execute_script(
        "window.kept = []; const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { blob.text().then((t) => kept.push(t)); return make(blob); };"
    )
    choose(page, "only-kind", "clean")
    page.find_element("id", "download").click()
    page.execute_async_script("setTimeout(arguments[0], 300)")
    (text,) = page.execute_script("return window.kept")
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["model_id"] for row in rows] == [f"id-{n:08}" for n in range(0, 60, 2)]
    for number, row in enumerate(rows):
        assert float(row["acc_after"]) == pytest.approx(made_row(2 * number)["acc_after"], abs=1e-6)
        assert row["fidelity"] == ""
    choose(page, "only-kind", "all")
    page.find_element("id", "download").click()
    page.execute_async_script("setTimeout(arguments[0], 300)")
    whole = page.execute_script("return window.kept[1]")
    assert not [cell for row in csv.reader(whole.splitlines()) for cell in row if cell.startswith("=")]


def test_a_link_opens_the_facts_of_its_model(page):
    choose(page, "only-kind", "clean")  # the model that is linked to is filtered out
    page.execute_script("location.hash = '#m4'")
    page.execute_async_script("setTimeout(arguments[0], 200)")
    assert page.execute_script("return document.activeElement.closest('tr').id") == "m4"
    detail = page.find_element("css selector", "#m4 + tr.detail")
    assert detail.find_element("css selector", "path.curve.recover").is_displayed()
    row = made_row(3)
    assert (
        f"ASR after {row['asr_after']:.2f} [{row['asr_after_low']:.2f}, {row['asr_after_high']:.2f}] 10" in detail.text
    )
    assert row["model_sha256"] in detail.text
    page.find_element("css selector", "#m4 button").click()
    assert not page.find_elements("css selector", "tr.detail")


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


FONTS = ("inherit", "serif", "'Liberation Sans', Arial", "monospace")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_no_text_leaves_its_box_in_any_font(page, width, scheme):
    arrange(page, width, scheme)
    page.execute_script("location.hash = '#m4'")
    page.execute_async_script("setTimeout(arguments[0], 200)")
    for font in FONTS:
        outside = page.execute_script(
            """
            document.body.style.fontFamily = arguments[0];
            const found = [];
            const within = (a, b) =>
              a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
            for (const text of document.querySelectorAll("figure svg text")) {
              const box = text.closest("svg").getBoundingClientRect();
              if (!within(text.getBoundingClientRect(), box)) found.push(text.textContent);
            }
            const boxes = ".cards li, figure, header dd, figcaption, .messages li, .inner, .inner dt, .inner dd";
            for (const box of document.querySelectorAll(boxes)) {
              if (box.scrollWidth > box.clientWidth + 1) found.push(box.textContent.slice(0, 80));
            }
            return found;
            """,
            font,
        )
        assert outside == [], font


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing(page, width, scheme):
    script = os.environ.get("AXE_CORE")
    if not script:
        pytest.skip("needs AXE_CORE=path/to/axe.min.js")
    arrange(page, width, scheme)
    page.execute_script("for (const id of ['m2', 'm61']) document.querySelector(`#${id} button`).click()")
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
