"""The report in a browser, on a desktop and a phone: what is pressed opens, what is pointed at shows, nothing fails."""

import pytest
from awkward import NAMES, outcome

from hybrid.report.facts import facts
from hybrid.report.page import write_page

pytest.importorskip("jinja2")
pytest.importorskip("plotly")
sizes = pytest.mark.parametrize("size", ["desktop", "phone"])


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return facts(outcome(tmp_path_factory.mktemp("awkward")))


@pytest.fixture(scope="module")
def address(told, tmp_path_factory):
    return write_page(told, tmp_path_factory.mktemp("page") / "report.html", "<u>model</u>").as_uri()


def ready(page):
    page.wait_for_selector("html[data-drawn]", timeout=60_000)
    return page


@sizes
def test_a_cell_of_the_matrix_opens_its_pictures(visit, address, size):
    with visit(address, size) as page:
        button = page.locator("button.wrong").first
        count = int(button.inner_text())
        button.click()
        panel = page.locator("#cell")
        assert panel.locator("figure").count() == count
        assert panel.locator("img").first.evaluate("image => image.complete && image.naturalWidth") == 96
        assert (
            panel.locator(".heat").first.evaluate("image => image.decode().then(() => image.naturalWidth)")
            == 160
        )
        assert button.get_attribute("aria-expanded") == "true"
        page.keyboard.press("Escape")
        assert not panel.is_visible()
        assert button.evaluate("one => one === document.activeElement")


def test_all_of_the_worst_errors_have_a_heat_map(visit, address):
    with visit(address) as page:
        errors = page.locator(".errors > li")
        assert errors.count() > 8
        assert page.locator(".errors .heat").count() == errors.count()
        alts = page.locator(".errors .heat").evaluate_all("all => all.map(one => one.alt)")
        assert all(one.startswith("What speaks for ") for one in alts)


def test_the_matrix_works_by_keyboard_alone(visit, address):
    with visit(address) as page:
        page.locator("button[data-true]").first.focus()
        page.keyboard.press("Enter")
        assert page.locator("#cell").is_visible()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert not page.locator("#cell").is_visible()


@sizes
def test_the_filter_leaves_the_images_that_were_asked_for(visit, address, told, size):
    with visit(address, size) as page:
        ready(page)
        drawn = "document.querySelector('#chart-map').data[0].x.length"
        assert page.evaluate(drawn) == len(told["truth"])
        page.select_option("select[name=class]", "1")
        assert page.evaluate(drawn) == (told["truth"] == 1).sum()
        page.check("input[name=errors]")
        wrong = (told["truth"] == 1) & (told["predicted"] != 1)
        assert page.evaluate(drawn) == wrong.sum()
        assert (
            page.locator("output[name=count]").inner_text() == f"{wrong.sum()} of {len(told['truth'])} images"
        )
        page.locator("#listed summary").click()
        assert page.locator("#listed figure").count() == wrong.sum()


@sizes
def test_a_point_of_the_map_shows_its_picture_and_path(visit, address, told, size):
    with visit(address, size) as page:
        ready(page)
        page.select_option("select[name=class]", "2")
        point = page.locator("#chart-map .scatterlayer .trace").first.locator("path.point").first
        point.scroll_into_view_if_needed()
        box = point.bounding_box()
        at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(at[0] - 3, at[1] - 3)
        page.mouse.move(*at)
        page.wait_for_selector("#hovered img")
        assert sorted(NAMES.values())[2] in page.locator("#hovered").inner_text()
        assert page.locator("#hovered .path").inner_text().endswith(".png")


@sizes
def test_the_page_is_no_wider_than_its_window_and_all_charts_are_drawn(visit, address, size):
    with visit(address, size, "dark") as page:
        ready(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
        for chart in page.locator(".chart").all():
            assert chart.locator("svg").count()


def test_names_made_of_markup_run_nothing(visit, address):
    with visit(address) as page:
        ready(page)
        for button in page.locator("button[data-true]").all():
            button.click()
        assert page.locator("#main u, #main i").count() == 0
        assert "49" not in page.locator("h2, h3").all_inner_texts()
        text = page.locator("body").inner_text()
        assert all(name in text for name in NAMES.values())


def test_the_sections_are_reached_from_the_top(visit, address):
    with visit(address) as page:
        ready(page)
        for link in page.locator("nav a").all():
            link.click()
            assert page.evaluate("document.querySelector(location.hash).getBoundingClientRect().top") < 850


@pytest.mark.parametrize("scheme", ["light", "dark"])
@sizes
def test_axe_finds_no_serious_fault(visit, faults, address, size, scheme):
    with visit(address, size, scheme) as page:
        ready(page)
        page.locator("button[data-true]").first.click()
        page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
        assert faults(page) == []


def test_it_prints(visit, address):
    with visit(address, scheme="dark") as page:
        ready(page)
        assert page.pdf()[:5] == b"%PDF-"
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()
