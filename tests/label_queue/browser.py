"""A real Chromium for the labelling page, and a server of it that can be stopped and started."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import uvicorn
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait
from starlette.types import ASGIApp

from service.launch import free_port

SECONDS = 20.0  # an upper bound that only a broken page reaches
ARGUMENTS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,800"
)


def find_chromium() -> tuple[str, str] | None:
    """Chromium and its driver, where both are on PATH."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


def open_chromium(browser: str, driver: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ARGUMENTS.split():
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


@dataclass
class Server:
    """Serves an application on a port of its own, which stays the same when it is started again."""

    app: ASGIApp
    port: int = field(default_factory=free_port)

    def start(self) -> None:
        config = uvicorn.Config(self.app, host="127.0.0.1", port=self.port, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
            if not self._thread.is_alive():
                raise RuntimeError(f"nothing could listen on port {self.port}")

    def stop(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(SECONDS)


@dataclass(frozen=True)
class LabellingPage:
    """The page in a browser, as an annotator sees and types it."""

    driver: webdriver.Chrome
    url: str

    def open(self) -> None:
        self.driver.get(f"{self.url}/label")
        self.until(lambda: self.showing("start") or self.showing("work") or self.showing("done"))

    def sign_in(self, name: str = "ann") -> None:
        self.open()
        self.sign_in_here(name)

    def sign_in_here(self, name: str) -> None:
        self.element("annotator").send_keys(name)
        self.press(Keys.ENTER)
        self.until(lambda: self.showing("work") or self.showing("done"))

    def press(self, *keys: str) -> None:
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def block(self, *urls: str) -> None:
        """Keep the browser from these URLs, and from no others any more."""
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": list(urls)})

    def element(self, name: str) -> WebElement:
        return self.driver.find_element(By.ID, name)

    def showing(self, name: str) -> bool:
        return self.element(name).is_displayed()

    def text(self, name: str) -> str:
        return self.element(name).text

    def questions(self) -> list[str]:
        return self._of_rows("row.dataset.class")

    def row_texts(self) -> list[str]:
        return self._of_rows("row.innerText")

    def meter_titles(self) -> list[str]:
        return self._of_rows("row.querySelector('.meter')?.title || ''")

    def marked(self) -> list[str]:
        return [name for name in self._of_rows("row.matches('.marked') && row.dataset.class") if name]

    def given(self) -> dict[str, str]:
        """Answers on the screen, by class."""
        said = self._of_rows("row.querySelector('[aria-pressed=true]')?.dataset.answer")
        return {name: answer for name, answer in zip(self.questions(), said, strict=True) if answer}

    def _of_rows(self, expression: str) -> list[str]:
        """One value a question, all at one moment: the page may be drawn anew between two questions to the browser."""
        script = f"return [...document.querySelectorAll('#questions > li')].map((row) => {expression})"
        return list(self.driver.execute_script(script))

    def until(self, reached: Callable[[], bool]) -> None:
        WebDriverWait(self.driver, SECONDS, poll_frequency=0.02).until(lambda _: reached())

    def complaints(self) -> list[str]:
        """What the browser's console holds of errors and breaches of the content security policy."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [str(entry["message"]) for entry in entries]
