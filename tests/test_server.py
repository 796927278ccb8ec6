"""A server as clients meet it: what it says, what it refuses and how, and that nothing they send ends it."""

import io
import json
import random
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import quote

import corpus
import numpy as np
import pytest
from PIL import Image
from serving import form, serving

from hybrid import build_pipeline, load_sample, save
from hybrid.bundle.loading import read
from hybrid.explain.explanation import explain

pytest.importorskip("fastapi")

from hybrid.server.limits import Full, Limits, Room, TooLarge
from hybrid.server.queue import Queue
from hybrid.server.run import listen
from hybrid.server.work import worker

FORM = "multipart/form-data; boundary=x"
AWKWARD = ['<script>alert("1")</script>', 'it\'s "quoted" & <b>bold</b>', "Katze 🐈 ★ 星"]


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def pictures():
    sample = load_sample(8)
    return [png(pixels) for pixels in sample[sample["label"].isin(["bricks", "star", "waves"])]["image"]]


@pytest.fixture(scope="module")
def bundle(pictures, tmp_path_factory):
    """A bundle of `hybrid train`, whose classes and file names are awkward."""
    folder = tmp_path_factory.mktemp("served")
    labels = [AWKWARD[i // 8] for i in range(24)]
    rows = []
    for i, (content, label) in enumerate(zip(pictures, labels, strict=True)):
        path = folder / f'<img src=x onerror=alert(1)> "{i}" 🐈.png'
        path.write_bytes(content)
        rows.append({"image": str(path), "label": label})
    import pandas as pd

    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    command = [
        sys.executable,
        "-m",
        "hybrid.cli",
        "train",
        folder / "table.csv",
        "-o",
        folder / "model.hybrid",
    ]
    settings = ["--backbone", "tiny", "--set", "model.kind=logistic", "--set", "curve.on=false"]
    subprocess.run([*command, *settings], check=True, capture_output=True)
    return folder / "model.hybrid"


@pytest.fixture(scope="module")
def server(bundle):
    with serving(bundle) as server:
        yield server


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A bundle without anything beside its model, whose classes are numbers and which has no probabilities."""
    sample = load_sample(4)
    model = build_pipeline("svm", backbone="tiny").fit(sample["image"], sample["label"].factorize()[0])
    return save(model, tmp_path_factory.mktemp("plain") / "plain.hybrid")


def test_a_prediction_is_that_of_the_command_and_names_are_text(server, bundle, pictures):
    name = "<b>\"x\" & 'y' 🐈.png"
    (found,) = server.predict((name.replace('"', ""), pictures[0])).json["predictions"]
    work = worker(read(bundle), 0.9, 5)
    expected = work([pictures[0]])[0]
    assert found["image"] == name.replace('"', "")
    assert found["label"] == expected["label"] == AWKWARD[0]
    assert found["probabilities"].keys() == set(AWKWARD)
    assert found["probability"] == pytest.approx(expected["probability"], abs=1e-5)
    assert AWKWARD[0] in found["set"]
    assert found["none of these"] is False
    assert found["neighbours"][0]["image"] == '<img src=x onerror=alert(1)> "0" 🐈.png'
    assert server.ask("/model").json["classes"] == sorted(AWKWARD)


def test_two_bundles_are_served_at_a_time_and_what_one_cannot_tell_is_left_out(server, plain, pictures):
    with serving(plain) as other:
        (found,) = other.predict(("a.png", pictures[0])).json["predictions"]
        assert found.keys() == {"image", "label"}
        assert found["label"] in range(10)
        assert "coverage" not in other.ask("/model").json
        assert server.predict(("a.png", pictures[0])).json["predictions"][0]["label"] == AWKWARD[0]


def test_numbers_as_classes_have_probabilities(tmp_path, pictures):
    sample = load_sample(4)
    model = build_pipeline("logistic", backbone="tiny").fit(sample["image"], sample["label"].factorize()[0])
    with serving(save(model, tmp_path / "numbers.hybrid")) as server:
        (found,) = server.predict(("a.png", pictures[0])).json["predictions"]
    assert found["probabilities"].keys() == set(map(str, range(10)))


def test_images_of_many_requests_go_through_the_network_together(server, pictures):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda one: server.predict(("a.png", one)), pictures * 4))
    assert {answer.status for answer in answers} == {200}
    labels = [answer.json["predictions"][0]["label"] for answer in answers]
    assert labels == [AWKWARD[i // 8] for i in range(24)] * 4
    counts = metrics(server)
    assert counts["hybrid_batch_images_sum"] > counts["hybrid_batch_images_count"]


def test_a_heat_map_is_that_of_the_class_that_was_asked_for(server, bundle, pictures):
    assert server.ask("/model").json["explains"] is True
    model = read(bundle)
    own, other = (
        server.send(f"/explain{query}", ("a.png", pictures[0]))
        for query in ("", f"?label={quote(AWKWARD[1])}")
    )
    for answer, label in ((own, None), (other, AWKWARD[1])):
        assert answer.status == 200
        assert answer.headers["content-type"] == "image/jpeg"
        found = Image.open(io.BytesIO(answer.body))
        expected = explain(model.model, pictures[0], label, model.extras["mean"]).draw(found.width)
        assert np.abs(np.asarray(found, int) - np.asarray(expected, int)).mean() < 3
    assert own.body != other.body


@pytest.mark.parametrize(
    ("query", "files", "status", "reason"),
    [
        ("?label=dragon", [b""], 422, "Got label='dragon', but expected one of the classes in /model"),
        ("", [b"hello"], 422, "not an image in a known format"),
        ("", [b""], 422, "empty file"),
        ("", [], 422, "Got 0 images, but expected one"),
        ("", [b"1", b"2"], 400, "Maximum number of files is 1"),
    ],
)
def test_what_cannot_be_explained_is_told_so(server, query, files, status, reason):
    answer = server.send(f"/explain{query}", *[("a.png", content) for content in files])
    assert answer.status == status
    assert reason in answer.json["error"]
    assert server.ask("/explain", b"{}", content_type="application/json").status == 415


def test_malformed_uploads_have_no_heat_map_and_the_server_goes_on(server, pictures):
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: server.send("/explain", one).status, malformed(pictures)[-75::3]))
    assert set(answers) == {200, 422}
    assert server.ask("/health").json == {"status": "ok"}


def test_explanations_are_bounded_and_predictions_go_on_beside_them(bundle, pictures):
    with serving(bundle) as server, ThreadPoolExecutor(40) as pool:
        running = [pool.submit(server.send, "/explain", ("a.png", one)) for one in pictures * 4]
        assert server.predict(("a.png", pictures[0])).status == 200
        answers = [one.result() for one in running]
        statuses = [answer.status for answer in answers]
        assert set(statuses) == {200, 503}
        assert answers[statuses.index(503)].headers["retry-after"] == "1"
        assert server.send("/explain", ("a.png", pictures[0])).status == 200


def test_a_model_that_cannot_be_traced_says_so(tmp_path, pictures):
    sample = load_sample(4)
    model = build_pipeline(backbone="tiny", pooling="max").fit(sample["image"], sample["label"])
    with serving(save(model, tmp_path / "max.hybrid")) as server:
        assert server.ask("/model").json["explains"] is False
        answer = server.send("/explain", ("a.png", pictures[0]))
        assert answer.status == 404
        assert "no heat maps" in answer.json["error"]
        assert server.predict(("a.png", pictures[0])).status == 200


def metrics(server):
    lines = server.ask("/metrics").body.decode().splitlines()
    return {name: float(value) for name, value in (one.rsplit(" ", 1) for one in lines if one[0] != "#")}


def test_every_bad_image_of_a_request_is_named_with_its_reason(server, pictures):
    answer = server.predict(("good.png", pictures[0]), ("cut.png", pictures[1][:99]), ("text.jpg", b"hello"))
    assert answer.status == 422
    assert [one["file"] for one in answer.json["files"]] == ["cut.png", "text.jpg"]
    assert "not an image in a known format" in answer.json["files"][1]["reason"]
    assert "'cut.png'" in answer.json["error"]


def malformed(pictures):
    """Awkward files, truncations and bit flips: at least 200."""
    rng = random.Random(0)
    found = [(name, content) for name, (content, _) in corpus.files().items()]
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(pictures[0])).save(jpeg, "JPEG")
    webp = io.BytesIO()
    Image.open(io.BytesIO(pictures[0])).save(webp, "WEBP")
    for kind, content in {"png": pictures[0], "jpg": jpeg.getvalue(), "webp": webp.getvalue()}.items():
        found += [(f"cut-{i}.{kind}", content[: rng.randrange(len(content))]) for i in range(25)]
        for i in range(25):
            flipped = bytearray(content)
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
            found.append((f"flipped-{i}.{kind}", bytes(flipped)))
    return found


def test_malformed_uploads_are_answered_with_a_reason_and_the_server_goes_on(server, pictures):
    files = malformed(pictures)
    assert len(files) >= 200
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: server.predict(one), files))
    assert {answer.status for answer in answers} == {200, 422}
    bad = [
        (name, answer.json) for (name, _), answer in zip(files, answers, strict=True) if answer.status == 422
    ]
    assert len(bad) > 60
    assert all(one["files"][0]["reason"] for _, one in bad)
    expected = {name for name, (_, what) in corpus.files().items() if what.reason is not None}
    assert {one["files"][0]["file"] for _, one in bad} >= {name for name in expected if '"' not in name}
    assert server.predict(("a.png", pictures[0])).status == 200
    assert server.ask("/health").json == {"status": "ok"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"{}", {"content_type": "application/json"}, 415, "multipart/form-data"),
        (b"", {"content_type": FORM}, 422, "Got 0 images"),
        (b"nothing", {"content_type": "multipart/form-data"}, 400, "boundary"),
        (b"nothing", {"content_type": FORM}, 400, "no form that can be read"),
        (form("file", *[("a.png", b"")] * 40), {"content_type": FORM}, 400, "Maximum number of files is 32"),
        (form("picture", ("a.png", b"1")), {"content_type": FORM}, 422, "'picture'"),
        (form("file", ("", b"")), {"content_type": FORM}, 422, "empty file"),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n/etc/passwd\r\n--x--\r\n',
         {"content_type": FORM}, 422, "Got text in the field 'file'"),
        (b'--x\r\nContent-Disposition: form-data; name="urls"\r\n\r\nhttp://127.0.0.1\r\n--x--\r\n',
         {"content_type": FORM}, 422, "fetches no URLs"),
        (form("file", ("\\ud800", b"1")), {"content_type": FORM + "; charset=unicode_escape"}, 422, r"'\\ud800'"),
        (form("file", ("a", b"1")), {"content_type": FORM + "; charset=punycode"}, (400, 422), ""),
        (form("file", ("a", b"1")), {"content_type": FORM + "; charset=undefined"}, 400, "no form"),
    ],
)  # fmt: skip
def test_a_request_that_is_none_is_told_so(server, body, headers, status, reason):
    answer = server.ask("/predict", body, **headers)
    assert answer.status in (status if isinstance(status, tuple) else (status,))
    assert reason in answer.json["error"]


def test_a_large_request_is_refused_whether_it_says_so_or_not(bundle, pictures):
    with serving(bundle, "--megabytes", 1) as server:
        answer = server.predict(("large.png", bytes(2 << 20)))
        assert answer.status == 413
        assert "over the limit of 1 MB" in answer.json["error"]
        pieces = iter([form("file", ("large.png", bytes(2 << 20)))])
        assert server.ask("/predict", pieces, content_type=FORM).status == 413
        assert server.predict(("a.png", pictures[0])).status == 200


def test_no_file_of_the_machine_can_be_reached(server):
    for path in (
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/app.py",
        "/page.html",
        "/static/",
    ):
        assert server.ask(path).status == 404
    assert server.ask("/predict", method="PUT").status == 405


def test_every_answer_has_safe_headers(server, pictures):
    answers = [
        server.ask(path) for path in ("/", "/page.js", "/docs", "/openapi.json", "/metrics", "/nothing")
    ]
    answers += [
        ask(("a.png", content))
        for ask in (server.predict, partial(server.send, "/explain"))
        for content in (pictures[0], b"")
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers


def test_the_pages_fetch_nothing_from_elsewhere(server):
    for path in ("/", "/page.css", "/page.js", "/docs", "/docs.js"):
        text = server.ask(path).body.decode()
        assert not [word for word in ("http://", "https://", "innerHTML", "style=") if word in text]


def test_a_stranger_is_refused(server, pictures):
    assert server.ask("/", Host="evil.example").status == 403
    assert server.ask("/", Host="localhost:1").status == 200
    assert server.predict(("a.png", pictures[0]), Sec_Fetch_Site="cross-site").status == 403


def test_uploads_are_kept_nowhere(bundle, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serving(bundle) as server:
        before = set(tmp_path.rglob("*"))
        large = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
        assert server.predict(("a.png", pictures[0]), ("large.png", png(large))).status == 200
        assert server.send("/explain", ("large.png", png(large))).status == 200
        assert set(tmp_path.rglob("*")) == before


def test_a_full_queue_answers_503_with_retry_after(bundle, pictures):
    with serving(bundle, "--queue", 2, "--images", 2) as server, ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda one: server.predict(("a.png", one)), pictures * 8))
        statuses = [answer.status for answer in answers]
        assert set(statuses) == {200, 503}
        full = answers[statuses.index(503)]
        assert full.headers["retry-after"] == "1"
        assert "Try again" in full.json["error"]
        assert server.predict(("a.png", pictures[0])).status == 200


def test_a_slow_client_is_sent_away_and_one_that_goes_is_forgotten(bundle, pictures):
    with serving(bundle, "--seconds", 1) as server:
        body = form("file", ("a.png", pictures[0]))
        fields = f"Host: localhost\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}"
        head = f"POST /predict HTTP/1.1\r\n{fields}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as slow:
            slow.sendall(head.encode() + body[:50])
            assert slow.recv(1000).startswith(b"HTTP/1.1 408")
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as gone:
            gone.sendall(head.encode() + body[:50])
        assert server.predict(("a.png", pictures[0])).status == 200


def test_at_sigterm_what_waits_is_answered_and_nothing_else_is_taken(bundle, pictures):
    with serving(bundle, "--images", 4) as server, ThreadPoolExecutor(8) as pool:
        big = png(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8))
        running = [pool.submit(server.predict, ("a.png", big), ("b.png", big)) for _ in range(8)]
        end = time.monotonic() + 30
        while metrics(server)["hybrid_waiting_images"] < 8 and time.monotonic() < end:
            time.sleep(0.01)
        server.process.terminate()
        server.process.wait(60)
        assert {one.result().status for one in running} == {200}
        with pytest.raises(ConnectionRefusedError):
            server.ask("/health")


def test_a_port_in_use_is_named_before_anything_is_served(bundle, server):
    command = [sys.executable, "-m", "hybrid.cli", "serve", str(bundle), "--port", str(server.port)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"Got --host 127.0.0.1 --port {server.port}, but cannot listen there" in result.stderr


def test_what_is_missing_is_named_with_its_extra(bundle, monkeypatch):
    from typer.testing import CliRunner

    from hybrid.cli import app

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "hybrid.server.run", raising=False)
    result = CliRunner().invoke(app, ["serve", str(bundle)])
    assert "hybrid-features[serve]" in str(result.exception)


def test_urls_are_fetched_where_that_was_asked_for(bundle, pictures, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(pictures[0])
    command = [
        sys.executable,
        "-u",
        "-m",
        "http.server",
        "0",
        "--bind",
        "127.0.0.1",
        "--directory",
        str(tmp_path),
    ]
    files = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = files.stdout.readline().split()[5]
        body = '--x\r\nContent-Disposition: form-data; name="urls"\r\n\r\n{}\r\n--x--\r\n'
        with serving(bundle, "--urls") as server:
            private = server.ask("/predict", body.format(f"http://127.0.0.1:{port}/a.png"), content_type=FORM)
            assert private.status == 422
            assert "private address" in private.json["error"]
            for path in ("file:///etc/passwd", "/etc/passwd", "s3://a/b.png"):
                answer = server.ask("/predict", body.format(path), content_type=FORM)
                assert answer.status == 422
                assert "no http or https URL" in answer.json["error"]
        monkeypatch.setenv("HYBRID_PRIVATE_URLS", "1")
        with serving(bundle, "--urls") as server:
            url = f"http://127.0.0.1:{port}/a.png"
            (found,) = server.ask("/predict", body.format(url), content_type=FORM).json["predictions"]
            assert (found["image"], found["label"]) == (url, AWKWARD[0])
    finally:
        files.kill()
        files.wait()


def test_the_document_is_kept_against_what_a_fuzzer_makes_of_it(server, tmp_path):
    pytest.importorskip("schemathesis")
    program = "from schemathesis.cli import schemathesis; schemathesis()"
    command = [sys.executable, "-c", program, "run", f"{server.address}/openapi.json"]
    options = [
        "--checks",
        "not_a_server_error,response_schema_conformance",
        "--max-examples",
        "15",
        "--seed",
        "1",
    ]
    result = subprocess.run(
        [*command, *options, "--workers", "1"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 0, result.stdout
    assert "passed" in result.stdout


def test_a_queue_takes_all_or_nothing_and_forgets_who_went(monkeypatch):
    monkeypatch.setattr("hybrid.server.queue.WORKERS", 1)
    seen = []

    def work(items):
        seen.extend(items)
        time.sleep(0.2)
        return items

    queue = Queue(work, capacity=3, most=2)
    with queue:
        first = queue.put([0])
        while queue.waiting:
            time.sleep(0.01)
        waiting = queue.put([1, 2])
        with pytest.raises(Full):
            queue.put([3, 4])
        waiting[0].cancel()
        assert first[0].result() == 0
        assert waiting[1].result() == 2
    assert seen == [0, 2]
    with pytest.raises(Full):
        queue.put([5])


def test_a_fault_in_the_work_is_told_to_those_who_wait_and_the_queue_goes_on():
    def work(items):
        return [1 / item for item in items]

    with Queue(work, capacity=4, most=4) as queue:
        (bad,) = queue.put([0])
        with pytest.raises(ZeroDivisionError):
            bad.result()
        assert queue.put([2])[0].result() == 0.5


def test_room_is_given_back():
    room = Room(Limits(megabytes=1))
    with room.share() as take:
        take(1 << 20)
        with pytest.raises(TooLarge):
            take(1)
    assert room.used == 0
    room.used = room.all
    with room.share() as take, pytest.raises(Full):
        take(1)


def test_limits_are_checked():
    with pytest.raises(ValueError, match="Got queue=0, but expected 1 or more"):
        Limits(queue=0)


def test_the_document_is_json(server):
    assert json.loads(server.ask("/openapi.json").body)["paths"].keys() == {
        "/predict",
        "/explain",
        "/model",
        "/health",
        "/metrics",
    }


def test_an_answer_does_not_wait_for_its_headers_to_be_acknowledged():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
