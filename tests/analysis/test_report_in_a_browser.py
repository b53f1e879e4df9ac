"""The report in a browser: it renders without requests, and its controls work."""

import base64
import io
import json
import time

import numpy as np
import pytest
from browser import wait_for
from PIL import Image

ADAM = (0xD5, 0x5E, 0x00)
"""The colour of the second method in alphabetical order; the first is a script in a record."""


@pytest.fixture(scope="module")
def opened(browser, page):
    """The page with all charts drawn, the browser's log, and the URLs it requested."""
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())
    wait_for(browser, "return document.body.dataset.complete === 'yes'")
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    return browser, browser.get_log("browser"), requests


def act(browser, script):
    """Run a script and wait until the charts are redrawn."""
    browser.execute_script(f"document.body.dataset.drawn = 'no'; {script}")
    wait_for(browser, "return document.body.dataset.drawn === 'yes'")


def click(browser, selector):
    act(browser, f"document.querySelector({selector!r}).click()")


def chart(browser, case="oscillators"):
    """Return axis label, scales and number of lines of the chart of a case, as Bokeh holds them."""
    return browser.execute_script(
        """
        const one = Bokeh.documents.flatMap((d) => d.roots()).find(
            (root) => root.document && root.tags.includes(arguments[0]));
        return {x: one.below[0].axis_label, scales: [one.x_scale.type, one.y_scale.type],
                lines: one.renderers.filter((r) => r.glyph.type === "Line").length};
        """,
        case,
    )


def painted(browser, colour):
    """Return whether the first chart shows a colour within 10 s: painting lags behind drawing."""
    end = time.monotonic() + 10
    while pixels(browser, colour) < 100:
        if time.monotonic() > end:
            return False
    return True


def pixels(browser, colour):
    """Count the pixels close to a colour in the first chart."""
    clip = browser.execute_script(
        "const r = document.querySelector('#curve-charts .plot').getBoundingClientRect();"
        "return {x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height, scale: 1}"
    )
    how = {"clip": clip, "captureBeyondViewport": True}
    png = base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", how)["data"])
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    return int(np.sum(np.abs(np.asarray(picture, int) - colour).max(axis=2) < 12))


def test_it_renders_without_warnings_and_requests(opened):
    browser, log, requests = opened
    assert [entry for entry in log if entry["level"] != "INFO"] == []
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [
        browser.current_url
    ]
    plots = browser.find_elements("css selector", "#curve-charts .plot")
    assert len(plots) == 2
    assert all(plot.find_elements("css selector", "*") for plot in plots)
    assert painted(browser, ADAM)


def test_a_script_in_a_record_is_not_executed(opened):
    browser = opened[0]
    assert browser.execute_script("return window.stolen === undefined")
    labels = browser.find_elements("css selector", "#methods span")
    assert any(label.text.startswith("<script>") for label in labels)
    cells = browser.find_elements("css selector", ".runs td")
    assert any("<script>window.stolen" in cell.text for cell in cells)


def test_the_axis_control_works(opened):
    browser = opened[0]
    for name, words in {
        "compiled": "compilation included", "updates": "updates", "calls": "physics calls",
        "seconds": "not included",
    }.items():  # fmt: skip
        click(browser, f"#axis input[value={name}]")
        assert words in chart(browser)["x"]


def test_the_scale_controls_work(opened):
    browser = opened[0]
    assert chart(browser)["scales"] == ["LinearScale", "LogScale"]
    click(browser, "#log-error")
    assert chart(browser)["scales"][1] == "LinearScale"
    click(browser, "#log-error")
    kinds = {True: "LogScale", False: "LinearScale"}
    selected = []
    for _ in range(2):
        click(browser, "#log-cost")
        selected.append(browser.find_element("css selector", "#log-cost").is_selected())
        assert chart(browser)["scales"] == [kinds[selected[-1]], "LogScale"]
    assert sorted(selected) == [False, True]


def test_hiding_a_method_removes_its_line_from_the_picture(opened):
    browser = opened[0]
    before = chart(browser)["lines"]
    assert painted(browser, ADAM)
    click(browser, "#methods input[value='adam']")
    assert chart(browser)["lines"] == before - 1
    assert pixels(browser, ADAM) == 0
    click(browser, "#methods input[value='adam']")
    assert chart(browser)["lines"] == before
    assert painted(browser, ADAM)


def test_the_tails_of_single_samples_are_drawn_for_the_selected_methods(opened):
    browser = opened[0]
    lines = """
        return Bokeh.documents.flatMap((d) => d.roots()).filter((root) => root.document
            && root.left[0].axis_label === "share with at least this error").map((root) =>
            root.renderers.map((r) => [...r.data_source.data.y]))"""
    (drawn,) = browser.execute_script(lines)
    assert len(drawn) == 2, "a line for each method with errors of single samples"
    for shares in drawn:
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (pytest.approx(1 / 192, rel=1e-3), 1)
    click(browser, "#methods input[value='adam']")
    assert len(browser.execute_script(lines)[0]) == 1
    click(browser, "#methods input[value='adam']")
    cells = "return [...document.querySelectorAll('#samples tbody tr')].map((row) => "
    rows = browser.execute_script(cells + "[...row.cells].slice(0, 3).map((c) => c.textContent))")
    assert sorted(rows) == [["adam", "3 of 3", "192"], ["hig", "3 of 3", "192"]]


def test_hovering_shows_the_method(opened):
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    browser = opened[0]
    left, top = browser.execute_script(
        "document.documentElement.style.scrollBehavior = 'auto';"
        "const e = document.querySelector('#curve-charts .plot');"
        "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
        "return [r.x, r.y]"
    )
    visible = """
        const texts = (node) => [...node.querySelectorAll('*')].flatMap((one) =>
            one.shadowRoot ? [one.shadowRoot.textContent, ...texts(one.shadowRoot)] : []);
        return texts(document).join(' ')"""
    text = ""
    for down in range(10, 250, 3):  # from the top of the chart down to a line
        pointer = ActionBuilder(browser, duration=0)
        pointer.pointer_action.move_to_location(int(left + 200), int(top + down))
        pointer.perform()
        text = browser.execute_script(visible)
        if "median" in text:
            break
    assert "quartiles" in text
    assert "adam" in text or "hig" in text


def test_replaced_charts_are_removed_from_memory(opened):
    browser = opened[0]
    count = "return Bokeh.documents.filter((d) => d.roots().length).length"
    before = browser.execute_script(count)
    for _ in range(3):
        click(browser, "#log-error")
        click(browser, "#log-error")
    assert browser.execute_script(count) == before


def test_the_table_filters_and_sorts(opened):
    browser = opened[0]
    shown = "return [...document.querySelectorAll('.runs tbody tr')].filter(r => !r.hidden)"
    browser.execute_script(
        "const f = document.getElementById('filter'); f.value = 'sgd oom';"
        "f.dispatchEvent(new Event('input'))"
    )
    assert browser.execute_script(f"{shown}.map(r => r.cells[3].textContent)") == ["oom"]
    browser.execute_script(
        "const f = document.getElementById('filter'); f.value = '';"
        "f.dispatchEvent(new Event('input'))"
    )
    sort = "document.querySelectorAll('.runs th button')[2].click()"
    browser.execute_script(sort)
    seeds = browser.execute_script(f"{shown}.map(r => +r.cells[2].textContent)")
    assert seeds == sorted(seeds)
    browser.execute_script(sort)
    falling = browser.execute_script(f"{shown}.map(r => +r.cells[2].textContent)")
    assert falling == sorted(seeds, reverse=True)


def test_nothing_is_cut_off_at_small_and_large_widths(opened):
    browser = opened[0]
    for width in (1366, 2560):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert browser.execute_script("return innerWidth") == width
        over = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.execute_script(over) <= 0
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_its_charts_are_printed(opened):
    browser = opened[0]
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    charts = browser.execute_script("return document.querySelectorAll('.plot').length")
    copies = browser.execute_script(
        "return [...document.querySelectorAll('.paper')].map(p => p.src.slice(0, 15))"
    )
    assert copies == ["data:image/png;"] * charts
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script("return document.querySelectorAll('.paper').length") == 0
    printed = browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert base64.b64decode(printed).startswith(b"%PDF")
