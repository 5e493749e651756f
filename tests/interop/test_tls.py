"""TLS with DCMTK's, pynetdicom's and openssl's own clients."""

import ssl
import subprocess

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

import corpus
import peers
from checks import check_all_stored
from pki import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("pki"))
    authority.sign("client", "/O=Example Hospital/CN=ct1.example", "DNS:ct1.example")
    return authority


def dcmtk(name, node, *arguments, expect=0):
    return peers.run(name, "-v", "-aec", node.ae_title, *arguments, "127.0.0.1", node.tls_port, expect=expect)


def client_files(authority):
    return [authority.directory / "client.key", authority.directory / "client.pem"]


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_storescu_with_every_profile_of_the_standard_that_is_not_retired(start_node, authority, profile):
    """BCP 195, the modified one, and the extended one (PS3.15 B.9 to B.12)."""
    node = start_node(**authority.settings())
    sample = corpus.sample("test_files/CT_small.dcm")
    options = ["--anonymous-tls", profile, "+cf", authority.certificate]
    peers.run("storescu", "-v", *options, "-aec", node.ae_title, "127.0.0.1", node.tls_port, sample.path)
    assert [file.sop_instance for file in node.stored()] == [sample.sop_instance]


def test_storescu_with_a_certificate_sends_everything(start_node, authority):
    node = start_node(**authority.settings(tls__client_auth="required", storage__duplicates="keep-both"))
    files = [sample.path for sample in corpus.of_syntaxes(*corpus.UNCOMPRESSED)]
    options = ["+tls", *client_files(authority), "+cf", authority.certificate, "--required", "--no-halt"]
    titles = ["-aet", "STORESCU", "-aec", node.ae_title]
    peers.run("storescu", "-v", *options, *titles, "127.0.0.1", node.tls_port, *files, expect=None)
    assert len(node.files()) > 50
    check_all_stored(node, calling="STORESCU")


def test_a_peer_without_a_certificate_is_refused_where_one_is_required(start_node, authority):
    node = start_node(**authority.settings(tls__client_auth="required"))
    options = ["--anonymous-tls", "+cf", authority.certificate]
    assert dcmtk("echoscu", node, *options, expect=None).returncode != 0
    dcmtk("echoscu", node, "+tls", *client_files(authority), "+cf", authority.certificate)


def context(authority, version) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(authority.directory / "client.pem", authority.directory / "client.key")
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_pynetdicom(start_node, authority, version):
    node = start_node(**authority.settings(tls__client_auth="required"))
    ae = AE()
    ae.add_requested_context(Verification)
    ae.add_requested_context(CTImageStorage)
    association = ae.associate("127.0.0.1", node.tls_port, tls_args=(context(authority, version), "localhost"))
    assert association.is_established
    assert association.send_c_echo().Status == 0
    assert association.send_c_store(corpus.sample("test_files/CT_small.dcm").path).Status == 0
    association.release()
    assert len(node.files()) == 1


def s_client(node, authority, *arguments) -> subprocess.CompletedProcess:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{node.tls_port}", "-CAfile", authority.certificate]
    command += ["-verify_return_error", "-brief", *arguments]
    # Old versions are off in openssl itself unless its security level allows them.
    return subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "served"),
    [
        (["-tls1_3"], True),
        (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], True),
        (["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"], True),
        (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"], False),
        (["-tls1_2", "-cipher", "AES128-GCM-SHA256"], False),
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], False),
        (["-tls1", "-cipher", "ALL:@SECLEVEL=0"], False),
    ],
)
def test_only_the_profile_is_spoken(start_node, authority, arguments, served):
    node = start_node(**authority.settings())
    done = s_client(node, authority, *arguments)
    assert ("CONNECTION ESTABLISHED" in done.stderr) == served, done.stderr
