"""The report in a browser: it renders without requests, its controls work, text is escaped."""

import base64
import io
import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from analysis_records import write_run
from PIL import Image

from physopt import analysis
from physopt.analysis.errors import run_errors
from physopt.analysis.report.tables import run_rows
from physopt.cli import main

pytest.importorskip("bokeh")
HOSTILE = "<script>window.stolen = 1</script>"
ADAM = (0xD5, 0x5E, 0x00)
"""The colour of the second method in alphabetical order; the first is HOSTILE."""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Runs of all kinds: three methods, a divergence, out of memory, a refusal, markup in names."""
    root = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        fall = [10.0 ** -(0.1 * k) * (1 + 0.05 * seed) for k in range(12)]
        write_run(root, "oscillators", "adam", seed, fall, compile_seconds=1.0)
        write_run(root, "oscillators", "hig", seed, [f**1.5 for f in fall],
                  times=[3.0 * k for k in range(12)], compile_seconds=9.0)  # fmt: skip
        for batch_size in (8, 16):
            write_run(root, "toy", "adam", seed, fall, batch_size=batch_size)
    write_run(root, "oscillators", "sgd", 0, [1.0, 2.0, float("nan")], status="diverged",
              reason=f"loss is nan {HOSTILE}")  # fmt: skip
    write_run(root, "oscillators", "sgd", 1, [1.0], status="oom", reason="RESOURCE_EXHAUSTED")
    write_run(root, "toy", "sip", 0, [], status="skipped", reason="no inverse solver")
    write_run(root, "toy", HOSTILE.replace("/", "|"), 0, [1.0, 0.5], name="<b>&amp;")
    figure = root / "oscillators" / "hig" / "oscillators-hig-4-0" / "figure.png"
    Image.fromarray(np.full((400, 1600, 3), 127, np.uint8)).save(figure)
    return root


@pytest.fixture(scope="module")
def page(results):
    out = results / "report.html"
    assert main(["report", str(results)]) == 0
    return out


def test_the_page_is_self_contained(page):
    text = page.read_text(encoding="utf-8")
    ours = re.sub(r"<script>(?:.|\n)*?</script>", "", text)  # without the text of the library
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#|data:)""", ours)
    assert "url(" not in ours
    assert "default-src 'none'" in ours
    assert text.count("<html") == 1


def test_text_from_records_is_escaped(page):
    text = page.read_text(encoding="utf-8")
    assert "window.stolen" in text
    assert "<script>window.stolen" not in text
    assert "&lt;script&gt;window.stolen" in text
    assert "<b>&amp;" not in text
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert embedded is not None
    assert "<" not in embedded.group(1)
    names = [method["name"] for method in json.loads(embedded.group(1))["methods"]]
    assert any(name.startswith("<script>") for name in names)


def test_every_run_is_in_the_page(page, results):
    text = page.read_text(encoding="utf-8")
    rows = re.findall(r'<tr class="(?:well|ill)">', text)
    assert len(rows) == analysis.load(results)["folder"].nunique()
    assert "no inverse solver" in text
    assert "RESOURCE_EXHAUSTED" in text
    assert "for seed in 0 1 2; do python -m physopt run problem=oscillators rule=adam" in text


def test_a_metric_may_have_the_name_of_a_score_column(tmp_path):
    folder = write_run(tmp_path, "control", "adam", 0, [1.0, 0.5])
    curve = folder / "curve.jsonl"
    named = '{"final_error": 7.0, "metric": 8.0, '
    curve.write_text(curve.read_text().replace("{", named))
    (row,) = run_rows(run_errors(analysis.load(tmp_path)))
    assert row["error"] == "0.5"


def test_pictures_are_small(page):
    (uri,) = re.findall(r'src="data:image/webp;base64,([^"]+)"', page.read_text(encoding="utf-8"))
    assert Image.open(io.BytesIO(base64.b64decode(uri))).size == (760, 190)


def test_a_picture_has_its_method_seed_and_error(tmp_path):
    examples = Path(analysis.__file__).resolve().parent / "example_results" / "designs"
    analysis.write_report(analysis.load(examples), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<b>ldft2d</b> adam, seed 0, area_percent 2.9" in text


def test_five_hundred_runs_stay_under_five_megabytes(tmp_path):
    random = np.random.default_rng(0)
    for case in range(10):
        for method in range(10):
            for seed in range(5):
                errors = np.exp(-np.cumsum(random.random(30))).tolist()
                times = np.cumsum(random.random(30)).tolist()
                write_run(tmp_path, f"case{case}", f"method{method}", seed, errors, times=times)
    size = analysis.write_report(analysis.load(tmp_path), tmp_path / "report.html")
    assert size < 5e6


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        "disable-dev-shm-usage", "window-size=1366,900", f"user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driven = webdriver.Chrome(options=options, service=Service(driver))
    yield driven
    driven.quit()


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


def wait_for(browser, script, seconds=60):
    end = time.monotonic() + seconds
    while not browser.execute_script(script):
        assert time.monotonic() < end, f"timed out: {script}"
        time.sleep(0.05)


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
