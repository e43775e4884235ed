"""IP addresses: this machine's own, those of trusted proxies, and the network of a viewer."""

import ipaddress
from functools import cache

from costwhy.errors import UsageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def read_address(text: str) -> Address | None:
    """Parse an address; IPv4 mapped into IPv6 becomes IPv4. None where the text is not one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    address = read_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


@cache
def networks(proxies: tuple[str, ...]) -> list[Network]:
    """The networks of the listed proxies.

    Raises UsageError where an entry is not a network, or contains every address.
    """
    found = []
    for text in proxies:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise UsageError(
                "a proxy is listed by its address",
                found=repr(text),
                fix="give one such as 10.0.0.5 or 10.0.0.0/28",
            ) from error
        if network.prefixlen == 0:
            raise UsageError(
                "this lists every address as a trusted proxy",
                found=repr(text),
                fix="list the proxies' own addresses",
            )
        found.append(network)
    return found


def is_listed(text: str, proxies: tuple[str, ...]) -> bool:
    """Whether the address is one of a listed proxy."""
    address = read_address(text)
    return address is not None and any(address in network for network in networks(proxies))


def network_of(text: str) -> str:
    """The addresses that one person can use: an IPv4 address, or the /64 network of an IPv6 one."""
    address = read_address(text)
    if address is None or address.version == 4:
        return str(address or text)
    return str(ipaddress.ip_network(f"{address}/64", strict=False))
