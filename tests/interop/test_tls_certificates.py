"""Certificates as openssl makes them in hospitals: those that count, and those that are refused in the words of an administrator."""

import os
import subprocess
import time
from pathlib import Path

import pytest

import peers
from pki import Authority, openssl


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    authority.sign("ct1", "/CN=ct1", "DNS:ct1.example")
    return authority


def self_signed(authority: Authority, name: str, *arguments: str, key: str = "rsa:2048") -> Path:
    certificate, key_file = authority.directory / f"{name}.pem", authority.directory / f"{name}.key"
    curve = ["-pkeyopt", "ec_paramgen_curve:P-521"] if key == "ec" else []
    openssl("req", "-x509", "-newkey", key, *curve, "-nodes", "-days", 30, "-subj", f"/CN={name}", "-keyout", key_file, "-out", certificate, *arguments)
    return certificate


def version_1(authority: Authority, name: str) -> Path:
    """openssl makes version 1 of a request without extensions."""
    certificate, key, request = (authority.directory / f"{name}.{end}" for end in ("pem", "key", "csr"))
    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
    openssl("x509", "-req", "-in", request, "-signkey", key, "-days", 30, "-out", certificate)
    said = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-text"], check=True, capture_output=True, text=True).stdout
    if "Version: 1" not in said:
        pytest.skip("this openssl makes version 3 of every request")
    return certificate


def expired(authority: Authority, name: str) -> Path:
    """A self-signed certificate of 2020, by the part of openssl that takes dates."""
    directory = authority.directory
    self_signed(authority, name)
    request, settings = directory / f"{name}.csr", directory / f"{name}.cnf"
    openssl("req", "-new", "-key", directory / f"{name}.key", "-subj", f"/CN={name}", "-out", request)
    (directory / f"{name}.index").touch()
    settings.write_text(
        f"[ca]\ndefault_ca = d\n[d]\ndatabase = {directory}/{name}.index\nnew_certs_dir = {directory}\nrand_serial = yes\nunique_subject = no\n"
        "default_md = sha256\npolicy = p\nx509_extensions = e\n[p]\ncommonName = supplied\n[e]\nsubjectAltName = DNS:x.example\n"
    )
    dates = ["-startdate", "200101000000Z", "-enddate", "200201000000Z"]
    openssl("ca", "-batch", "-selfsign", "-notext", "-config", settings, "-keyfile", directory / f"{name}.key", *dates, "-in", request, "-out", directory / f"{name}.pem")
    return directory / f"{name}.pem"


def listed(authority: Authority, *certificates: Path) -> str:
    file = authority.directory / f"listed{len(list(authority.directory.glob('listed*')))}.pem"
    file.write_text("".join(certificate.read_text() for certificate in certificates))
    return str(file)


def echo(node, authority: Authority, name: str, *, version: str = "") -> bool:
    files = [authority.directory / f"{name}.key", authority.directory / f"{name}.pem"]
    options = ["+tls", *files, "+cf", authority.certificate, *([version] if version else [])]
    return peers.run("echoscu", "-v", "-aec", node.ae_title, *options, "127.0.0.1", node.tls_port, expect=None).returncode == 0


def handshake_failure(node, *words: str) -> str:
    """The line of the log with these words. It is written by a thread of its own."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = [line for line in node.log_path.read_text().splitlines() if "tls handshake failed" in line and all(word in line for word in words)]
        if lines:
            return lines[-1]
        time.sleep(0.05)
    raise AssertionError(f"{words} not in\n{node.log_path.read_text()}")


def test_a_certificate_that_is_listed_counts_by_identity(start_node, authority):
    made = [
        self_signed(authority, "usual"),
        self_signed(authority, "leaf", "-addext", "basicConstraints=critical,CA:FALSE"),
        self_signed(authority, "server-only", "-addext", "extendedKeyUsage=serverAuth"),
        version_1(authority, "old"),
        expired(authority, "late"),
    ]
    self_signed(authority, "stranger")
    # Signed with the key of a listed certificate that is no authority's.
    by = ["-CA", authority.directory / "leaf.pem", "-CAkey", authority.directory / "leaf.key", "-CAcreateserial"]
    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=forged", "-keyout", authority.directory / "forged.key", "-out", authority.directory / "forged.csr")
    openssl("x509", "-req", "-in", authority.directory / "forged.csr", *by, "-days", 30, "-out", authority.directory / "forged.pem", "-extfile", authority.directory / "ct1.ext")
    client_ca = listed(authority, authority.certificate, *made)
    node = start_node(**authority.settings(tls__client_auth="required", tls__client_ca=client_ca, log__repeat_interval="0s"))
    for name in ["ct1", "usual", "leaf", "server-only", "old"]:
        assert echo(node, authority, name), f"{name}\n{node.log_path.read_text()}"
    for name, words in [
        ("stranger", ["CN=stranger", "serial=", "issuer=", "self-signed and not listed in tls.client_ca", "WARN"]),
        ("late", ["CN=late", "it expired on 2020-02-01", "renew it"]),
        ("forged", ["CN=forged", "its issuer is not listed in tls.client_ca"]),
    ]:
        assert not echo(node, authority, name), name
        handshake_failure(node, *words)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_key_of_a_certificate_of_version_1_is_verified(start_node, authority, version):
    old = version_1(authority, "old")
    node = start_node(**authority.settings(tls__client_auth="required", tls__client_ca=listed(authority, old), log__repeat_interval="0s"))
    files = ["-cert", old, "-key", authority.directory / "old.key"]
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{node.tls_port}", version, *files, "-quiet"]
    subprocess.run(list(map(str, command)), input=b"no dicom", capture_output=True, timeout=60)
    deadline = time.monotonic() + 60
    while "unrecognized PDU of type" not in node.log_path.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "unrecognized PDU of type" in node.log_path.read_text(), node.log_path.read_text()
    assert "tls handshake failed" not in node.log_path.read_text(), node.log_path.read_text()


def test_a_weak_certificate_is_refused_by_name(start_node, authority):
    directory = authority.directory
    for name, key, digest in [("short", "rsa:1024", "-sha256"), ("sha1", "rsa:2048", "-sha1")]:
        openssl("req", "-new", "-newkey", key, "-nodes", "-subj", f"/CN={name}", "-keyout", directory / f"{name}.key", "-out", directory / f"{name}.csr")
        by = ["-CA", authority.certificate, "-CAkey", directory / "ca.key", "-CAcreateserial"]
        openssl("x509", "-req", digest, "-in", directory / f"{name}.csr", *by, "-days", 30, "-out", directory / f"{name}.pem", "-extfile", directory / "ct1.ext")
    node = start_node(**authority.settings(tls__client_auth="required", log__repeat_interval="0s"))
    for name, words in [("short", "RSA key of 1024 bits is too short"), ("sha1", "signed with SHA-1")]:
        context = ["-tls1_2", "-cipher", "DEFAULT@SECLEVEL=0", "-cert", directory / f"{name}.pem", "-key", directory / f"{name}.key"]
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{node.tls_port}", *context]
        subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        line = handshake_failure(node, f"CN={name}", words)
        assert "CN=Interop authority" in line and "serial=" in line, line


def test_a_certificate_above_the_peers_own_is_named(start_node, authority):
    """What openssl sends in between, and no path can have."""
    directory = authority.directory
    ca = ["-CA", authority.certificate, "-CAkey", directory / "ca.key", "-CAcreateserial"]
    (directory / "between.ext").write_text("basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n")
    node = start_node(**authority.settings(tls__client_auth="required", log__repeat_interval="0s"))
    for name, key, digest, extensions, words in [
        ("sha1-between", "rsa:2048", "-sha1", "between.ext", "is signed with SHA-1"),
        ("short-between", "rsa:1024", "-sha256", "between.ext", "RSA key of 1024 bits is too short"),
        ("no-authority", "rsa:2048", "-sha256", "ct1.ext", "does not say that it is an authority's"),
    ]:
        openssl("req", "-new", "-newkey", key, "-nodes", "-subj", f"/CN={name}", "-keyout", directory / f"{name}.key", "-out", directory / f"{name}.csr")
        openssl("x509", "-req", digest, "-in", directory / f"{name}.csr", *ca, "-days", 30, "-extfile", directory / extensions, "-out", directory / f"{name}.pem")
        by = ["-CA", directory / f"{name}.pem", "-CAkey", directory / f"{name}.key", "-CAcreateserial"]
        leaf = f"under-{name}"
        openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={leaf}", "-keyout", directory / f"{leaf}.key", "-out", directory / f"{leaf}.csr")
        openssl("x509", "-req", "-sha256", "-in", directory / f"{leaf}.csr", *by, "-days", 30, "-extfile", directory / "ct1.ext", "-out", directory / f"{leaf}.pem")
        shown = ["-cert", directory / f"{leaf}.pem", "-key", directory / f"{leaf}.key", "-cert_chain", directory / f"{name}.pem"]
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{node.tls_port}", "-tls1_2", "-cipher", "DEFAULT@SECLEVEL=0", *shown]
        subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        line = handshake_failure(node, f"CN={leaf}", words)
        assert f"the certificate above it (CN={name}, serial" in line and "have that one issued anew" in line, line


def check_config(**settings: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE__")}
    environment |= {f"TIDEGATE__{key.upper()}": value for key, value in settings.items()}
    return subprocess.run([os.environ["TIDEGATE_BIN"], "check-config"], env=environment, capture_output=True, text=True, timeout=60)


def test_what_is_wrong_with_a_file_is_told_in_words(authority):
    directory = authority.directory
    self_signed(authority, "weak", key="rsa:1024")
    self_signed(authority, "signed-badly", "-sha1")
    self_signed(authority, "curve", key="ec")
    version_1(authority, "old")
    self_signed(authority, "client-only", "-addext", "extendedKeyUsage=clientAuth")
    self_signed(authority, "long", key="rsa:5120")
    openssl("req", "-new", "-key", directory / "node.key", "-subj", "/CN=sha1-issued", "-out", directory / "sha1-issued.csr")
    by = ["-CA", authority.certificate, "-CAkey", directory / "ca.key", "-CAcreateserial", "-extfile", directory / "node.ext"]
    openssl("x509", "-req", "-sha1", "-in", directory / "sha1-issued.csr", *by, "-days", 30, "-out", directory / "sha1-issued.pem")
    openssl("pkcs12", "-export", "-in", directory / "node.pem", "-inkey", directory / "node.key", "-passout", "pass:secret", "-out", directory / "node.p12")
    openssl("crl2pkcs7", "-nocrl", "-certfile", directory / "node.pem", "-out", directory / "node.p7b")
    (directory / "node.p12").chmod(0o600)
    openssl("pkey", "-in", directory / "node.key", "-aes256", "-passout", "pass:secret", "-out", directory / "locked.key")
    openssl("pkey", "-in", directory / "node.key", "-outform", "DER", "-out", directory / "binary.key")
    for file in [*directory.glob("*.key"), directory / "node.pem"]:
        file.chmod(0o600)
    path = {file.stem + file.suffix: str(file) for file in directory.iterdir()}
    clients = {"tls__client_auth": "required"}
    for settings, words in [
        ({"tls__key": path["locked.key"]}, ["tls.key", "passphrase", "openssl pkey"]),
        ({"tls__key": path["binary.key"]}, ["tls.key", "DER"]),
        ({"tls__key": path["node.pem"]}, ["tls.key", "it has a certificate"]),
        ({"tls__key": path["ct1.key"]}, ["tls.key", "is the key of another certificate", "CN=localhost"]),
        ({"tls__certificate": path["old.pem"], "tls__key": path["old.key"]}, ["tls.certificate", "X.509 version 1", "CN=old"]),
        ({"tls__certificate": path["weak.pem"], "tls__key": path["weak.key"]}, ["tls.certificate", "RSA key of 1024 bits", "CN=weak"]),
        ({"tls__certificate": path["curve.pem"], "tls__key": path["curve.key"]}, ["tls.certificate", "P-521", "CN=curve"]),
        ({"tls__certificate": path["client-only.pem"], "tls__key": path["client-only.key"]}, ["tls.certificate", "extendedKeyUsage=serverAuth", "CN=client-only"]),
        ({"tls__certificate": path["long.pem"], "tls__key": path["long.key"]}, ["tls.certificate", "RSA key of 5120 bits", "at most 4096", "CN=long"]),
        ({"tls__certificate": path["sha1-issued.pem"]}, ["tls.certificate", "SHA-1", "CN=sha1-issued", "issued anew"]),
        ({"tls__certificate": path["node.p12"]}, ["tls.certificate", "PKCS#12", "openssl pkcs12", "-nokeys"]),
        ({"tls__key": path["node.p12"]}, ["tls.key", "PKCS#12", "openssl pkcs12", "-nocerts"]),
        ({"tls__certificate": path["node.p7b"]}, ["tls.certificate", "PKCS#7", "openssl pkcs7"]),
        (clients | {"tls__client_ca": path["node.p12"]}, ["tls.client_ca", "PKCS#12"]),
        (clients | {"tls__client_ca": path["weak.pem"]}, ["tls.client_ca", "certificate 1 (CN=weak, serial", "RSA key of 1024 bits"]),
        (clients | {"tls__client_ca": path["curve.pem"]}, ["tls.client_ca", "CN=curve", "P-521"]),
        (clients | {"tls__client_ca": path["signed-badly.pem"]}, ["tls.client_ca", "CN=signed-badly", "SHA-1"]),
    ]:
        said = check_config(**authority.settings(**settings))
        told = [line for line in said.stderr.splitlines() if all(word in line for word in words)]
        assert said.returncode == 2 and told, f"{words}\n{said.stderr}"


def test_a_certificate_that_signs_itself_with_sha_1_is_warned_of(authority):
    certificate, key = self_signed(authority, "sha1-self", "-sha1"), authority.directory / "sha1-self.key"
    key.chmod(0o600)
    said = check_config(**authority.settings(tls__certificate=str(certificate), tls__key=str(key)))
    assert said.returncode == 0 and "warning: tls.certificate" in said.stderr and "signed with SHA-1" in said.stderr, said.stderr


def test_a_certificate_that_has_expired_is_warned_of(authority):
    late = expired(authority, "late")
    key = authority.directory / "late.key"
    key.chmod(0o600)
    for settings, words in [
        ({"tls__certificate": str(late), "tls__key": str(key)}, "tls.certificate: the certificate (CN=late) has expired on 2020-02-01"),
        ({"tls__client_auth": "required", "tls__client_ca": str(late)}, "certificate 1 (CN=late, serial"),
    ]:
        said = check_config(**authority.settings(**settings))
        assert said.returncode == 0 and "warning: " in said.stderr and words in said.stderr, said.stderr
