"""The page of `hybrid serve` in a browser, on a desktop and a phone: an image goes in, what it shows comes out."""

import io

import pytest
from awkward import CONFIG, NAMES, awkward
from PIL import Image
from serving import serving

from hybrid import build_pipeline, load_sample, save
from hybrid.experiment.train import train

pytest.importorskip("fastapi")
sizes = pytest.mark.parametrize("size", ["desktop", "phone"])
AWKWARD = """<img src=x onerror=alert(3)> & 'it' 🐈.png"""
LARGE = "x".join(["a long name"] * 20)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A bundle whose classes and files are called what a page must not take for markup, served."""
    folder = tmp_path_factory.mktemp("page")
    outcome = train(awkward(folder), CONFIG)
    bundle = save(outcome.model, folder / "<i>model.hybrid", scores=outcome.scores, extras=outcome.extras())
    with serving(bundle) as server:
        yield server


@pytest.fixture(scope="module")
def picture():
    sample = load_sample(1, seed=3)
    out = io.BytesIO()
    Image.fromarray(sample[sample["label"] == "star"]["image"].iloc[0]).save(out, "PNG")
    return out.getvalue()


def upload(page, *files):
    payload = [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files]
    page.set_input_files("#files", payload)
    # Not wait_for_function, which evaluates text: the page allows none.
    page.locator(f"body:has(.card:nth-child({len(files)})) #status:empty").wait_for(state="attached")
    return page.locator(".card")


@sizes
def test_the_page_predicts_what_is_uploaded(visit, server, picture, size):
    with visit(server.address, size) as page:
        assert page.locator(".camera").is_visible() == (size == "phone")
        cards = upload(page, (AWKWARD, picture), (f"{LARGE}.png", picture))
        assert cards.count() == 2
        assert cards.nth(0).locator(".verdict").inner_text() == NAMES["star"]
        assert cards.nth(0).locator(".file").inner_text() == AWKWARD
        assert cards.nth(0).locator(".bar").count() == len(NAMES)
        assert NAMES["star"] in cards.nth(0).locator(".chips").inner_text()
        assert cards.nth(0).locator(".neighbours li").count() == 5
        assert cards.nth(0).locator(".photo").evaluate("image => image.complete && image.naturalWidth") > 0
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_names_made_of_markup_are_text(visit, server, picture):
    with visit(server.address) as page:
        upload(page, (AWKWARD, picture))
        assert page.locator("h1").inner_text() == "<i>model.hybrid"
        assert page.locator("main b, dt *, li i:not(.bar i), main script, header i").count() == 0
        page.locator(".why:visible").wait_for()
        assert page.locator(".card img").count() == 2
        assert NAMES["star"] in page.locator(".why img").get_attribute("alt")
        assert NAMES["star"] in page.locator(".why figcaption").inner_text()
        assert all(name in page.locator("body").inner_text() for name in NAMES.values())


@sizes
def test_a_heat_map_says_why_and_is_turned_off_by_keyboard(visit, server, picture, size):
    with visit(server.address, size) as page:
        card = upload(page, ("one.png", picture)).first
        card.locator(".why:visible").wait_for()
        heat, photo = card.locator(".why img"), card.locator(".photo")
        assert heat.evaluate("image => image.decode().then(() => image.naturalWidth)") == 448
        assert photo.is_visible() == (size == "desktop")
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
        switch = card.get_by_role("checkbox", name="Heat map of why")
        switch.focus()
        page.keyboard.press("Space")
        assert photo.is_visible()
        assert not heat.is_visible()
        upload(page, ("one.png", picture), ("two.png", picture))
        page.locator(".card:first-child .switch:visible").wait_for()
        assert not page.locator(".why:visible").count()


def test_a_model_without_heat_maps_says_so(visit, tmp_path, picture):
    sample = load_sample(4)
    model = build_pipeline(backbone="tiny", pooling="max").fit(sample["image"], sample["label"])
    with serving(save(model, tmp_path / "max.hybrid")) as server, visit(server.address) as page:
        assert upload(page, ("one.png", picture)).locator(".verdict").inner_text() in set(sample["label"])
        assert "no heat maps" in page.locator("#limits").inner_text()
        assert not page.locator(".switch:visible").count()


def test_an_image_may_be_pasted_or_dropped(visit, server, picture):
    script = """([kind, target, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "one.png", {type: "image/png"}));
        const options = {bubbles: true, cancelable: true};
        const event = kind === "paste" ? new ClipboardEvent(kind, {...options, clipboardData: data})
                                       : new DragEvent(kind, {...options, dataTransfer: data});
        document.querySelector(target).dispatchEvent(event);
    }"""
    with visit(server.address) as page:
        page.locator("#about:not(:empty)").wait_for()
        for kind, target in (("paste", "body"), ("drop", "#drop")):
            page.evaluate(script, [kind, target, list(picture)])
        page.locator("body:has(.card:nth-child(2)) #status:empty").wait_for(state="attached")
        assert page.locator(".verdict", has_text=NAMES["star"]).count() == 2


def test_a_bad_image_is_named_with_its_reason(visit, server, picture):
    with visit(server.address, quiet=False) as page:
        cards = upload(page, ("bad.png", picture[:99]), ("good.png", picture))
        assert cards.nth(0).locator(".verdict").inner_text() == "No prediction"
        assert cards.nth(0).locator(".says").inner_text()
        assert cards.nth(1).locator(".verdict").inner_text() == NAMES["star"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@sizes
def test_axe_finds_no_serious_fault(visit, faults, server, picture, size, scheme):
    with visit(server.address, size, scheme) as page:
        upload(page, (AWKWARD, picture))
        page.locator(".why:visible").wait_for()
        assert faults(page) == []
        page.goto(f"{server.address}/docs")
        page.wait_for_selector("#paths h3")
        assert faults(page) == []


def test_the_page_works_by_keyboard(visit, server):
    with visit(server.address) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "files"
