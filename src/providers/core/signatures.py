"""Checks of webhook signatures, on raw bytes and in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from providers.core.errors import ConfigurationError


def hmac_sha256(secret: str, *parts: bytes) -> str:
    """The hexadecimal HMAC-SHA256 of the parts joined."""
    return hmac.new(secret.encode(), b"".join(parts), hashlib.sha256).hexdigest()


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
