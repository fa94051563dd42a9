"""Lets chdb write to replicated tables.

A replica first tells the others at which address they fetch its parts, and is read-only without
one. chdb serves no parts, and never reads `interserver_http_port`; so the check for an address is
taken out of the engine, in memory. Replicas are then what they are in ClickHouse's server, but for
this: none can fetch a part that another has.
"""

import ctypes
import mmap
import os

from chdb import _chdb

# In DB::Context::getInterserverIOAddress of chdb-core 26.9.0 for x86-64. Another release may have
# other offsets; it is the only function that refers to the message.
CHECK = bytes.fromhex(
    "4885c0 7454"  # no host: throw
    "410fb78668010000 6685c0 7447"  # no port: throw
    "84c9"
)
JUMPS = (3, 16)
REFERENCE = 111
MESSAGE = b"Parameter 'interserver_http(s)_port' required for replication"
NO_OPERATION = b"\x90\x90"

LIBRARY = os.path.realpath(_chdb.__file__)


def wake():
    check = only(CHECK)
    distance = ctypes.c_int32.from_address(check + REFERENCE + 3).value
    message = check + REFERENCE + 7 + distance
    if ctypes.string_at(message, len(MESSAGE)) != MESSAGE:
        raise SystemExit("chdb-core: what looks like the check for an address is none")
    page = check & -mmap.PAGESIZE
    protect(page, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    for jump in JUMPS:
        ctypes.memmove(check + jump, NO_OPERATION, len(NO_OPERATION))
    protect(page, mmap.PROT_READ | mmap.PROT_EXEC)


def only(code):
    """The address of what is in the engine once."""
    found = []
    with open(LIBRARY, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as engine:
        for start, end, offset in executable():
            at = engine.find(code, offset, offset + end - start)
            while at >= 0:
                found.append(start + at - offset)
                at = engine.find(code, at + 1, offset + end - start)
    if len(found) != 1:
        raise SystemExit(f"chdb-core: the check for an address is there {len(found)} times, not once")
    return found[0]


def executable():
    with open("/proc/self/maps") as maps:
        for line in maps:
            addresses, mode, offset, _, _, *path = line.split(maxsplit=5)
            if "x" in mode and path and path[0].strip() == LIBRARY:
                start, end = (int(address, 16) for address in addresses.split("-"))
                yield start, end, int(offset, 16)


def protect(page, mode):
    libc = ctypes.CDLL(None, use_errno=True)
    # The code may go on in the next page.
    if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(2 * mmap.PAGESIZE), mode):
        raise OSError(ctypes.get_errno(), "mprotect")
