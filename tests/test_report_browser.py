"""The page in a real browser, offline: no request, no error, every figure there to be seen."""

import os
import shutil
from pathlib import Path

import numpy as np
import peers_sample
import pytest
import report_sample as sample
import test_topology_page as network

from pullback.peers import FedAvg, Stars, partition_report
from pullback.report import write_report
from pullback.report.topology import write_topology

pytestmark = pytest.mark.browser

SHOWN = """() => [...document.querySelectorAll('figure')].map(figure => {
  const image = figure.querySelector('img'), box = figure.querySelector('.paper, .sheet');
  const { width, height } = box.getBoundingClientRect();
  const natural = image ? [image.naturalWidth, image.naturalHeight] : null;
  const alt = image ? image.alt : box.getAttribute('aria-label');
  const tiles = [...figure.querySelectorAll('.sheet i')].map(tile => {
    const { width, height } = tile.getBoundingClientRect();
    return [width, height, getComputedStyle(tile).backgroundImage];
  });
  return { id: figure.id, width, height, natural, alt, tiles };
})"""
DECODES = """async css => {
  const image = new Image();
  image.src = css.slice(5, -2);
  await image.decode();
  return [image.naturalWidth, image.naturalHeight];
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("pages")
    images = sample.images(base / "images", epochs=20, classes=[sample.HOSTILE, *"123456789"])
    plane, diverged = sample.plane(base / "plane", epochs=5), sample.diverged(base / "diverged")
    runs = {"images": [images], "plane": [plane], "comparison": [images, plane, diverged]}
    runs |= {"peers": [peers_sample.many(base / "peers", rounds=100)]}
    found = {name: write_report(folders, base / f"{name}.html") for name, folders in runs.items()}
    labels = np.arange(90) % 10
    dealt = {"classes": None, **partition_report(np.split(np.arange(90), 6), labels)}
    out, row = base / "topology.html", network.row(Stars(), FedAvg())
    return found | {"topology": write_topology(row, out, name="two stars", partition=dealt)}


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # its sandbox refuses root
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


class Visit:
    """Opens a page with the network blocked, and notes each request and complaint."""

    def __init__(self, browser, path: Path, **options):
        self.requests, self.complaints = [], []
        self.context = browser.new_context(**options)
        self.context.route("**/*", self._judge)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.address = path.as_uri()
        self.page.goto(self.address)

    def _judge(self, route):
        if route.request.url == self.address:
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


NAMES = ["images", "plane", "comparison", "peers", "topology"]


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_offline_without_a_complaint_and_shows_every_figure(name, browser, pages):
    with Visit(browser, pages[name]) as visit:
        shown = visit.page.evaluate(SHOWN)
        assert len(shown) >= 6
        for figure in shown:
            assert figure["width"] > 100, figure["id"]
            assert figure["height"] > 50, figure["id"]
            assert len(figure["alt"]) > 20, figure["id"]
            if figure["natural"] is None:
                assert figure["tiles"]
                assert all(wide > 40 and high > 40 for wide, high, _ in figure["tiles"])
                sheet = visit.page.evaluate(DECODES, figure["tiles"][0][2])
                assert sheet == [80, 24]
            else:
                assert min(figure["natural"]) > 100, figure["id"]
        assert visit.page.locator('meta[http-equiv="Content-Security-Policy"]').count() == 1
        assert visit.requests == []
        assert visit.complaints == []


def test_the_policy_stops_what_a_page_must_not_do(browser, pages):
    with Visit(browser, pages["images"]) as visit:
        ran = visit.page.evaluate(
            """() => {
              const script = document.createElement('script');
              script.textContent = 'window.ran = true';
              document.body.append(script);
              return window.ran === true;
            }"""
        )
        assert not ran
        assert "Content Security Policy" in visit.complaints[0]


def test_it_reads_the_same_without_javascript(browser, pages):
    with (
        Visit(browser, pages["images"]) as with_scripts,
        Visit(browser, pages["images"], java_script_enabled=False) as without,
    ):
        assert without.page.inner_text("main") == with_scripts.page.inner_text("main")
        without.page.locator("summary").first.click()
        assert without.page.locator("details[open] table").first.is_visible()


@pytest.mark.parametrize("width", [360, 768, 1440])
@pytest.mark.parametrize("name", NAMES)
def test_no_width_makes_the_page_scroll_sideways(name, width, browser, pages):
    with Visit(browser, pages[name], viewport={"width": width, "height": 800}) as visit:
        visit.page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_dark_where_the_reader_wants_it_dark(browser, pages):
    grounds = []
    for scheme in ("light", "dark"):
        with Visit(browser, pages["images"], color_scheme=scheme) as visit:
            ground = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
            grounds.append(sum(map(int, ground[4:-1].split(","))))
    assert grounds[0] > 700
    assert grounds[1] < 100


def test_the_keyboard_reaches_the_content_the_sections_and_the_tables(browser, pages):
    with Visit(browser, pages["images"]) as visit:
        visit.page.keyboard.press("Tab")
        assert visit.page.evaluate("document.activeElement.className") == "skip"
        reached = set()
        for _ in range(60):
            visit.page.keyboard.press("Tab")
            reached.add(visit.page.evaluate("document.activeElement.tagName"))
        assert {"A", "SUMMARY", "PRE"} <= reached
        summary = visit.page.locator("summary").first
        summary.focus()
        visit.page.keyboard.press("Enter")
        assert visit.page.locator("details[open]").count() == 1
