"""Places beyond this machine: buckets (s3, gs) and web servers (http, https) behind fsspec's interface, others as fsspec has
them.

Buckets are read by Arrow's own clients, so that they need no further package; credentials, region and endpoint come from where
AWS and Google look for them (environment, profile, machine). HTTP refuses to connect to loopback, private, link-local and
otherwise special addresses: the address is looked at when the connection is made, after the name was resolved, and again for
every redirect.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from typing import Any

from lmpipe.base.extras import require

BUCKETS = ("s3", "s3a", "gs", "gcs")
TIMEOUT_SECONDS = 20
REFUSED = re.compile(r"refused address ([0-9a-fA-F:.]+)")
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class RefusedAddressError(OSError):
    """A name leads to a place that is not on the internet."""


def filesystem_of(url: str, *, allow_private: bool) -> tuple[Any, str]:
    """(fsspec file system, path in it) for a URL.

    Raises:
        MissingExtraError: when the protocol needs a package that is not installed.
        ImportError, ValueError: from fsspec, for a protocol that it does not have.
    """
    protocol, _, path = url.partition("://")
    if protocol in BUCKETS:
        return _bucket_client(protocol), path
    if protocol in ("http", "https"):
        require("aiohttp", extra="remote", purpose="reading over HTTP")
        from fsspec.implementations.http import HTTPFileSystem

        return HTTPFileSystem(get_client=_any_client if allow_private else _guarded_client), url
    from fsspec.core import url_to_fs

    filesystem, inner = url_to_fs(url)
    return filesystem, str(inner)


def full_url(url: str, filesystem: Any, name: str) -> str:
    """The URL of a file that `filesystem` calls `name`; `url` is the one that it was found by."""
    protocol = url.partition("://")[0]
    return f"{protocol}://{name}" if protocol in BUCKETS else str(filesystem.unstrip_protocol(name))


def _bucket_client(protocol: str) -> Any:
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs

    if protocol.startswith("s3"):
        retry = fs.AwsStandardS3RetryStrategy(max_attempts=3)
        scheme, _, endpoint = _s3_endpoint().rpartition("://")
        client = fs.S3FileSystem(
            endpoint_override=endpoint or None,
            scheme=scheme or "https",
            retry_strategy=retry,
            connect_timeout=TIMEOUT_SECONDS,
            request_timeout=60,
        )
    else:
        client = fs.GcsFileSystem()
    return ArrowFSWrapper(client)


def _s3_endpoint() -> str:
    """Another place than Amazon's, as its own tools are told of it."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


async def _any_client(**options: Any) -> Any:
    import aiohttp

    return aiohttp.ClientSession(**options)


async def _guarded_client(**options: Any) -> Any:
    import aiohttp

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=guarded_socket), **options)


def guarded_socket(address: Any) -> socket.socket:
    """A socket for a resolved address (as `socket.getaddrinfo` gives it).

    Raises:
        RefusedAddressError: when the address is not one of the internet.
    """
    family, kind, protocol, _, place = address
    if not is_public(place[0]):
        raise RefusedAddressError(f"refused address {place[0]}")
    return socket.socket(family, kind, protocol)


def is_public(address: str) -> bool:
    """Whether an IP address can belong to a machine on the internet.

    >>> is_public("93.184.216.34"), is_public("169.254.169.254"), is_public("::ffff:127.0.0.1")
    (True, False, False)
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def refused_address(error: BaseException | None) -> str | None:
    """The address that was refused, if that is behind an error."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if match := REFUSED.search(str(error)):
            return match[1]
        error = error.__cause__ or error.__context__
    return None
