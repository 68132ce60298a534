"""Which addresses a webhook may reach: public ones, unless private ones are allowed."""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Final

from streamapp.sinks.protocol import Fatal, Retryable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]

#: Prefix of NAT64 (RFC 6052): its last 32 bits are an IPv4 address.
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
#: Deprecated IPv4-compatible addresses (RFC 4291, 2.5.5.1).
_COMPATIBLE: Final = ipaddress.ip_network("::/96")


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system resolves it, in its order of preference.

    Numeric forms that the system accepts (decimal, octal, hex) come back as what they mean.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Retryable(f"resolving the webhook's host failed: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def checked_address(host: str, port: int, allow_private: bool, resolver: Resolver = resolve) -> str:
    """One address of the host to connect to. Raises Fatal if any of them is not allowed.

    The caller connects to exactly this address: a second look-up could answer differently (DNS
    rebinding).
    """
    addresses = resolver(host, port)
    if not addresses:
        raise Retryable("the webhook's host has no address")
    if not allow_private:
        for text in addresses:
            if not is_public(ipaddress.ip_address(text.partition("%")[0])):
                raise Fatal(
                    "the webhook's host resolves to a private, loopback, link-local or reserved"
                    " address; set STREAMAPP_ALERTS__WEBHOOK__ALLOW_PRIVATE=true if that is meant"
                )
    return addresses[0]


def is_public(address: Address) -> bool:
    """Whether the address, and any IPv4 address inside it, is of the public internet."""
    inner = _embedded(address)
    if inner is not None:
        return is_public(inner)
    return address.is_global and not address.is_multicast


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
