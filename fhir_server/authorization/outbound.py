"""Ask another server, within bounds: one origin, one address that was checked, bytes and time counted.

What we ask for stands in an address that a caller named, so a caller must not be able to make us knock
where we should not (server-side request forgery):

- https, or http where the address is this machine by its own name (localhost, 127.0.0.1, ::1);
- the name is resolved once, every address it has is checked, and the connection goes to one of exactly
  those: what the name means a moment later (DNS rebinding) no longer matters. Private addresses are where
  hospitals have their servers and are allowed; this machine is not unless it is named as such, nor are
  link-local (metadata services of clouds), multicast, unspecified and reserved ones;
- no redirects, no proxies, no cookies, no compressed bodies;
- a deadline for the whole of it, name lookup and every byte included, and a limit of bytes.

Certificates are verified against the authorities of the system; SSL_CERT_FILE names others.
"""

from __future__ import annotations

import io
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_PIECE_BYTES = 64 * 1024
_PLAIN = re.compile(r"[^\x00-\x20\\\"<>^`{|}\x7f]+")  # what RFC 3986 allows, and what parsers read alike
_NOWHERE = ipaddress.ip_network("0.0.0.0/8")
Resolve = Callable[[str, int], Sequence[str]]


class NotReached(Exception):
    """Nothing usable came back. `code` is stable and holds nothing of the address or the answer.

    `failed` says whether the other side broke or was slow, rather than that it may not be asked or refused.
    """

    def __init__(self, code: str, *, failed: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.failed = failed


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of an address, as two addresses are compared by."""

    scheme: str
    host: str
    port: int

    @property
    def is_here(self) -> bool:
        """Whether it names this machine itself."""
        return names_this_machine(self.host)

    @property
    def is_secure(self) -> bool:
        """Whether nobody on the way can read or change what is said: https, or this machine."""
        return self.scheme == "https" or self.is_here


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of an answer; never a redirect."""

    status: int
    body: bytes


def origin_of(url: Any) -> Origin | None:
    r"""Return the origin of an absolute URL; None for what is none, or is written to be misread.

    >>> origin_of("https://EHR.example/fhir") == origin_of("https://ehr.example:443/other")
    True
    >>> [origin_of(url) for url in ("https://ehr.example@evil.example/", "ftp://a", "//a", "https://a\\@b/")]
    [None, None, None, None]
    """
    if (
        not isinstance(url, str)
        or not url.isascii()
        or any(sign <= " " or sign in '\\"<>^`{|}' for sign in url)
    ):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc or host.endswith(".") or "%" in host:
        return None
    return Origin(parts.scheme, host, port or _PORTS[parts.scheme])


def is_base(url: Any) -> bool:
    """Whether a URL can be the base of a server: an origin and a path, nothing behind it.

    >>> [is_base(url) for url in ("https://a.example/fhir", "https://a.example/fhir?x=1", "a.example")]
    [True, False, False]
    """
    return origin_of(url) is not None and "?" not in url and "#" not in url and ".." not in url


def names_this_machine(host: str) -> bool:
    """Whether a host is this machine by its own name or address.

    >>> [names_this_machine(host) for host in ("localhost", "127.0.0.1", "::1", "10.0.0.7", "2130706433")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def may_connect(host: str, address: str) -> bool:
    """Whether a host may have this address.

    >>> may_connect("ehr.example", "10.0.0.7"), may_connect("ehr.example", "127.0.0.1")
    (True, False)
    >>> may_connect("ehr.example", "::ffff:127.0.0.1"), may_connect("ehr.example", "169.254.169.254")
    (False, False)
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.sixtofour or found.teredo:
            return False
        found = found.ipv4_mapped or found
    if found.is_loopback:
        return names_this_machine(host)
    if names_this_machine(host):
        return False
    refused = found.is_link_local or found.is_multicast or found.is_unspecified or found.is_reserved
    return not refused and not (found.version == 4 and found in _NOWHERE)


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Session:
    """Questions to one origin over one connection, until `deadline` (time.monotonic()).

    `left_bytes` is what all answers together may still have.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        deadline: float,
        most_bytes: int,
        resolver: Resolve = resolve,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.origin = origin
        self.deadline = deadline
        self.left_bytes = most_bytes
        self._resolver = resolver
        self._context = context
        self._connection: HTTPConnection | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask for one address of the origin.

        Raises NotReached for another origin, for what is not secure, for an address that may not be
        connected to, a redirect, a compressed body, too many bytes, too much time, a broken connection.
        """
        if origin_of(url) != self.origin or not self.origin.is_secure:
            raise NotReached("origin")
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            kept = self._connection is not None
            connection = self._connection or self._connect()
            try:
                return self._ask(connection, target, headers)
            except (HTTPException, OSError):
                # a connection that was kept may have been closed by the other side meanwhile: once more
                if not kept or self._late():
                    raise
                self.close()
                return self._ask(self._connect(), target, headers)
        except NotReached:
            self.close()
            raise
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise NotReached("certificate") from error
        except TimeoutError as error:
            self.close()
            raise NotReached("slow", failed=True) from error
        except (HTTPException, OSError, ValueError) as error:
            self.close()
            raise NotReached("broken", failed=True) from error

    def _late(self) -> bool:
        return time.monotonic() >= self.deadline

    def _ask(self, connection: HTTPConnection, target: str, headers: Mapping[str, str]) -> Answer:
        connection.request("GET", target, headers={"Accept-Encoding": "identity", **headers})
        with connection.getresponse() as response:
            return self._read(response)

    def _read(self, response: HTTPResponse) -> Answer:
        if 300 <= response.status < 400:
            raise NotReached("redirect")
        if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
            raise NotReached("encoded")
        if (response.length or 0) > self.left_bytes:
            raise NotReached("too-large")
        pieces = []
        while piece := response.read(min(_PIECE_BYTES, self.left_bytes + 1)):
            self.left_bytes -= len(piece)
            if self.left_bytes < 0:
                raise NotReached("too-large")
            pieces.append(piece)
        if response.will_close:
            self.close()
        return Answer(response.status, b"".join(pieces))

    def _connect(self) -> HTTPConnection:
        host, port = self.origin.host, self.origin.port
        addresses = self._addresses()
        if not addresses or not all(may_connect(host, address) for address in addresses):
            raise NotReached("address")
        for number, address in enumerate(addresses):
            try:
                plain = socket.create_connection((address, port), timeout=_left(self.deadline))
                break
            except OSError:
                if number + 1 == len(addresses):
                    raise
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.origin.scheme == "https":
            plain = (self._context or _tls()).wrap_socket(plain, server_hostname=host)
        connection = HTTPConnection(host, port)
        connection.auto_open = 0  # it would look the name up again
        connection.sock = _Deadlined(plain, self.deadline)
        self._connection = connection
        return connection

    def _addresses(self) -> Sequence[str]:
        """Look the name up in a thread of its own, as nothing else bounds the time that it takes."""
        found: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()

        def look() -> None:
            try:
                found.put(self._resolver(self.origin.host, self.origin.port))
            except (OSError, UnicodeError):
                found.put(())

        threading.Thread(target=look, daemon=True).start()
        try:
            return found.get(timeout=_left(self.deadline))
        except queue.Empty:
            raise TimeoutError from None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


_TLS: list[ssl.SSLContext] = []


def _tls() -> ssl.SSLContext:
    """Return the one context of this process; to make one reads every authority of the system."""
    if not _TLS:
        _TLS.append(ssl.create_default_context())
    return _TLS[0]


class _Deadlined:
    """A socket whose every byte comes before the deadline, so that a slow drip cannot hold us.

    As with sockets of the system, what is still being read stays open after `close`.
    """

    def __init__(self, plain: socket.socket, deadline: float) -> None:
        self.plain = plain
        self.deadline = deadline
        self._closed = False
        self._readers = 0

    def sendall(self, data: bytes) -> None:
        self.plain.settimeout(_left(self.deadline))
        self.plain.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        self._readers += 1
        return io.BufferedReader(_Incoming(self))

    def close(self) -> None:
        self._closed = True
        self._let_go()

    def read_to_the_end(self) -> None:
        self._readers -= 1
        self._let_go()

    def _let_go(self) -> None:
        if self._closed and self._readers == 0:
            self.plain.close()


class _Incoming(io.RawIOBase):
    """What a socket receives until the deadline."""

    def __init__(self, source: _Deadlined) -> None:
        super().__init__()
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._source.plain.settimeout(_left(self._source.deadline))
        return self._source.plain.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._source.read_to_the_end()
