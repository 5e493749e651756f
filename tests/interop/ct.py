"""CT images in explicit VR little endian, byte by byte: what is stored is compared with them, so no toolkit writes them."""

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """A data element."""
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    tag = group.to_bytes(2, "little") + number.to_bytes(2, "little")
    if vr == b"OW":
        return tag + vr + bytes(2) + len(value).to_bytes(4, "little") + value
    return tag + vr + len(value).to_bytes(2, "little") + value


def image(uid: str, study: str, patient: bytes, pixels: bytes) -> bytes:
    """A dataset of series 1 of a study, with one element of group 0010."""
    return b"".join(
        (
            element(0x0008, 0x0016, b"UI", CT.encode()),
            element(0x0008, 0x0018, b"UI", uid.encode()),
            patient,
            element(0x0020, 0x000D, b"UI", study.encode()),
            element(0x0020, 0x000E, b"UI", f"{study}.1".encode()),
            element(0x7FE0, 0x0010, b"OW", pixels),
        )
    )
