"""The surface on an address that others can reach: it asks who they are, or does not start."""

import os
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    """An authority, and a certificate of it for the surface and for a client; a stranger's beside it."""
    names = tmp_path / "names"
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    for authority in ("ca", "stranger-ca"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={authority}", "-keyout", f"{tmp_path}/{authority}.key", "-out", f"{tmp_path}/{authority}.pem")  # fmt: skip
    for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "stranger-ca")):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{tmp_path}/{name}.key", "-out", f"{tmp_path}/{name}.csr")  # fmt: skip
        openssl("x509", "-req", "-in", f"{tmp_path}/{name}.csr", "-CA", f"{tmp_path}/{authority}.pem",
                "-CAkey", f"{tmp_path}/{authority}.key", "-CAcreateserial", "-days", "2", "-extfile", str(names),
                "-out", f"{tmp_path}/{name}.pem")  # fmt: skip
    return tmp_path


def test_only_clients_of_the_authority_are_served(start_node, pki):
    node = start_node(
        admin__tls_certificate=f"{pki}/server.pem",
        admin__tls_key=f"{pki}/server.key",
        admin__tls_client_ca=f"{pki}/ca.pem",
    )
    assert node.url.startswith("https://")

    def live(client: str | None) -> int:
        context = ssl.create_default_context(cafile=f"{pki}/ca.pem")
        if client:
            context.load_cert_chain(f"{pki}/{client}.pem", f"{pki}/{client}.key")
        with urllib.request.urlopen(node.url + "/api/status", timeout=30, context=context) as answer:
            return answer.status

    assert live("client") == 200
    for other in (None, "stranger"):
        # The handshake is refused, or the connection is closed before an answer.
        with pytest.raises((urllib.error.URLError, OSError)):
            live(other)


def test_beyond_the_loopback_it_does_not_start_without_asking_anything(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE__")}
    program = str(Path(os.environ["TIDEGATE_BIN"]).resolve())
    said = subprocess.run(
        [program, "run", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0", "--storage", str(tmp_path / "s")],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert said.returncode == 2 and "set admin.tls_certificate and admin.tls_key, and admin.token_file" in said.stderr, said.stderr
    assert not (tmp_path / "s").exists(), "nothing was started"
