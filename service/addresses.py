"""Addresses to listen on, of IPv4 and of IPv6."""

import socket


def family(host: str) -> socket.AddressFamily:
    """Which of the two a host is of."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def authority(host: str, port: int) -> str:
    """``host:port``; an address of IPv6 needs brackets there."""
    return f"[{host}]:{port}" if family(host) is socket.AF_INET6 else f"{host}:{port}"
