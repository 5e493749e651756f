"""An archive that a test can take away, and that refuses what the test says."""

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage

import peers


class Archive:
    """It answers C-STORE with the status that `refused` has for the SOP Instance UID, or success; and is off until `listen`."""

    def __init__(self, ae_title: str, refused: dict[str, int | Dataset] | None = None):
        self.ae_title, self.port = ae_title, peers.free_port()
        self.refused = refused or {}
        self.asked: list[str] = []
        self.stored: list[str] = []
        self.server = None

    def listen(self) -> "Archive":
        entity = AE(self.ae_title)
        entity.add_supported_context(CTImageStorage)
        self.server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        return self

    def close(self) -> None:
        if self.server:
            self.server.shutdown()

    def _store(self, event) -> int | Dataset:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.asked.append(uid)
        status = self.refused.get(uid, 0)
        if status == 0:
            self.stored.append(uid)
        return status

    def table(self, name: str, more: str = "") -> str:
        """The table of the configuration of a node that delivers to it."""
        return f'[[destination]]\nname = "{name}"\naddress = "127.0.0.1:{self.port}"\ncalled = "{self.ae_title}"\nattempts = 1\n{more}\n'
