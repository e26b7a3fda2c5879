"""The quality report in a browser: it sorts, filters and zooms, by keyboard too, and asks nobody for anything."""

from dataclasses import replace

import pytest

from isles_assets.products.dataset import Dataset
from isles_assets.publication.evidence import Evidence
from isles_assets.release.isles24 import subject_id
from isles_assets.report.collecting import collect
from isles_assets.report.rendering import render_page
from isles_assets.report.report import Status
from isles_assets_tests.browser import WHY_NOT, browsing
from isles_assets_tests.isles24 import SMALL
from isles_assets_tests.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

EVIL = "</script><script>window.evil = 1</script><img src=x onerror='window.evil = 1'>"
BAD = subject_id(145)
SHOWN = "[...document.querySelectorAll('.card:not([hidden])')].map((card) => card.id)"


@pytest.fixture(scope="module")
def report(small_built: Project):
    """The report on six subjects; one of them has a finding that stops publication and whose text is HTML."""
    evidence = Evidence(small_built.setup.tree, small_built.folder)
    collected = collect(Dataset.of(SMALL), evidence, SMALL.repo)
    finding = next(finding for subject in collected.subjects for finding in subject.findings)
    findings = [replace(finding, level="waivable", problem=EVIL)]
    subjects = [
        replace(s, findings=findings, status=Status.STOPS) if s.subject == BAD else s for s in collected.subjects
    ]
    return replace(collected, subjects=sorted(subjects, key=lambda each: each.subject != BAD))


@pytest.fixture(scope="module")
def window():
    with browsing() as browser:
        yield browser


@pytest.fixture
def browser(window, report, tmp_path):
    """A window with the page, just opened."""
    path = tmp_path / "index.html"
    path.write_text(render_page(report), encoding="utf-8")
    window.open("about:blank")
    window.requested(), window.complaints()
    window.open(path.as_uri())
    return window


def test_the_page_opens_without_a_fault_and_nothing_else_is_asked_for(browser, tmp_path):
    assert browser.requested() == [(tmp_path / "index.html").as_uri()]
    assert browser.complaints() == []
    assert browser.run("return window.evil") is None
    assert browser.run("return [...document.images].every((image) => image.naturalWidth > 100)")
    browser.run("fetch('http://127.0.0.1:9/').catch(() => { window.refused = true; })")
    browser.eventually("window.refused")
    assert any("Content Security Policy" in said for said in browser.complaints())


def choose(browser, control: str, value: str) -> None:
    """Set a control as a person does."""
    browser.run(
        "const control = document.getElementById(arguments[0]); control.value = arguments[1];"
        "for (const kind of ['input', 'change']) control.dispatchEvent(new Event(kind, {bubbles: true}));",
        control,
        value,
    )


def test_subjects_are_sorted_by_what_is_chosen_and_unknown_values_stand_last(browser, report):
    choose(browser, "sort", "id")
    assert browser.run(f"return {SHOWN}") == sorted(SMALL.subjects)
    browser.click("#direction")
    assert browser.run(f"return {SHOWN}") == sorted(SMALL.subjects, reverse=True)
    browser.click("#direction")
    for measure in report.measures:
        choose(browser, "sort", measure.key)
        values = {each.subject: each.values[measure.key] for each in report.subjects}
        expected = sorted(values, key=lambda s: (values[s] is None, values[s] or 0, s))
        assert browser.run(f"return {SHOWN}") == expected, measure


def test_subjects_are_filtered_by_status_group_words_and_range(browser, report):
    choose(browser, "show", "stops")
    assert browser.run(f"return {SHOWN}") == [BAD]
    assert browser.run("return document.getElementById('count').value") == f"1 of {len(SMALL.subjects)} subjects"
    choose(browser, "show", "")
    choose(browser, "find", "window.evil")
    assert browser.run(f"return {SHOWN}") == [BAD]
    choose(browser, "find", "no such words")
    assert browser.run(f"return {SHOWN}") == []
    assert browser.run("return document.getElementById('none').hidden") is False
    browser.click("button[type=reset]")
    browser.eventually(f"{SHOWN}.length === {len(SMALL.subjects)}")
    group = report.subjects[0].group
    choose(browser, "group", group)
    assert set(browser.run(f"return {SHOWN}")) == {s.subject for s in report.subjects if s.group == group}
    browser.click("button[type=reset]")
    ages = {each.subject: each.values["age"] for each in report.subjects}
    middle = sorted(ages.values())[len(ages) // 2]
    choose(browser, "sort", "age")
    choose(browser, "from", str(middle))
    assert set(browser.run(f"return {SHOWN}")) == {subject for subject, age in ages.items() if age >= middle}


def test_a_bar_of_a_histogram_shows_its_subjects(browser, report):
    (distribution,) = (each for each in report.distributions if each.measure.key == "age")
    first = distribution.bins[0]
    browser.click(".bin[data-key=age]")
    expected = {each.subject for each in report.subjects if first.least <= each.values["age"] <= first.greatest}
    browser.eventually(f"{SHOWN}.length === {len(expected)}")
    assert set(browser.run(f"return {SHOWN}")) == expected and len(expected) == first.count


def focused(browser):
    """The id of the part of the page that has the focus."""
    return browser.run("return document.activeElement.closest('.card, #zoom, #controls')?.id")


def title(browser):
    """The subject that is zoomed; empty for none."""
    return browser.run("return document.querySelector('#zoom[open] h2')?.textContent ?? ''")


def test_a_subject_is_zoomed_and_the_next_one_reached_by_keyboard_alone(browser):
    first, second = browser.run(f"return {SHOWN}")[:2]
    assert first == BAD
    browser.press("/")
    assert focused(browser) == "controls"
    while focused(browser) != first:
        browser.press("Tab")
    browser.press("Right")
    assert focused(browser) == second
    browser.press("Left", "Enter")
    assert title(browser) == first
    assert EVIL in browser.run("return document.getElementById('side').textContent")
    width = "document.querySelector('#picture img').clientWidth"
    fitted = browser.run(f"return {width}")
    browser.press("+", "+")
    assert browser.run(f"return {width}") > fitted * 1.5
    browser.press("0")
    assert browser.run(f"return {width}") == fitted
    browser.press("Right")
    assert title(browser) == second
    assert browser.run("return document.querySelector('#picture img').alt").endswith(second)
    browser.press("Left", "Left")
    assert title(browser) == first, "there is none before the first"
    browser.press("Right", "Escape")
    assert title(browser) == "" and focused(browser) == second
    assert browser.complaints() == []


def test_only_the_subjects_that_are_shown_are_gone_through_in_the_zoom(browser):
    choose(browser, "show", "stops")
    browser.click(".card:not([hidden]) .open")
    assert browser.run("return document.getElementById('position').textContent") == "1 of 1"
    assert browser.run("return document.getElementById('next').disabled")
    browser.click("#close")
    assert title(browser) == ""


@pytest.mark.parametrize("width", [860, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_light_and_dark_and_needs_no_scrolling_aside(browser, scheme, width):
    browser.prefer(scheme)
    browser.resize(width, 900)
    assert browser.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    ink, paper = browser.run(
        "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor].map("
        "(colour) => colour.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0))"
    )
    assert (ink < paper) is (scheme == "light") and abs(ink - paper) > 450
