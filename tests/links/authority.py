"""Certificates for tests, made when they run."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """A certificate and its key, and the authority that it is from, as PEM files."""

    cafile: str
    certificate: str
    key: str


def make_files(folder: Path, name: str, *, days: int = 1) -> Files:
    """An authority and a certificate for a host, valid from yesterday for ``days`` after today."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, subject = _named("an authority for tests"), _named(name)
    folder.mkdir(parents=True, exist_ok=True)
    ca = _certificate(ca_name, ca_name, ca_key.public_key(), ca_key, authority=True, days=days)
    host: x509.GeneralName = x509.DNSName(name)
    if name[0].isdigit():
        host = x509.IPAddress(ipaddress.ip_address(name))
    leaf = _certificate(subject, ca_name, key.public_key(), ca_key, host=host, days=days)
    files = Files(*(str(folder / each) for each in ("ca.pem", "host.pem", "host.key")))
    pem = serialization.Encoding.PEM
    Path(files.cafile).write_bytes(ca.public_bytes(pem))
    Path(files.certificate).write_bytes(leaf.public_bytes(pem))
    Path(files.key).write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    authority: bool = False,
    host: x509.GeneralName | None = None,
    days: int,
) -> x509.Certificate:
    today = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=2))
        .not_valid_after(today + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=authority,
                crl_sign=authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if host is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([host]), critical=False)
    return builder.sign(signer, hashes.SHA256())
