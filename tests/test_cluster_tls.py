"""Who reaches a scheduler runs code on its workers: one with certificates takes only those that show one."""

import socket
import ssl

import certificates
import pytest
from distributed import Client

from hybrid.cluster.client import connected


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return certificates.make(tmp_path_factory.mktemp("tls") / "own")


@pytest.fixture(scope="module")
def address(files):
    with certificates.cluster(files, workers=0) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def named(monkeypatch):
    def name(files):
        for variable, file in files.items():
            monkeypatch.setenv(variable, file)

    return name


def test_a_scheduler_with_certificates_takes_us_with_ours(address, files, named):
    named(files)
    with connected(scheduler=address) as client:
        assert client.scheduler_info()["address"] == address


def test_it_refuses_certificates_of_another_authority(address, named, tmp_path):
    named(certificates.make(tmp_path / "others"))
    with pytest.raises(ValueError, match="Cannot reach the scheduler"), connected(scheduler=address):
        pass


def test_it_refuses_a_client_without_a_certificate(address, files):
    host, port = address.removeprefix("tls://").split(":")
    trusting = ssl.create_default_context(cafile=files["HYBRID_TLS_CA"])
    with (
        socket.create_connection((host, int(port))) as line,
        pytest.raises(ssl.SSLError, match=r"certificate required|handshake failure"),
        trusting.wrap_socket(line, server_hostname=host) as secret,
    ):
        secret.recv(1)


def test_it_does_not_speak_without_encryption(address):
    with pytest.raises(OSError, match=r"Timed out|closed"):
        Client(address.replace("tls://", "tcp://"), timeout=3)


def test_without_certificates_the_missing_ones_are_named(address):
    with pytest.raises(ValueError, match="HYBRID_TLS_CA and HYBRID_TLS_CERT"), connected(scheduler=address):
        pass
