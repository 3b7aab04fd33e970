"""No test reaches the network by accident: sockets other than loopback are blocked while a `block` is on.

It listens to the interpreter's audit events, so that it holds for threads, asyncio and every library that opens its
sockets through Python. What resolves and connects outside of Python (uvloop, c-ares, subprocesses) is not seen.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})


class NetworkBlockedError(RuntimeError):
    """A test tried to connect to another machine.

    Not an `OSError`: a library would take that for an outage, and the test would pass for the wrong reason.
    """


class _State:
    """Process-wide, as sockets are."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.installed = False
        self.blocks = 0
        self.permits = 0


_state = _State()


def blocked() -> bool:
    """Whether sockets are blocked now."""
    return _state.blocks > 0 and _state.permits == 0


def block() -> None:
    """Block sockets other than loopback until `unblock`. Names other than loopback do not resolve."""
    with _state.lock:
        if not _state.installed:
            sys.addaudithook(_audit)
            _state.installed = True
        _state.blocks += 1


def unblock() -> None:
    """Take one `block` back."""
    with _state.lock:
        _state.blocks = max(_state.blocks - 1, 0)


@contextlib.contextmanager
def allowed() -> Generator[None]:
    """Let every socket through meanwhile, in all threads."""
    with _state.lock:
        _state.permits += 1
    try:
        yield
    finally:
        with _state.lock:
            _state.permits -= 1


def is_loopback(host: object) -> bool:
    """Whether a host name or address stays on this machine. The wildcard addresses do."""
    if isinstance(host, bytes | bytearray):
        host = bytes(host).decode("ascii", "replace")
    if host is None:
        return True
    if not isinstance(host, str):
        return False
    name = host.lower().rstrip(".")
    if not name or name in LOOPBACK_NAMES or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _connect(sock: object, address: object) -> None:
    if not isinstance(sock, socket.SocketType) or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    host, port, *_ = cast("tuple[object, ...]", address) if isinstance(address, tuple) else (None, None)
    if not is_loopback(host):
        msg = f"a test must not reach {host}:{port}: only loopback is open (mark it providers_sockets to allow it)"
        sock.close()  # libraries do so for an OSError only
        raise NetworkBlockedError(msg)


def _resolve(host: object, *_: object) -> None:
    if is_loopback(host):
        return
    text = bytes(host).decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)
    if _address(text) is None:  # a bare address asks nobody; connecting to it is what is refused
        raise socket.gaierror(socket.EAI_NONAME, f"{text!r} is not resolved: only loopback is open to tests")


def _reverse(address: object, *_: object) -> None:
    if not is_loopback(address):
        raise socket.herror(1, f"{address!r} is not resolved: only loopback is open to tests")


_CHECKS: dict[str, Callable[..., None]] = {
    "socket.connect": _connect,
    "socket.sendto": _connect,
    "socket.sendmsg": _connect,
    "socket.getaddrinfo": _resolve,
    "socket.gethostbyname": _resolve,
    "socket.gethostbyaddr": _reverse,
}


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    check = _CHECKS.get(event)
    if check is not None and blocked():
        check(*arguments)
