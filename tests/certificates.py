"""An authority of one's own and certificates that it signs, as docs/scale.md makes them; a cluster that has them."""

import datetime
import logging
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed import LocalCluster, Security

from hybrid.cluster.client import CERTIFICATES

ROLES = "scheduler", "worker", "client"


def make(folder: Path) -> dict[str, str]:
    """Write ca.pem, and a certificate that it signed with its key; return how `connected` is told of them."""
    folder.mkdir()
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    signed = {
        "ca.pem": _certificate("authority", "authority", authority, authority, True),
        "cert.pem": _certificate("hybrid", "authority", key, authority, False),
    }
    for name, certificate in signed.items():
        (folder / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, private, plain))
    names = [str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem")]
    return dict(zip(CERTIFICATES.values(), names, strict=True))


def cluster(files: dict[str, str], workers: int) -> LocalCluster:
    """Start a scheduler on the loopback, and workers, that ask for certificates."""
    authority, certificate, key = files.values()
    own = {
        f"tls_{role}_{kind}": file for role in ROLES for kind, file in (("cert", certificate), ("key", key))
    }
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        host="tls://127.0.0.1",
        security=Security(tls_ca_file=authority, require_encryption=True, **own),
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )


def _certificate(subject: str, issuer: str, key: object, signer: object, is_authority: bool):
    now = datetime.datetime.now(datetime.UTC)
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (subject, issuer))
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .sign(signer, hashes.SHA256())
    )
