"""Addresses to listen on, IPv4 and IPv6."""

import socket


def family(host: str) -> socket.AddressFamily:
    """The address family of a numeric host."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def authority(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if family(host) is socket.AF_INET6 else f"{host}:{port}"
