"""A-ASSOCIATE-RQs that are malformed but look real, each in front of a dataset as it should be: fragments of pynetdicom's test PDUs and
of what implementations are known to send."""

import struct
import zlib
from collections.abc import Iterator

from corpus import EXPLICIT, IMPLICIT
from malformed_datasets import CT, Base, Case
from pynetdicom.tests import encoded_pdu_items as encoded
from wire import APPLICATION_CONTEXT, associate_rq, context, item, pdu, user_information

CLASS, SYNTAX = CT.encode(), EXPLICIT.encode()
VERIFICATION = b"1.2.840.10008.1.1"
APPLICATION = item(0x10, APPLICATION_CONTEXT)
STORAGE = context(1, CLASS, SYNTAX)
USER = user_information()
NOTHING = struct.pack(">L", 0)


def _items() -> Iterator[tuple[str, bytes]]:
    """Items unknown, missing, repeated and in another order."""
    yield "an unknown item in front", associate_rq(item(0x77, b"abcd"), APPLICATION, STORAGE, USER)
    yield "an unknown item in the middle", associate_rq(APPLICATION, item(0x11, b""), STORAGE, item(0x99, b"x" * 300), USER)
    yield "an unknown item at the end", associate_rq(APPLICATION, STORAGE, USER, item(0xFE, b"odd"))
    yield "an item of an answer", associate_rq(APPLICATION, item(0x21, b"\1\0\0\0" + item(0x40, SYNTAX)), STORAGE, USER)
    yield "no application context", associate_rq(STORAGE, USER)
    yield "an empty application context", associate_rq(encoded.application_context_empty, STORAGE, USER)
    yield "an unknown application context", associate_rq(item(0x10, b"1.2.3"), STORAGE, USER)
    yield "two application contexts", associate_rq(APPLICATION, APPLICATION, STORAGE, USER)
    yield "an application context padded with a blank", associate_rq(item(0x10, APPLICATION_CONTEXT + b" "), STORAGE, USER)
    yield "an application context padded with zeros", associate_rq(item(0x10, APPLICATION_CONTEXT + b"\0\0\0"), STORAGE, USER)
    yield "no user information", associate_rq(APPLICATION, STORAGE)
    yield "empty user information", associate_rq(APPLICATION, STORAGE, item(0x50, b""))
    yield "user information twice", associate_rq(APPLICATION, STORAGE, USER, USER)
    yield "user information in front", associate_rq(USER, APPLICATION, STORAGE)
    yield "items in reverse order", associate_rq(USER, STORAGE, APPLICATION)
    yield "no items", associate_rq()


def _contexts() -> Iterator[tuple[str, bytes]]:
    """Presentation contexts."""
    number = bytes([1, 0, 0, 0])
    other = lambda value: associate_rq(APPLICATION, STORAGE, value, USER)
    yield "another context without abstract syntax", other(item(0x20, bytes([3, 0, 0, 0]) + item(0x40, SYNTAX)))
    yield "another context without transfer syntax", other(context(3, VERIFICATION))
    yield "another context of an even number", other(context(2, VERIFICATION, IMPLICIT.encode()))
    yield "another context of number 0", other(context(0, VERIFICATION, IMPLICIT.encode()))
    yield "another context of the same number", other(context(1, VERIFICATION, IMPLICIT.encode()))
    yield "the same context twice", other(STORAGE)
    yield "another context of two abstract syntaxes", other(item(0x20, bytes([3, 0, 0, 0]) + item(0x30, CLASS) + item(0x30, VERIFICATION) + item(0x40, SYNTAX)))
    yield "another context that is empty", other(item(0x20, b""))
    yield "another context of two bytes", other(item(0x20, b"\3\0"))
    yield "another context with UTF-8 in its UID", other(encoded.presentation_context_rq_utf8)
    yield "another context with an empty abstract syntax", other(context(3, b"", SYNTAX))
    yield "another context with an empty transfer syntax", other(context(3, VERIFICATION, b""))
    yield "another context with a sub-item cut off", other(item(0x20, bytes([3, 0, 0, 0]) + item(0x30, VERIFICATION) + item(0x40, SYNTAX, longer=9)))
    yield "another context with letters in its UID", other(context(3, b"1.2.840.ABC", SYNTAX))
    yield "another context with a UID of 100 characters", other(context(3, b"1." + b"2" * 98, SYNTAX))
    only = lambda value: associate_rq(APPLICATION, value, USER)
    yield "transfer syntax in front of abstract syntax", only(item(0x20, number + item(0x40, SYNTAX) + item(0x30, CLASS)))
    yield "UIDs padded with zeros", only(context(1, CLASS + b"\0", SYNTAX + b"\0"))
    yield "UIDs padded with blanks", only(context(1, CLASS + b" ", SYNTAX + b" "))
    yield "an unknown sub-item in the context", only(item(0x20, number + item(0x30, CLASS) + item(0x45, b"xy") + item(0x40, SYNTAX)))
    yield "result and reserved bytes set", only(item(0x20, b"\1\xff\xff\xff" + item(0x30, CLASS) + item(0x40, SYNTAX)))
    yield "the transfer syntax twice", only(context(1, CLASS, SYNTAX, SYNTAX))
    yield "unknown transfer syntaxes in front", only(context(1, CLASS, SYNTAX, b"1.2.3.4", b"not a uid", b""))
    yield "zeros behind the sub-items", only(item(0x20, number + item(0x30, CLASS) + item(0x40, SYNTAX) + bytes(4)))
    yield "a byte behind the sub-items", only(item(0x20, number + item(0x30, CLASS) + item(0x40, SYNTAX) + b"\0"))
    yield "128 contexts", associate_rq(APPLICATION, STORAGE, *(context(n, VERIFICATION, IMPLICIT.encode()) for n in range(3, 256, 2)), USER)
    yield "200 contexts", associate_rq(APPLICATION, STORAGE, *(context(n % 256, VERIFICATION, IMPLICIT.encode()) for n in range(3, 401, 2)), USER)
    yield "50 transfer syntaxes", only(context(1, CLASS, SYNTAX, *(b"1.2.840.10008.1.2.4.%d" % n for n in range(50, 99))))
    yield "no context", associate_rq(APPLICATION, USER)


def _user_information() -> Iterator[tuple[str, bytes]]:
    """Sub-items of the user information."""
    whole = lambda value: associate_rq(APPLICATION, STORAGE, item(0x50, value))
    length, uid, name = item(0x51, struct.pack(">L", 16384)), item(0x52, b"1.2.3"), item(0x55, b"NAME")
    yield "out of order", whole(name + uid + length)
    yield "only the maximum length", whole(length)
    yield "no maximum length", whole(uid + name)
    yield "no implementation class UID", whole(length + name)
    yield "an empty implementation class UID", whole(length + encoded.implementation_class_uid_empty)
    yield "an empty version name", whole(length + uid + encoded.implementation_version_name_empty)
    yield "a version name of 40 characters", whole(length + uid + item(0x55, b"A" * 40))
    yield "a version name in UTF-8", whole(length + uid + item(0x55, "Kölner Gerät".encode()))
    yield "letters in the implementation class UID", whole(length + item(0x52, b"1.2.ABC") + name)
    yield "a maximum length of 0", whole(item(0x51, NOTHING) + uid)
    yield "a maximum length of FFFFFFFF", whole(item(0x51, b"\xff\xff\xff\xff") + uid)
    yield "a maximum length of 2 bytes", whole(item(0x51, b"\x40\0") + uid)
    yield "a maximum length of 8 bytes", whole(item(0x51, struct.pack(">LL", 16384, 0)) + uid)
    yield "the maximum length twice", whole(length + length + uid)
    yield "an odd maximum length", whole(item(0x51, struct.pack(">L", 16381)) + uid)
    yield "an unknown sub-item", whole(length + uid + item(0x99, b"?") + name)
    yield "zeros behind it", whole(length + uid + name + bytes(6))
    yield "a sub-item cut off", whole(length + uid + item(0x55, b"NAME", longer=3))
    yield "a role of an odd UID", whole(length + uid + encoded.role_selection_odd)
    yield "a role of a class that is not proposed", whole(length + uid + item(0x54, struct.pack(">H", 17) + VERIFICATION + b"\1\1"))
    yield "a role without its flags", whole(length + uid + item(0x54, struct.pack(">H", len(CLASS)) + CLASS))
    yield "a role with both flags", whole(length + uid + item(0x54, struct.pack(">H", len(CLASS)) + CLASS + b"\1\1"))
    yield "an operations window of 0", whole(length + uid + item(0x53, NOTHING))
    yield "an operations window of 2 bytes", whole(length + uid + item(0x53, b"\0\5"))
    yield "a common extended negotiation", whole(length + uid + encoded.common_extended_negotiation)
    yield "an extended negotiation", whole(length + uid + encoded.extended_negotiation)
    yield "a user identity", whole(length + uid + encoded.user_identity_rq_user_nopw)
    yield "a user identity of unknown type", whole(length + uid + item(0x58, b"\x0a\1" + struct.pack(">H", 3) + b"abc" + b"\0\0"))
    yield "a user identity cut off", whole(length + uid + item(0x58, b"\1\1" + struct.pack(">H", 30) + b"abc"))


def _titles() -> Iterator[tuple[str, bytes]]:
    """AE titles and fixed fields."""
    rest = (APPLICATION, STORAGE, USER)
    for name, calling in (
        ("in ISO 8859-1", b"R\xd6NTGEN"),
        ("in UTF-8", "RÖNTGEN".encode()),
        ("with a NUL and text behind it", b"CT7\0junk"),
        ("padded with zeros", b"CT7".ljust(16, b"\0")),
        ("of blanks", b" " * 16),
        ("of zeros", bytes(16)),
        ("with a backslash", b"CT\\7"),
        ("with control characters", b"CT\n7\x1b[31m"),
        ("in lower case", b"my modality"),
        ("behind blanks", b"      CT7"),
        ("of 16 bytes FF", b"\xff" * 16),
    ):
        yield f"a calling title {name}", associate_rq(*rest, calling=calling)
    yield "a called title in lower case", associate_rq(*rest, called=b"tidegate")
    yield "a called title padded with zeros", associate_rq(*rest, called=b"TIDEGATE\0\0\0\0\0\0\0\0")
    yield "a called title in ISO 8859-1", associate_rq(*rest, called=b"TIDEG\xc4TE")
    yield "version 0", associate_rq(*rest, version=0)
    yield "version 2", associate_rq(*rest, version=2)
    yield "version 3", associate_rq(*rest, version=3)
    yield "version FFFF", associate_rq(*rest, version=0xFFFF)
    whole = bytearray(associate_rq(*rest))
    whole[8:10] = b"\xff\xff"
    whole[42:74] = b"\xab" * 32
    yield "reserved bytes set", bytes(whole)
    whole = bytearray(associate_rq(*rest))
    whole[1] = 0xFF
    yield "the reserved byte of the PDU header set", bytes(whole)


def _lengths() -> Iterator[tuple[str, bytes]]:
    """Lengths that lie, and bytes behind the items."""
    value = associate_rq(APPLICATION, STORAGE, USER)[6:]
    yield "two zeros within the PDU", pdu(1, value + bytes(2))
    yield "20 zeros within the PDU", pdu(1, value + bytes(20))
    yield "one zero within the PDU", pdu(1, value + b"\0")
    yield "rubbish within the PDU", pdu(1, value + b"\xde\xad\xbe\xef\xff\xff")
    yield "one byte within the PDU", pdu(1, value + b"\x42")
    yield "the PDU one byte short", pdu(1, value[:-1])
    yield "the PDU cut in its user information", pdu(1, value[: -len(USER) + 6])
    yield "the PDU cut in its titles", pdu(1, value[:30])
    yield "an empty PDU", pdu(1, b"")
    yield "a PDU of length 67", pdu(1, value[:67])
    yield "the application context one byte longer", associate_rq(item(0x10, APPLICATION_CONTEXT, longer=1), STORAGE, USER)
    yield "the application context one byte shorter", associate_rq(item(0x10, APPLICATION_CONTEXT, longer=-1), STORAGE, USER)
    yield "the presentation context one byte longer", associate_rq(APPLICATION, item(0x20, STORAGE[4:], longer=1), USER)
    yield "the presentation context one byte shorter", associate_rq(APPLICATION, item(0x20, STORAGE[4:], longer=-1), USER)
    yield "the user information one byte longer", associate_rq(APPLICATION, STORAGE, item(0x50, USER[4:], longer=1))
    yield "the user information one byte shorter", associate_rq(APPLICATION, STORAGE, item(0x50, USER[4:], longer=-1))
    yield "the user information 400 bytes longer", associate_rq(APPLICATION, STORAGE, item(0x50, USER[4:], longer=400))
    abstract = lambda longer: item(0x20, bytes([1, 0, 0, 0]) + item(0x30, CLASS, longer=longer) + item(0x40, SYNTAX))
    yield "the abstract syntax one byte longer", associate_rq(APPLICATION, abstract(1), USER)
    yield "the abstract syntax one byte shorter", associate_rq(APPLICATION, abstract(-1), USER)
    yield "the transfer syntax one byte longer", associate_rq(APPLICATION, item(0x20, bytes([1, 0, 0, 0]) + item(0x30, CLASS) + item(0x40, SYNTAX, longer=1)), USER)


def _pynetdicom() -> Iterator[tuple[str, bytes]]:
    """pynetdicom's test PDUs, with the storage context behind theirs."""
    for name in (
        "a_associate_rq",
        "a_associate_rq_user_async",
        "a_associate_rq_role",
        "a_associate_rq_user_id_user_pass",
        "a_associate_rq_user_id_ext_neg",
        "a_associate_rq_com_ext_neg",
        "a_associate_rq_called",
        "a_associate_rq_calling",
    ):
        value = getattr(encoded, name)[6:]
        yield f"pynetdicom's {name}", pdu(1, value + context(127, CLASS, SYNTAX))


def cases(base: Base) -> list[Case]:
    """Each kind of request in front of the same dataset."""
    found = []
    for kind in (_items, _contexts, _user_information, _titles, _lengths, _pynetdicom):
        for name, request in kind():
            number = 127 if kind is _pynetdicom else 1
            found.append(base.case(f"request: {name}", lambda e: e, request=request, context=number))
    return found
