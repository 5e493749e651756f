"""Certificates made by openssl, in files."""

import ssl
import subprocess
from pathlib import Path


def openssl(*arguments) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, stdin=subprocess.DEVNULL)


class Authority:
    """An authority of RSA 3072, and what it signs: `<name>.pem` and `<name>.key` in `directory`."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.certificate = directory / "ca.pem"
        self._request("ca", "/CN=Interop authority", "-x509", "-days", 30, out=self.certificate)
        self.node = self.sign("node", "/CN=localhost", "DNS:localhost,IP:127.0.0.1")

    def _request(self, name: str, subject: str, *arguments, out: Path) -> None:
        key = self.directory / f"{name}.key"
        openssl("req", "-new", "-newkey", "rsa:3072", "-nodes", "-subj", subject, "-keyout", key, "-out", out, *arguments)

    def sign(self, name: str, subject: str, alternatives: str) -> tuple[Path, Path]:
        request, extensions = self.directory / f"{name}.csr", self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternatives}\nbasicConstraints=CA:FALSE\n")
        certificate = self.directory / f"{name}.pem"
        self._request(name, subject, out=request)
        by = ["-CA", self.certificate, "-CAkey", self.directory / "ca.key", "-CAcreateserial"]
        openssl("x509", "-req", "-in", request, *by, "-days", 30, "-extfile", extensions, "-out", certificate)
        return certificate, self.directory / f"{name}.key"

    def settings(self, **more: str) -> dict[str, str]:
        """What a node needs to serve TLS with the certificate `node`."""
        certificate, key = self.node
        return {
            "tls__listen": "127.0.0.1:0",
            "tls__certificate": str(certificate),
            "tls__key": str(key),
            "tls__client_ca": str(self.certificate),
            **more,
        }

    def server_context(self, name: str) -> ssl.SSLContext:
        """For a server with the certificate of that name, which serves only clients with one of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / f"{name}.pem", self.directory / f"{name}.key")
        context.load_verify_locations(self.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def orthanc_settings(self, name: str) -> dict:
        """The same for an Orthanc."""
        return {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(self.directory / f"{name}.pem"),
            "DicomTlsPrivateKey": str(self.directory / f"{name}.key"),
            "DicomTlsTrustedCertificates": str(self.certificate),
            "DicomTlsRemoteCertificateRequired": True,
        }

    def revoke(self, name: str, crl: Path) -> None:
        """Writes a list of revoked certificates that has this one."""
        settings, index, number = (self.directory / f"crl.{end}" for end in ("cnf", "index", "number"))
        index.touch()
        number.write_text("01\n")
        settings.write_text(f"[ca]\ndefault_ca = it\n[it]\ndatabase = {index}\ncrlnumber = {number}\ndefault_md = sha256\ndefault_crl_days = 30\n")
        by = ["ca", "-config", settings, "-keyfile", self.directory / "ca.key", "-cert", self.certificate]
        openssl(*by, "-revoke", self.directory / f"{name}.pem")
        openssl(*by, "-gencrl", "-out", crl)
