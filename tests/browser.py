"""A real browser for tests of pages: headless Chromium, driven by selenium."""

import shutil
import time

import pytest


def open_browser(profile):
    """Return a driver of Chromium with its own profile folder; skip the test without one."""
    chromium, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        "disable-dev-shm-usage", "window-size=1366,900", f"user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


def wait_for(browser, script, seconds=60):
    """Wait until a script returns something true, and return it."""
    end = time.monotonic() + seconds
    while not (result := browser.execute_script(script)):
        assert time.monotonic() < end, f"timed out: {script}"
        time.sleep(0.05)
    return result
