"""URLs: read within bounds of size and time, from public addresses, and from nowhere else than they say."""

import io
import sys
import threading
import time
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from corpus import SCENE, saved

from hybrid.images import urls
from hybrid.images.decoding import decode
from hybrid.images.frame import Frame
from hybrid.images.pixels import ImageError
from hybrid.images.source import read

PNG = saved(SCENE, "PNG")


class Answers(BaseHTTPRequestHandler):
    """A server of a picture, and of trouble."""

    def do_GET(self):
        getattr(self, self.path.strip("/").partition("?")[0].partition("/")[0].partition(".")[0])()

    def head(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def picture(self):
        self.head(Content_Length=len(PNG))
        self.wfile.write(PNG)

    def unsized(self):
        self.head()
        self.wfile.write(PNG)

    def gone(self):
        self.send_error(404)

    def broken(self):
        self.send_error(500)

    def short(self):
        self.head(Content_Length=len(PNG) + 10)
        self.wfile.write(PNG)

    def huge(self):
        self.head(Content_Length=1 << 40)

    def endless(self):
        self.head()
        while True:
            self.wfile.write(bytes(1 << 20))

    def drip(self):
        self.head()
        while True:
            self.wfile.write(b"x")
            time.sleep(0.05)

    def dripping_head(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            self.wfile.write(b"X: y\r\n" * 2)
            time.sleep(0.5)

    def silent(self):
        time.sleep(3)

    def nonsense(self):
        self.wfile.write(b"SSH-2.0-OpenSSH\r\n")

    def moved(self):
        self.head(302, Location="/picture.png")

    def loop(self):
        self.head(301, Location="/loop")

    def to_file(self):
        self.head(302, Location="file:///etc/passwd")

    def to_ftp(self):
        self.head(302, Location="ftp://127.0.0.1/a.png")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    server.handle_error = lambda *args: None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def base(address, monkeypatch):
    monkeypatch.setenv(urls.ALLOW_PRIVATE, "1")
    return address


@pytest.mark.parametrize(
    "path", ["/picture.png", "/unsized", "/moved", "/picture/with space é.png", "/picture?a=b c&d=%20"]
)
def test_a_picture_is_fetched(base, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    got = decode(read(base + path), Frame(SCENE.shape[:2], resize="squash"))
    assert (got == np.asarray(SCENE)).all()


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("/gone.png", "^HTTP 404 Not Found$"),
        ("/broken", "^HTTP 500 Internal Server Error$"),
        ("/short", "truncated answer, 10 bytes short"),
        ("/huge", f"{1 << 40} bytes and maybe more are over the limit of"),
        ("/nonsense", "cannot be fetched"),
        ("/loop", "more than 5 redirects"),
        ("/to_file", "redirected to 'file:///etc/passwd', but expected http or https"),
        ("/to_ftp", "redirected to 'ftp://127"),
    ],
)
def test_what_cannot_be_fetched_says_why(base, path, match):
    with pytest.raises(ImageError, match=match):
        read(base + path)


def test_a_refused_connection_says_so(monkeypatch):
    monkeypatch.setenv(urls.ALLOW_PRIVATE, "1")
    with pytest.raises(ImageError, match=r"^connection refused$"):
        read("http://127.0.0.1:9/a.png")


def test_an_endless_answer_ends_at_the_limit(base, monkeypatch):
    monkeypatch.setattr(urls, "MAX_BYTES", 4 << 20)
    with pytest.raises(ImageError, match="over the limit of 4194304 for a URL"):
        read(base + "/endless")


@pytest.mark.parametrize("path", ["/drip", "/dripping_head", "/silent"])
def test_a_slow_answer_ends_at_the_limit(base, path, monkeypatch):
    monkeypatch.setattr(urls, "MAX_SECONDS", 0.4)
    start = time.monotonic()
    with pytest.raises(ImageError, match=r"not fetched within the limit of 0\.4 seconds"):
        read(base + path)
    assert time.monotonic() - start < 3


def test_a_private_address_is_refused_before_it_is_asked(address, monkeypatch):
    asked = []
    monkeypatch.setattr(Answers, "picture", lambda self: asked.append(self.path))
    for url in (address, address.replace("127.0.0.1", "localhost"), address.replace("http:", "https:")):
        with pytest.raises(
            ImageError, match=r"is the private address 127\.0\.0\.1; HYBRID_PRIVATE_URLS=1 allows"
        ):
            read(url + "/picture.png")
    assert not asked


def test_a_redirect_to_a_private_address_is_refused(address, monkeypatch):
    # The server counts as public for the first look only.
    looks = iter([True])
    monkeypatch.setattr(urls, "allowed", lambda address: next(looks, False))
    with pytest.raises(ImageError, match=r"is the private address 127\.0\.0\.1"):
        read(address + "/moved")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:10.0.0.1"],
)
def test_private_addresses_are_known(address, monkeypatch):
    monkeypatch.delenv(urls.ALLOW_PRIVATE, raising=False)
    assert not urls.allowed(address)
    assert urls.allowed("93.184.215.14")
    monkeypatch.setenv(urls.ALLOW_PRIVATE, "1")
    assert urls.allowed(address)


@pytest.mark.parametrize(
    "url",
    [
        "simplecache::local:///dev/zero",
        "local:///etc/passwd",
        "memory://a.png",
        "ftp://example.org/a.png",
        "zip://a.png::https://example.org/a.zip",
        "s3://bucket/a.png::file:///etc/passwd",
        "reference://a",
    ],
)
def test_other_schemes_and_chains_are_refused(url):
    with pytest.raises(ImageError, match="but expected one of http, https, s3, gs, az, and no chain"):
        read(url)


def test_stores_are_read_through_fsspec(monkeypatch):
    def open(url, mode):
        if "gone" in url:
            raise FileNotFoundError(url)
        return io.BytesIO(url.encode())

    monkeypatch.setitem(sys.modules, "fsspec", types.SimpleNamespace(open=open))
    assert read("s3://bucket/a.jpg") == b"s3://bucket/a.jpg"
    with pytest.raises(ImageError, match="no such file"):
        read("gs://bucket/gone.jpg")
    monkeypatch.setattr(urls, "MAX_BYTES", 3)
    with pytest.raises(ImageError, match="over the limit of 3"):
        read("az://bucket/a.jpg")


def test_stores_without_fsspec_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImportError, match=r'needs fsspec: pip install "hybrid-features\[url\]"'):
        read("s3://bucket/a.jpg")
