"""The pages in a real browser, on a real control plane with a past."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from lockgate.controlplane.api.app import create_app
from lockgate.controlplane.api.routers import (
    audit,
    incidents,
    jobs,
    monitoring,
    promotions,
    registry,
    reports,
    rollouts,
    schedules,
    state,
)
from lockgate.controlplane.web.mount import ANONYMOUS, mount_pages
from lockgate.domain.access.records import RoleName
from lockgate.domain.gates.records import Release
from lockgate.domain.jobs.kinds import FORMS, Offer
from lockgate.domain.registry.records import Version
from lockgate.ports import Why
from lockgate.testing import FakeClock
from lockgate.workflows.handle_schedule import ScheduleWish, add_schedule
from tests.control import Control, control_in, served
from tests.programs.history import History, tell

CHROMIUM = Path("/usr/bin/chromium")
ROUTERS = (
    registry.router,
    reports.router,
    state.router,
    promotions.router,
    rollouts.router,
    incidents.router,
    audit.router,
    monitoring.router,
    jobs.router,
    schedules.router,
)
_QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@dataclass(frozen=True, kw_only=True)
class Site:
    """A platform that people look at."""

    url: str
    history: History
    tokens: dict[str, str]


Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """A control plane over a told history, served on this machine alone."""
    home = tmp_path_factory.mktemp("home")
    history = tell(home, datetime.now(UTC))
    control = control_in(home)
    tokens = {
        "ops": control.token("ops", RoleName.ADMIN),
        "eve": control.token("eve", RoleName.APPROVER),
        "vic": control.token("vic", RoleName.VIEWER),
    }
    long_work(control)
    app = create_app(control.parts, ROUTERS, anonymous_pages=ANONYMOUS)
    mount_pages(app)
    with served(app) as url:
        yield Site(url=url, history=history, tokens=tokens)


def long_work(control: Control) -> None:
    """One job that died, one at work, one that nobody knows, and a schedule."""
    parts = control.parts
    why = Why(actor="ada", reason="old jobs are of no use", at=parts.clock.now())
    with parts.store.begin(why) as tx:
        for kind in ("prune", "verify-ledger", "fly"):
            parts.jobs.enqueue(tx, kind, {})
        tx.record("job.asked", "job/all", after={"jobs": 3})
    dead, running = (parts.jobs.lease("host:1", 3600, Offer(forms=FORMS, queues=("upkeep",))) for _ in range(2))
    assert dead is not None
    assert running is not None
    parts.jobs.lease("host:1", 1, Offer(forms={}, queues=("models",)))
    parts.jobs.write(dead, "looking for old ones\n")
    parts.jobs.fail(dead, "the disk of the database is full", retry=False)
    parts.jobs.extend(running, 3600, progress="entry 4,000 of 9,000")
    add_schedule(parts.store, ScheduleWish(name="nightly-prune", kind="prune", cron="15 3 * * *"), why)
    parts.leadership.beat()


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    assert CHROMIUM.exists(), "these tests need a browser: apt-get install -y --no-install-recommends chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=[*_QUIET, "--disable-sync", "--no-first-run"]
        )
        yield opened
        opened.close()


@pytest.fixture
def visit(site: Site, browser: Browser) -> Generator[Visit]:
    """Opens a page, signed in as somebody; at the end, the browser must have had nothing to complain about."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    context.set_default_timeout(20_000)

    def open_page(path: str, who: str = "ops", wrong: int = 0) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: (
                complaints.append(said.text)
                if said.type == "error" and not (wrong and f"status of {wrong}" in said.text)
                else None
            ),
        )
        page.request.post(f"{site.url}/api/v1/session", data={"token": site.tokens[who]}, headers={"origin": site.url})
        page.goto(site.url + path)
        expect(page.locator("main h1")).to_be_visible(timeout=30_000)
        return page

    yield open_page
    context.close()
    assert complaints == []


def test_whoever_is_not_signed_in_sees_the_sign_in_page_and_nothing_else(site: Site) -> None:
    with httpx.Client(base_url=site.url, timeout=30) as client:
        page = client.get("/endpoints/x.prod?hours=6", headers={"accept": "text/html"})
        assert page.status_code == 303
        assert page.headers["location"] == "/sign-in?next=/endpoints/x.prod%3Fhours%3D6"
        for path in ("/_dash-layout", "/_dash-dependencies", "/assets/lockgate.js", "/_reload-hash", "/"):
            assert client.get(path).status_code == 401, path
        assert client.post("/_dash-update-component", json={}).status_code == 401
        signed_out = client.get("/sign-in")
        assert signed_out.status_code == 200
        assert "script-src 'self';" in signed_out.headers["content-security-policy"]


def test_signing_in_goes_on_to_the_page_that_was_asked_for(site: Site, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"{site.url}/models/thyroid-screening")
    page.get_by_label("Token").fill("lg_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Token").fill(site.tokens["vic"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("main h1")).to_have_text("thyroid-screening", timeout=30_000)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    page.goto(f"{site.url}/")
    expect(page.get_by_label("Token")).to_be_visible()
    page.close()


def test_a_sign_in_link_cannot_lead_to_another_site(site: Site, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"{site.url}/sign-in?next=//example.org/")
    page.get_by_label("Token").fill(site.tokens["vic"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("main h1")).to_have_text("Fleet", timeout=30_000)
    assert page.url == f"{site.url}/"
    page.close()


def test_the_fleet_says_first_who_needs_somebody(visit: Visit) -> None:
    page = visit("/")
    expect(page.get_by_role("status")).to_contain_text("1 endpoint needs somebody now")
    rows = page.locator(".fleet-row")
    expect(rows).to_have_count(3)
    first = rows.nth(0)
    expect(first).to_contain_text("sepsis-alert")
    expect(first).to_contain_text("3 features drifted")
    expect(first).to_contain_text("1 open incident")
    expect(rows.filter(has_text="thyroid-screening")).to_contain_text("v4 50 %, step 3 of 3")
    expect(rows.filter(has_text="readmission-risk")).to_contain_text("approval waiting")


def test_figures_change_in_place_while_one_looks(site: Site, visit: Visit) -> None:
    page = visit("/endpoints/thyroid-screening.prod")
    requests = page.locator(".stat").filter(has_text="Requests").locator(".value")
    before = requests.inner_text()
    expect(page.locator(".columns .recharts-surface").first).to_be_visible()
    page.evaluate("window.kept = [...document.querySelectorAll('h1, .stat .value, .columns .recharts-surface')]")
    history = site.history
    history.model, history.clock = "thyroid-screening", FakeClock(datetime.now(UTC))
    history.traffic(history.get(Version, "thyroid-screening:2"), 1234)
    expect(requests).not_to_have_text(before)
    assert page.evaluate("kept.length > 6 && kept.every(e => e.isConnected)"), "the page was drawn anew"


def test_a_release_shows_its_steps_its_guards_and_who_signed(site: Site, visit: Visit) -> None:
    with site.history.store.reading() as tx:
        release = tx.find(Release, version="thyroid-screening:4", environment="prod")[0]
    page = visit(f"/releases/{release.id}")
    expect(page.locator("main h1")).to_have_text("thyroid-screening v4 in prod")
    expect(page.get_by_role("status")).to_contain_text("The rollout is under way")
    expect(page.locator(".steps li.done")).to_have_count(2)
    expect(page.locator(".steps [aria-current=step]")).to_contain_text("50 % of the traffic")
    for guard in ("errors", "invalid outputs", "latency", "predictions"):
        expect(page.locator("tr").filter(has_text=guard).first).to_contain_text("pass")
    expect(page.locator(".card").filter(has_text="People")).to_contain_text("grace")
    expect(page.locator(".card > header").filter(has_text="Evidence")).to_contain_text("5 of 5 gates pass")
    expect(page.locator(".recharts-line-curve").first).to_be_visible()
    expect(page.get_by_role("button", name="Abort")).to_be_visible()


def test_a_refused_promotion_shows_the_gate_that_refused_it(visit: Visit) -> None:
    page = visit("/models/thyroid-screening")
    row = page.locator("tr").filter(has_text="test: refused")
    expect(row).to_contain_text("v3")
    row.get_by_text("test: refused").click()
    expect(page.get_by_role("status")).to_contain_text("Refused")
    gate = page.locator(".gate").first
    expect(gate).to_contain_text("quality")
    expect(gate).to_contain_text("fail")


def test_an_endpoint_shows_drift_and_a_chosen_feature_beside_its_training(visit: Visit) -> None:
    page = visit("/endpoints/sepsis-alert.prod")
    expect(page.get_by_role("status")).to_contain_text("Something is wrong")
    expect(page.locator(".targets")).to_contain_text("answers 100 %")
    drifted = page.locator(".features tr").filter(has_text="drifted")
    expect(drifted).to_have_count(3)
    page.locator(".heat-row").filter(has_text="tsh").locator(".strip").hover()
    expect(page.locator(".tip")).to_contain_text("UTC:")
    drifted.get_by_role("link", name="tsh", exact=True).click()
    expect(page.get_by_text("tsh: now beside training")).to_be_visible()
    expect(page.locator(".spotlight .recharts-bar-rectangle").first).to_be_visible()
    assert "feature=tsh" in page.url
    expect(page.get_by_text(re.compile("Quality on labels: roc auc"))).to_be_visible()
    page.get_by_role("link", name="6 h").click()
    expect(page.locator(".choice.chosen")).to_have_text("6 h")
    expect(page.get_by_text("tsh: now beside training")).to_be_visible()


def test_an_operator_takes_and_resolves_an_incident_with_reasons(visit: Visit) -> None:
    page = visit("/incidents")
    page.get_by_role("link", name=re.compile("drift on sepsis-alert")).first.click()
    expect(page.get_by_role("status")).to_contain_text("nobody is on it")
    page.get_by_role("button", name="I am on it").click()
    page.get_by_label("What do you do first?").fill("calling the ward")
    page.wait_for_timeout(3_000)  # a look at the page in between must not take the text away
    page.get_by_role("dialog").get_by_role("button", name="I am on it").click()
    expect(page.get_by_role("status").first).to_contain_text("ops is on it")
    expect(page.locator(".timeline")).to_contain_text("calling the ward")
    page.get_by_role("button", name="Resolve").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("a new ward, retraining is asked for")
    page.get_by_role("dialog").get_by_role("button", name="Resolve").click()
    expect(page.locator(".banner")).to_contain_text("Resolved")


def test_an_approver_signs_and_the_release_follows(visit: Visit) -> None:
    page = visit("/models/readmission-risk", "eve")
    page.get_by_role("link", name="Read the evidence").click()
    expect(page.locator(".banner")).to_contain_text("waits for a person to sign")
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("the figures are good")
    page.get_by_role("dialog").get_by_role("button", name="Approve").click()
    expect(page.locator(".banner")).to_contain_text("Released")
    expect(page.locator(".card").filter(has_text="People")).to_contain_text("eve")
    page.get_by_role("link", name="See the rollout").click()
    expect(page.locator(".banner")).to_contain_text("Fully rolled out")


def test_jobs_are_seen_and_a_dead_letter_is_given_another_chance(visit: Visit) -> None:
    page = visit("/jobs")

    def card(title: str) -> Locator:
        return page.locator("section.card", has=page.get_by_role("heading", name=title, exact=True))

    expect(card("At work")).to_contain_text("entry 4,000 of 9,000")
    expect(card("Parked")).to_contain_text("no worker that looked knows jobs of kind 'fly'")
    expect(card("By the calendar").locator("tbody")).to_contain_text("15 3 * * *")
    expect(card("Who does what")).to_contain_text("rollouts")
    dead = card("Dead letters")
    expect(dead).to_contain_text("the disk of the database is full")
    dead.get_by_role("link", name="prune").click()
    expect(page.locator("main")).to_contain_text("looking for old ones")
    page.get_by_role("button", name="Try again").click()
    page.get_by_label("Why?").fill("the disk has room again")
    page.get_by_role("dialog").get_by_role("button", name="Try again").click()
    expect(page.locator(".banner")).to_contain_text("It waits for a worker")
    page.get_by_role("link", name="Jobs", exact=True).first.click()
    expect(card("Waiting")).to_contain_text("prune")
    expect(card("Dead letters")).to_have_count(0)
    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Why?").fill("not this week")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(card("By the calendar")).to_contain_text("paused")


def test_a_viewer_is_offered_nothing_that_a_viewer_may_not_do(visit: Visit) -> None:
    for path in ("/models/thyroid-screening", "/endpoints/thyroid-screening.prod", "/incidents/incident_0001"):
        page = visit(path, "vic")
        expect(page.locator("[data-act]")).to_have_count(0)
        expect(page.get_by_role("link", name="Ledger")).to_have_count(0)
        page.close()


def test_the_ledger_is_read_and_proved(visit: Visit) -> None:
    page = visit("/audit")
    expect(page.locator("tbody tr").first).to_be_visible()
    page.get_by_role("link", name="Verify the ledger").click()
    expect(page.get_by_role("status")).to_contain_text("entries proved")
    page.locator("td").get_by_role("link", name="lockgate", exact=True).first.click()
    expect(page.locator("main")).to_contain_text("actor: lockgate")


def test_a_page_that_is_none_says_so_and_leads_back(visit: Visit) -> None:
    page = visit("/nowhere", wrong=404)
    expect(page.locator("main")).to_contain_text("There is no such page")
    page.get_by_role("link", name="Back to the fleet").click()
    expect(page.locator("main h1")).to_have_text("Fleet")
    missing = visit("/models/none")
    expect(missing.locator("main")).to_contain_text("there is no model 'none'")


def test_routes_of_others_stay_theirs(site: Site) -> None:
    with httpx.Client(base_url=site.url, headers={"authorization": f"Bearer {site.tokens['vic']}"}) as client:
        nothing = client.get("/api/v1/nothing")
        assert nothing.status_code == 404
        assert nothing.json()["code"] == "not_found"
        assert client.put("/api/v1/fleet").status_code == 405
        assert client.post("/models/thyroid-screening").status_code == 404
        policy = client.get("/", headers={"accept": "text/html"}).headers["content-security-policy"]
        assert "unsafe-eval" not in policy
        assert "script-src 'self' 'sha256-" in policy


@pytest.mark.parametrize("width", [390, 820])
def test_nothing_is_cut_off_on_a_small_screen(site: Site, visit: Visit, width: int) -> None:
    for path in ("/", "/endpoints/sepsis-alert.prod?feature=tsh", "/models/thyroid-screening", "/audit", "/jobs"):
        page = visit(path)
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        page.close()
