"""Certificates for tests of TLS, made by openssl."""

import subprocess
from pathlib import Path

import pytest


def make_certificates(folder: Path) -> None:
    """An authority, a server for `localhost`, and a caller, as PEM files."""

    def openssl(*arguments: str) -> None:
        try:
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("openssl is not installed: TLS was not tested")

    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    root = ["req", "-x509", *new_key, "-days", "2", "-subj", "/CN=test authority"]
    openssl(*root, "-keyout", "root.key", "-out", "root.pem")
    for name in ("server", "caller"):
        request = [
            "req",
            *new_key,
            "-subj",
            f"/CN={name}",
            "-addext",
            "subjectAltName=DNS:localhost",
        ]
        openssl(*request, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        sign = ["x509", "-req", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial"]
        copied = ["-days", "2", "-copy_extensions", "copy"]
        openssl(*sign, *copied, "-in", f"{name}.csr", "-out", f"{name}.pem")
