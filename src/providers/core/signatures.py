"""Checks of webhook signatures, on raw bytes and in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from enum import StrEnum

from providers.core.errors import ConfigurationError


def hmac_sha256(secret: str, *parts: bytes) -> str:
    """The hexadecimal HMAC-SHA256 of the parts joined."""
    return hmac.new(secret.encode(), b"".join(parts), hashlib.sha256).hexdigest()


def hmac_sha1(secret: str, data: str) -> str:
    """The HMAC-SHA1 of a text, in base64. Only where a vendor still signs with it."""
    return base64.b64encode(hmac.digest(secret.encode(), data.encode(), "sha1")).decode()


def same(left: str, right: str) -> bool:
    """Compare in constant time; works for any text."""
    return hmac.compare_digest(left.encode(), right.encode())


def ecdsa_sha256(public_key: str, signature: str, data: bytes) -> bool:
    """Whether `signature` (base64 DER) over `data` was made with the key (base64 SubjectPublicKeyInfo).

    Raises `ConfigurationError` when the public key itself is unreadable.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(base64.b64decode(public_key, validate=True))
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = "the webhook's public key is not a base64 DER key"
        raise ConfigurationError(msg, field="public_key") from error
    if not isinstance(key, EllipticCurvePublicKey):
        msg = "the webhook's public key is not an elliptic-curve key"
        raise ConfigurationError(msg, field="public_key")
    try:
        key.verify(base64.b64decode(signature, validate=True), data, ECDSA(SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


class Digest(StrEnum):
    """What an RSA signature is made over. SHA-1 only where a vendor still signs with it."""

    SHA1 = "sha1"
    SHA256 = "sha256"


class RsaCertificate:
    """A certificate in PEM whose RSA key signs webhooks. Raises `ValueError` for anything else.

    Who issued it is not looked at: it comes from the vendor's own host over TLS.
    """

    def __init__(self, pem: bytes) -> None:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.x509 import load_pem_x509_certificate

        try:
            certificate = load_pem_x509_certificate(pem)
            key = certificate.public_key()
        except UnsupportedAlgorithm as error:
            msg = "the certificate has a key of an unknown kind"
            raise ValueError(msg) from error
        if not isinstance(key, RSAPublicKey):
            msg = "the certificate has no RSA key"
            raise ValueError(msg)  # noqa: TRY004 (what it holds is a value, not a type)
        self._key = key
        self._from = certificate.not_valid_before_utc.timestamp()
        self._until = certificate.not_valid_after_utc.timestamp()

    def valid_at(self, moment: float) -> bool:
        """Whether it is in force at a unix time."""
        return self._from <= moment <= self._until

    def verifies(self, signature: str, data: bytes, digest: Digest) -> bool:
        """Whether `signature` (base64, PKCS #1 v1.5) over `data` was made with its key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA1, SHA256

        algorithm = SHA1() if digest is Digest.SHA1 else SHA256()  # noqa: S303 (the vendor's default to this day)
        try:
            self._key.verify(base64.b64decode(signature, validate=True), data, PKCS1v15(), algorithm)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True
