"""The node's pages in Debian's Chromium, and accessibility checks of them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.ohif import ONLY_LOOPBACK
from tests.support.required_programs import program

KEPT = Path(__file__).parents[2] / "test-artefacts"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
TABLET, WIDE = {"width": 768, "height": 1024}, {"width": 1440, "height": 900}
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", ONLY_LOOPBACK]
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)

AXE = Path(__file__).parents[2] / ".cache" / "axe" / "4.14.1" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""WCAG 2.2 level AA and axe's best practices."""
ASK_AXE = """
async (rules) => {
  const {violations} = await axe.run({runOnly: rules});
  return violations.flatMap(({id, help, nodes}) =>
    nodes.map((node) => `${id}: ${help}: ${node.html.slice(0, 120)}`));
}
"""
FLAWS = """
() => {
  const flaws = [];
  const all = (what) => [...document.querySelectorAll(what)];
  for (const drawing of all("svg"))
    if (!drawing.getAttribute("aria-label") && drawing.getAttribute("aria-hidden") !== "true")
      flaws.push("a drawing that says nothing and is not hidden");
  for (const table of all("table")) {
    if (!table.caption) flaws.push("a table without a caption");
    for (const head of table.querySelectorAll("th"))
      if (!head.scope) flaws.push(`a heading of a table without scope: ${head.innerText}`);
  }
  const ids = all("[id]").map((one) => one.id);
  for (const id of new Set(ids))
    if (ids.filter((other) => other === id).length > 1) flaws.push(`the id ${id} twice`);
  return flaws;
}
"""
"""Barriers for screen reader users that axe does not check."""

FAINT = """
() => {
  const parse = (text) => {
    const parts = text.match(/[\\d.]+/g).map(Number);
    return [...parts.slice(0, 3), parts[3] ?? 1];
  };
  const over = (top, below) =>
    top.slice(0, 3).map((part, i) => part * top[3] + below[i] * (1 - top[3]));
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const p = part / 255;
      return p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    const layers = [];
    for (let at = one; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    const ground = matchMedia("(prefers-color-scheme: dark)").matches
      ? [18, 18, 18] : [255, 255, 255];
    return layers.reverse().reduce((below, layer) => over(layer, below), ground);
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    const words = walker.currentNode.textContent.trim();
    if (!words || !one.checkVisibility({visibilityProperty: true})) continue;
    if (one.tagName === "OPTION") continue;
    if (one.closest(".hidden-text, script, style, title, .joints")) continue;
    const style = getComputedStyle(one);
    const below = behind(one);
    const ink = over(parse(one.closest("svg") ? style.fill : style.color), below);
    const [bright, dark] = [light(ink), light(below)].sort((a, b) => b - a);
    const ratio = (bright + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)}: ${words.slice(0, 40)}`);
  }
  return faint;
}
"""
"""Text with contrast below WCAG 2.2 AA (1.4.3), including SVG text, which axe does not decide."""

SHOW_PICTURES = """
() => Promise.all([...document.images].map((one) => {
  one.loading = "eager";
  return one.decode().catch(() => null);
}))
"""
"""Loads lazy images, which a screenshot of the whole page needs."""

FOCUSED = """
() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  return {
    what: one.id || one.getAttribute("href") || one.tagName,
    seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
  };
}
"""


class Window:
    """A browser window of its own that records every error in it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self._address = page, address
        self.faults: list[str] = []
        """Errors reported by the console, scripts or the content security policy."""
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._note)

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def open(self, path: str) -> None:
        """Go to a page of the node."""
        self.page.goto(f"{self._address}{path}")

    def sign_in(self, name: str, password: str) -> None:
        """Click like a user."""
        self.open("/login")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name="Sign out").wait_for()

    def unfold(self) -> None:
        """Open every folded part of the page."""
        self.page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")

    def text(self) -> str:
        """All visible text."""
        return self.page.locator("body").inner_text()

    def flaws(self) -> list[str]:
        """Accessibility violations of this page."""
        self.page.evaluate(_axe())
        found_by_axe = self.page.evaluate(ASK_AXE, RULES)
        return [*found_by_axe, *self.page.evaluate(FLAWS), *self.page.evaluate(FAINT)]

    def overflow_px(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(
            self.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
        )

    def focus_next(self) -> dict[str, Any]:
        """Press Tab; returns the focused element and whether its focus is visible."""
        self.page.keyboard.press("Tab")
        return dict(self.page.evaluate(FOCUSED))

    def keep(self, name: str) -> None:
        """Save a screenshot of the whole page for review."""
        KEPT.mkdir(exist_ok=True)
        self.page.evaluate(SHOW_PICTURES)
        self.page.screenshot(path=KEPT / f"page-{name}.png", full_page=True, caret="initial")


@cache
def _axe() -> str:
    """The source of axe (axe-core, MPL-2.0)."""
    if not AXE.exists():
        raise RuntimeError(f"There is no {AXE}. Fetch it with: sh deploy/install-test-viewer.sh")
    return AXE.read_text(encoding="utf-8")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, restricted to loopback."""
    with (
        sync_playwright() as driver,
        driver.chromium.launch(
            executable_path=program("chromium", "chromium"), args=SWITCHES
        ) as browser,
    ):
        yield browser


@contextmanager
def window(
    browser: Browser, address: str, size: dict[str, int] = DESKTOP, scheme: str = "light"
) -> Iterator[Window]:
    """A window without a signed-in user.

    Parameters
    ----------
    scheme
        light or dark, as the person prefers.
    """
    options: dict[str, Any] = {"viewport": size, "color_scheme": scheme}
    if size is PHONE:
        options |= {"has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    context = browser.new_context(**options)
    try:
        yield Window(context.new_page(), address)
    finally:
        context.close()


def invitation_in(said: str) -> str:
    """The link printed at first start."""
    found = re.search(r"https?://\S+/welcome/\S+", said)
    if found is None:
        raise LookupError(f"no link in: {said[-500:]}")
    return found.group()
