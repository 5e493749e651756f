"""`tidegate reconcile --destination` asks archives of other makes what they have."""

import json
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import corpus
import launch
import peers
from test_delivery import eventually, gateway, send, storescp


@contextmanager
def dcmqrscp(directory: Path):
    """DCMTK's archive."""
    port, database = peers.free_port(), directory / "database"
    database.mkdir()
    configuration = directory / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\nHostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {database} RW (200, 1024mb) ANY\nAETable END\n"
    )
    process = subprocess.Popen(["dcmqrscp", "--config", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        peers.wait_for_port(process, port)
        yield port
    finally:
        process.kill()
        process.wait()


def reconcile(node, directory: Path) -> tuple[int, dict]:
    arguments = ["reconcile", "--destination", "archive", "--json", "--config", str(directory / "gateway.toml"), "--storage", str(node.root)]
    output = subprocess.run([str(launch.program()), *arguments], capture_output=True, text=True, env=launch.environment())
    return output.returncode, json.loads(output.stdout)


def deliver(start_node, directory: Path, port: int, called: str, more: str = ""):
    """A node that has delivered a few studies."""
    node = gateway(start_node, directory, port, called, more)
    send(node, corpus.of_syntaxes(*corpus.UNCOMPRESSED)[:30])
    seen = []

    def is_delivered() -> bool:
        output = subprocess.run(
            [str(launch.program()), "outbox", "--json", "--storage", str(node.root)], capture_output=True, text=True, env=launch.environment()
        )
        rows = json.loads(output.stdout)["destinations"]
        if rows and rows[0]["waiting"] + rows[0]["retrying"] == 0:
            # The catalogue enters what is stored a moment later.
            if seen and seen[-1] == rows[0]["delivered"] > 0:
                return True
            seen.append(rows[0]["delivered"])
            time.sleep(2)
        return False

    assert eventually(is_delivered)
    return node


def test_dcmqrscp_has_what_it_took(start_node, tmp_path):
    with dcmqrscp(tmp_path) as port:
        # Of two associations at once, dcmqrscp 3.6.7 gives two instances one file name and keeps the later one.
        node = deliver(start_node, tmp_path, port, "ARCHIVE", "connections = 1")
        code, found = reconcile(node, tmp_path)
        assert (code, found["differences"], found["failed"]) == (0, 0, None), found
        assert found["instances"] > 0


def test_orthanc_says_what_it_has_lost(start_node, tmp_path):
    port = peers.free_port()
    settings = {"DicomServerEnabled": True, "DicomPort": port, "DicomCheckCalledAet": False, "DicomAlwaysAllowFind": True}
    server = peers.Orthanc(tmp_path, {}, **settings)
    try:
        node = deliver(start_node, tmp_path, port, "ORTHANC")
        code, found = reconcile(node, tmp_path)
        assert (code, found["differences"]) == (0, 0), found
        lost = server.get("/instances")[0]
        uid = server.get(f"/instances/{lost}")["MainDicomTags"]["SOPInstanceUID"]
        request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/instances/{lost}", method="DELETE")
        urllib.request.urlopen(request, timeout=60).close()
        code, found = reconcile(node, tmp_path)
        assert (code, [one["sop_instance_uid"] for one in found["named"]]) == (1, [uid]), found
    finally:
        server.stop()


def test_storescp_does_not_say_what_it_has(start_node, tmp_path):
    """It refuses the presentation context."""
    with storescp(tmp_path / "archive") as port:
        node = deliver(start_node, tmp_path, port, "ARCHIVE")
        code, found = reconcile(node, tmp_path)
        assert code == 5 and "C-FIND" in found["failed"], found
