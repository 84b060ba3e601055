"""What a person does with the pages. Runs in an environment of its own, which has Playwright and nothing of ours."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, Playwright, expect, sync_playwright

DESK, PHONE = {"width": 1280, "height": 860}, {"width": 360, "height": 740}


class Visit:
    """One visitor: a browser with a profile of its own, whatever its console and its requests say."""

    def __init__(self, given: dict[str, Any], context: BrowserContext) -> None:
        self.given = given
        self.base: str = given["base"]
        self.complaints: list[str] = []
        self.checked: set[str] = set()
        self.page: Page = context.new_page()
        self.page.on("console", lambda said: self._on_console(said.type, said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"{self.page.url}: {error}"))
        context.on("request", lambda request: self._on_request(request.url))

    def _on_console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{self.page.url}: {text}")

    def _on_request(self, url: str) -> None:
        if not url.startswith((f"{self.base}/", "data:", "blob:")):
            self.complaints.append(f"{self.page.url}: asked another host: {url}")

    def go(self, path: str) -> None:
        answer = self.page.goto(self.base + path)
        assert answer is not None
        assert answer.status == 200, f"{path}: {answer.status}"

    def log_in(self) -> None:
        self.go("/")
        self.page.fill("#token", self.given["token"])
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page).to_have_url(f"{self.base}/")

    def photograph(self, name: str) -> None:
        # To hide the caret it would put styles on inputs, which htmx would copy and the pages forbid.
        self.page.screenshot(path=str(Path(self.given["folder"]) / f"{name}.png"), caret="initial")

    def check_access(self, what: str) -> None:
        """axe-core finds nothing serious here."""
        self.page.evaluate(Path(self.given["axe"]).read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        bad = [one for one in found if one["impact"] in ("serious", "critical")]
        told = [
            f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary'][:300]}" for one in bad
        ]
        assert not bad, f"{what}: {told}"
        self.checked.add(what)


@contextmanager
def visiting(playwright: Playwright, given: dict[str, Any], **ways: Any) -> Iterator[Visit]:
    """A fresh profile; nothing may have been complained of at its end."""
    with tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=given["chromium"], args=given["flags"], **{"viewport": DESK, **ways}
        )
        context.set_default_timeout(20_000)
        visit = Visit(given, context)
        try:
            visit.log_in()
            yield visit
            assert not visit.complaints, visit.complaints
        finally:
            context.close()


def drill(visit: Visit) -> dict[str, str]:
    """From the board over a flow with failures and a failed run to what the other side answered; the paths of it."""
    page, paths = visit.page, {"board": "/"}
    visit.check_access("board")
    visit.photograph("board")
    page.locator("tbody tr", has=page.locator("small.bad")).first.locator("th a").click()
    expect(page.locator(".picture canvas")).to_be_visible()
    expect(page.locator(".u-legend")).to_contain_text("Failed")
    visit.check_access("flow")
    visit.photograph("flow")
    paths["flow"] = path_of(page)
    page.select_option("#f-status", "failed")
    page.wait_for_url(re.compile("status=failed"))
    expect(page.locator(".picture canvas")).to_be_visible()
    results = page.locator("#runs-list tbody .state")
    assert set(results.all_inner_texts()) == {"Failed"}, results.all_inner_texts()
    page.locator("#runs-list tbody tr", has=page.locator("td strong.bad")).first.locator("th a").click()
    expect(page.locator(".gantt").first).to_be_visible()
    assert set(page.locator("#lines tbody .state").all_inner_texts()) == {"Failed"}
    visit.check_access("run")
    visit.photograph("run")
    paths["run"] = path_of(page)
    page.fill("#f-q", "no such words")
    page.locator("#lines form button").click()
    expect(page.locator("#lines-list")).to_contain_text("No line matches")
    page.go_back()
    page.locator("#lines-list tbody tr", has=page.get_by_role("link", name="Stored")).first.locator("th a").click()
    body = page.locator("pre[aria-label='Response body']")
    expect(body).to_be_visible()
    assert len(body.inner_text()) > 10
    visit.check_access("line")
    visit.photograph("line")
    paths["line"] = path_of(page)
    return paths


def search(visit: Visit) -> dict[str, str]:
    """The SKU of that line, its history, a run id; the errors and the archive's own page."""
    page, paths = visit.page, {}
    sku = (
        page.locator(".pairs tr", has=page.get_by_role("rowheader", name="sku", exact=True)).locator("td").inner_text()
    )
    sku = sku.split()[0]
    page.fill(".seek input", f"sku={sku}")
    page.press(".seek input", "Enter")
    expect(page.get_by_role("heading", name="Search")).to_be_visible()
    assert page.locator("tbody tr").count() > 1
    assert all(sku in text for text in page.locator("td.fields").all_inner_texts())
    visit.check_access("search")
    paths["search"] = path_of(page)
    page.get_by_role("link", name="Its history over all flows").click()
    expect(page.get_by_role("heading", name="How it stands")).to_be_visible()
    visit.check_access("history")
    visit.photograph("history")
    paths["history"] = path_of(page)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Errors").click()
    visit.check_access("errors")
    visit.photograph("errors")
    paths["errors"] = path_of(page)
    page.locator("td.wide a").first.click()
    expect(page.locator(".picture canvas")).to_be_visible()
    visit.check_access("error")
    paths["error"] = path_of(page)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Archive").click()
    expect(page.locator(".cover").first).to_be_visible()
    visit.check_access("archive")
    visit.photograph("archive")
    paths["archive"] = path_of(page)
    return paths


def dark(visit: Visit, paths: dict[str, str]) -> None:
    """The switch, which holds; and every page can be read in it."""
    page = visit.page
    visit.go("/")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    for name, path in paths.items():
        visit.go(path)
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        visit.check_access(f"{name}, dark")
        visit.photograph(f"{name}-dark")
    page.get_by_role("button", name="Light").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light


def phone(visit: Visit, paths: dict[str, str]) -> None:
    """No page is wider than a phone."""
    for name, path in paths.items():
        visit.go(path)
        wide = visit.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= PHONE["width"], f"{name} is {wide} pixels wide"
        visit.check_access(f"{name}, phone")
        visit.photograph(f"{name}-phone")
    check_cards(visit, paths)


def check_cards(visit: Visit, paths: dict[str, str]) -> None:
    """No label stands alone; what went wrong with a step stands in the step's card, as wide as that."""
    visit.go(paths["flow"].partition("?")[0])
    for cell in visit.page.locator("td[data-label]:empty").all():
        expect(cell).to_be_hidden()
    visit.go("/search?q=status%3Dfailed")
    for run in visit.page.locator("td[data-label='Run'] a").evaluate_all("all => all.map(one => one.pathname)"):
        visit.go(run)
        if visit.page.locator("tr.under").count():
            break
    under = visit.page.locator("tr.under").first
    row = under.bounding_box()
    said = under.locator("td").bounding_box()
    card = under.locator("xpath=preceding-sibling::tr[1]").bounding_box()
    assert row is not None
    assert said is not None
    assert card is not None
    assert said["width"] > 0.8 * card["width"]
    assert abs(card["y"] + card["height"] - row["y"]) < 1, "a card of its own"


def keyboard(visit: Visit) -> None:
    """The first stop leads past the bar; times are in the reader's zone, and in UTC on hover."""
    page = visit.page
    visit.go("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#content"
    visit.go(path_of(page).partition("#")[0] + "archive")
    time = page.locator("#passes th time").first
    utc = (time.get_attribute("datetime") or "").replace("T", " ").replace("Z", "")
    assert time.get_attribute("title") == f"{utc} UTC"
    assert time.inner_text() != utc
    assert "Asia/Tokyo" in page.locator("footer").inner_text()


def zones(visit: Visit, paths: dict[str, str]) -> None:
    """What is copied off a page finds its line: moments that are written are the reader's, in links they are exact."""
    page = visit.page
    visit.go(paths["line"])
    line = page.get_by_role("heading", level=1).inner_text().split()[-1]
    began = page.locator(".facts-list div", has=page.get_by_text("Began", exact=True)).locator("time")
    shown, moment = began.inner_text(), began.get_attribute("datetime") or ""
    visit.go(paths["search"])
    page.fill("#f-since", shown)
    page.fill("#f-until", f"{shown[:-8]}23:59:59")
    page.locator("form.filters button").click()
    page.wait_for_url(re.compile("until=.*%2B09%3A00"))
    assert page.locator(f"tbody th a[href$='/line/{line}']").count() == 1
    assert [page.input_value(name) for name in ("#f-since", "#f-until")] == [shown, f"{shown[:-8]}23:59:59"]
    visit.go(f"/search?q=status%3Dfailed&since={moment}&until={moment[:10]}")
    assert page.input_value("#f-since") == shown
    assert sent(page, "2026-02-30")["since"] == "2026-02-30", "no date: as it is"
    assert sent(page, "Yesterday")["since"].endswith("T00:00:00+09:00")
    assert sent(page, "20261126")["since"] == "2026-11-26T00:00:00+09:00"
    assert sent(page, "constructor")["since"] == "constructor"
    visit.go("/errors?since=30d")
    page.fill("#f-since", "2026-02-30")
    page.locator("form.filters button").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.fill("#f-since", "7d")
    page.locator("form.filters button").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    page.go_back()
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.input_value("#f-since") == "2026-02-30"
    refused = [one for one in visit.complaints if "status of 400" in one]
    assert refused, "which the browser says of it"
    visit.complaints = [one for one in visit.complaints if one not in refused]


def odd_days(visit: Visit) -> None:
    """The clocks go forward at midnight of 2026-09-06, and the hour before that of 2026-04-05 comes twice."""
    page = visit.page
    visit.go("/search?q=x&since=2026-04-04T23:30:00-04:00")
    assert page.input_value("#f-since") == "2026-04-04 23:30:00"
    assert datetime.fromisoformat(sent(page)["since"]) == datetime(2026, 4, 5, 3, 30, tzinfo=UTC)
    assert sent(page, "2026-09-06", "2026-09-06") == {
        "since": "2026-09-06T01:00:00-03:00",
        "until": "2026-09-07T00:00:00-03:00",
    }


def sent(page: Page, since: str | None = None, until: str | None = None) -> dict[str, str]:
    """What the form sends for the moments written into it."""
    for name, text in (("#f-since", since), ("#f-until", until)):
        if text is not None:
            page.fill(name, text)
    found: list[list[str]] = page.evaluate("[...new FormData(document.querySelector('form.filters'))]")
    return {name: value for name, value in found if name in ("since", "until") and value}


def scriptless(visit: Visit, paths: dict[str, str]) -> None:
    """Filters, paging and the tree work all the same; times are in UTC."""
    page = visit.page
    visit.go(paths["flow"])
    page.select_option("#f-status", "failed")
    page.get_by_role("button", name="Show").click()
    assert "status=failed" in page.url
    assert set(page.locator("#runs-list tbody .state").all_inner_texts()) == {"Failed"}
    visit.go(paths["line"])
    expect(page.locator(".tree details").first).to_be_visible()
    assert "UTC" in page.locator("footer").inner_text()
    visit.go("/search")
    expect(page.get_by_label("Since (UTC)")).to_be_visible()


def pictures(visit: Visit, paths: dict[str, str]) -> None:
    """No label of the time axis stands in another, however much of the time is shown."""
    flow = paths["flow"].partition("?")[0]
    written = """() => new Promise((done) => {
      const found = [], draw = CanvasRenderingContext2D.prototype.fillText;
      CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
        if (/^\\d{4}-/.test(text)) found.push([x, y, this.measureText(text).width]);
        return draw.apply(this, arguments);
      };
      document.dispatchEvent(new Event("archiver:theme"));
      setTimeout(() => { CanvasRenderingContext2D.prototype.fillText = draw; done(found); }, 300);
    })"""
    for days in range(1, 8):
        for hours in range(0, 24, 4):
            visit.go(f"{flow}?since={days * 24 - hours}h")
            labels = sorted(visit.page.evaluate(written))
            assert labels, f"{days} days"
            for (left, _, width), (right, _, other) in pairwise(labels):
                assert right - left > (width + other) / 2, f"{days} days, {hours} hours: {labels}"


def path_of(page: Page) -> str:
    return re.sub(r"^https?://[^/]+", "", page.url)


def main(given: dict[str, Any]) -> str:
    with sync_playwright() as playwright:
        with visiting(playwright, given) as visit:
            paths = drill(visit)
            paths |= search(visit)
            dark(visit, paths)
            checked = len(visit.checked)
        with visiting(
            playwright, given, viewport=PHONE, device_scale_factor=2, is_mobile=True, has_touch=True
        ) as visit:
            phone(visit, paths)
            checked += len(visit.checked)
        with visiting(playwright, given, timezone_id="Asia/Tokyo") as visit:
            keyboard(visit)
            zones(visit, paths)
        with visiting(playwright, given, timezone_id="America/Santiago") as visit:
            odd_days(visit)
        with visiting(playwright, given, java_script_enabled=False) as visit:
            scriptless(visit, paths)
        with visiting(playwright, given) as visit:
            pictures(visit, paths)
    return f"{len(paths)} pages, {checked} of them looked at by axe-core; screenshots in {given['folder']}"


if __name__ == "__main__":
    print(main(json.load(sys.stdin)))
