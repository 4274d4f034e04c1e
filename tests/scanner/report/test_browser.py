"""The report in a real browser, opened as a file: it draws, sorts, filters and toggles, and no prompt is run."""

import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from memscan.scanner.cli import invoke
from tests.scanner.report.pages import HOSTILE, SCRIPTS, hostile_results

pytestmark = pytest.mark.browser

PROMPTS = [*HOSTILE[:-1], "evil \\u202egnp.exe\\u2066 \\x1b[2J\\x07", *SCRIPTS]
FLAGGED = 9  # scores fall from 0.9 by 0.05, and the threshold is 0.5


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of hostile prompts, as the address of a file."""
    folder = hostile_results(tmp_path_factory.mktemp("page") / "out")
    assert invoke(["report", str(folder)]) == 0
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """The distribution's Chromium by its own driver, so that nothing is downloaded."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1600"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(shutil.which("chromedriver"))))
    yield driver
    driver.quit()


@pytest.fixture
def browser(started: webdriver.Chrome, page: str) -> webdriver.Chrome:
    """The browser with the page anew."""
    started.get(page)
    return started


def prompts(browser: webdriver.Chrome) -> list[str]:
    """Those that are displayed, in the order in which they are."""
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('.card')].filter(card => card.offsetParent)"
        ".map(card => card.querySelector('.prompt').textContent)"
    )
    return found


def choose(browser: webdriver.Chrome, name: str, value: str) -> None:
    Select(browser.find_element(By.ID, name)).select_by_value(value)


def layers(browser: webdriver.Chrome, name: str) -> list[WebElement]:
    return [
        one for one in browser.find_elements(By.CSS_SELECTOR, f'.gallery [data-layer="{name}"]') if one.is_displayed()
    ]


def test_no_prompt_is_run_and_the_console_is_silent(browser: webdriver.Chrome) -> None:
    assert browser.execute_script("return window.pwned === undefined")
    assert prompts(browser) == PROMPTS
    assert browser.get_log("browser") == []


def test_what_is_smuggled_in_later_is_not_run_either(browser: webdriver.Chrome) -> None:
    """The policy holds: a script or a handler that is not the page's own does nothing, and no address is asked."""
    browser.execute_script(
        "const one = document.createElement('div'); one.innerHTML = '<img src=x onerror=\"window.pwned = 6\">';"
        "document.body.append(one); const two = document.createElement('script'); two.text = 'window.pwned = 7';"
        "document.body.append(two)"
    )
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 0))")
    assert browser.execute_script("return window.pwned === undefined")
    assert any("Content Security Policy" in line["message"] for line in browser.get_log("browser"))


def test_pictures_are_drawn(browser: webdriver.Chrome) -> None:
    drawn = "return [...document.querySelectorAll('.base')].every(i => i.complete && i.naturalWidth === 64)"
    assert browser.execute_script(drawn)
    assert len(layers(browser, "mask")) == len(PROMPTS)


def test_sorting(browser: webdriver.Chrome) -> None:
    choose(browser, "direction", "1")
    assert prompts(browser) == PROMPTS[::-1]
    choose(browser, "order", "row")
    assert prompts(browser) == PROMPTS
    choose(browser, "order", "<b>tag")
    assert sorted(prompts(browser)) == sorted(PROMPTS)


def test_filters(browser: webdriver.Chrome) -> None:
    browser.find_element(By.ID, "search").send_keys("狐 肖像")
    assert prompts(browser) == ["狐の肖像画"]
    assert browser.find_element(By.ID, "count").text == f"1 of {len(PROMPTS)} shown"
    browser.find_element(By.ID, "search").clear()
    browser.find_element(By.ID, "search").send_keys("nothing like this")
    assert prompts(browser) == []
    assert browser.find_element(By.ID, "none").is_displayed()
    browser.find_element(By.ID, "search").send_keys(Keys.CONTROL, "a")
    browser.find_element(By.ID, "search").send_keys(Keys.DELETE)
    choose(browser, "which", "flagged")
    assert prompts(browser) == PROMPTS[:FLAGGED]


def test_layers_are_toggled_by_button_and_by_key(browser: webdriver.Chrome) -> None:
    button = browser.find_element(By.CSS_SELECTOR, '[data-toggle="dh_uncond"]')
    assert not layers(browser, "dh_uncond")
    button.click()
    assert len(layers(browser, "dh_uncond")) == len(PROMPTS)
    browser.find_element(By.TAG_NAME, "body").send_keys("2")
    assert not layers(browser, "dh_uncond")
    browser.find_element(By.TAG_NAME, "body").send_keys("1")
    assert not layers(browser, "mask")


def test_keyboard_alone_goes_from_search_to_full_size_and_back(browser: webdriver.Chrome) -> None:
    browser.find_element(By.TAG_NAME, "body").send_keys("/")
    assert browser.switch_to.active_element.get_attribute("id") == "search"
    first = browser.find_element(By.CSS_SELECTOR, ".card .open")
    browser.execute_script("arguments[0].focus()", first)
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    dialog = browser.find_element(By.ID, "large")
    assert dialog.is_displayed()
    assert dialog.find_element(By.CSS_SELECTOR, ".prompt").get_attribute("textContent") == PROMPTS[1]
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert dialog.find_element(By.CSS_SELECTOR, ".prompt").get_attribute("textContent") == PROMPTS[2]
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    third = browser.find_elements(By.CSS_SELECTOR, ".card .open")[2]
    assert browser.switch_to.active_element == third
