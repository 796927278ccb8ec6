"""A server as a process of its own: a bundle in, its address out; it is ended by its own number."""

import http.client
import json
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen
    port: int
    log: Path

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path, body=None, method=None, timeout=60, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method or ("GET" if body is None else "POST"), path, body, named)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def predict(self, *files, field="files", **options):
        """Send files (name, content)."""
        return self.send("/predict", *files, field=field, **options)

    def send(self, path, *files, field="file", **options):
        return self.ask(path, form(field, *files), content_type="multipart/form-data; boundary=x", **options)


def form(field, *files):
    """A form's bytes, names quoted as browsers do."""
    parts = []
    for name, content in files:
        quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="{quoted}"\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    return b"".join(parts) + b"--x--\r\n"


@contextmanager
def serving(bundle, *options):
    """Serve a bundle on a free port; in the end the server is told to stop, and must have gone well."""
    log = Path(bundle).parent / f"{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "hybrid.cli", "serve", str(bundle), "--port", "0", *map(str, options)]
    with open(log, "w") as file:
        process = subprocess.Popen(command, stderr=file, stdout=file)
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield Server(process, int(found[1]), log)
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
