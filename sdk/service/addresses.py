"""Fetch a picture from an address that a stranger names, and reach nothing private by it.

Only http and https at their own ports; every address that the name resolves to must be public, and
the connection goes to the very one that was checked, so that a second answer of the name's server
changes nothing. No redirect is followed, no proxy used, and size and time are bounded.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
import urllib.parse
from typing import Any

from matter_sdk.sdk.service.refusals import Refused

SECONDS = 10.0
"""The longest that a picture may take to come."""
PORTS = {"http": 80, "https": 443}


def fetch(url: str, most_bytes: int, seconds: float = SECONDS) -> bytes:
    """Return what lies at an address.

    Raises:
        Refused: 403 for an address that is not public, 413 for more than ``most_bytes``, 422 for
            what is no address, cannot be had, or redirects.
    """
    until = time.monotonic() + seconds
    try:
        parts = urllib.parse.urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
        if scheme not in PORTS or not host or "@" in parts.netloc:
            raise _unfit("it is not as http://host/path or https://host/path")
        if port not in (None, PORTS[scheme]):
            raise _unfit(f"its port is {port}; expected {PORTS[scheme]}")
        place = _public(host, PORTS[scheme])
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        with contextlib.ExitStack() as stack:
            opened = stack.enter_context(
                socket.create_connection(place, timeout=max(0.1, until - time.monotonic()))
            )
            if scheme == "https":
                opened = stack.enter_context(
                    ssl.create_default_context().wrap_socket(
                        opened, server_hostname=host, do_handshake_on_connect=False
                    )
                )
            # A timeout of a socket is for one step of it; this one ends them all.
            end = threading.Timer(max(0.1, until - time.monotonic()), _cut, (opened,))
            end.daemon = True
            end.start()
            stack.callback(end.cancel)
            if isinstance(opened, ssl.SSLSocket):
                opened.do_handshake()
            content = _content(opened, host, PORTS[scheme], path, most_bytes)
            if time.monotonic() >= until:  # cut, perhaps in the middle
                raise TimeoutError
            return content
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = time.monotonic() >= until
        raise _unfit(f"it took more than {seconds:g} s" if late else str(error)) from error


def _public(host: str, port: int) -> tuple[str, int]:
    """The place of a name whose every address is public."""
    found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not found or not all(map(is_public, found)):
        raise Refused(
            403, "AddressError", f"{host!r} is in a private network; expected a public address"
        )
    return found[0], port


def is_public(text: str) -> bool:
    """Whether an IP address is one of the internet at large, whatever it is wrapped in."""
    address: Any = ipaddress.ip_address(text.partition("%")[0])
    if address.version == 6:
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        address = inner or address
    return bool(address.is_global and not address.is_multicast)


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _content(opened: socket.socket, host: str, port: int, path: str, most: int) -> bytes:
    connection = http.client.HTTPConnection(host, port)
    connection.sock = opened
    headers = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "matter-sdk"}
    connection.request("GET", path, headers=headers)
    with connection.getresponse() as response:
        if response.status != 200:
            redirects = " and redirects are not followed" if 300 <= response.status < 400 else ""
            raise _unfit(f"its server answers {response.status}{redirects}")
        content = response.read(most + 1) if (response.length or 0) <= most else b""
        if len(content) > most or (response.length or 0) > most:
            raise Refused(
                413, "AddressError", f"more than {most:,} bytes lie there; expected fewer"
            )
        if response.length:
            raise _unfit("its server ended before the picture did")
        return content


def _cut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not SSLSocket's, which would take from under the reader what it reads with.
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _unfit(reason: str) -> Refused:
    return Refused(422, "AddressError", f"the picture at this address cannot be had: {reason}")
