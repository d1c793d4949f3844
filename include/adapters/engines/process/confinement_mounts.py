"""A view of the file system in which everything is read-only but what a confined command may write to.

Landlock has no rules for modes, times and extended attributes of files; on a read-only mount the kernel refuses to
change them. Loaded by :mod:`confinement_launcher`, so it needs only the standard library.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
MOUNT_SETATTR = 442
"""The number of mount_setattr(2) on all architectures; since Linux 5.12."""
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 0x1
SHARED_MEMORY = "/dev/shm"


def make_read_only(writable: Sequence[str], memory_mb: int) -> None:
    """Enter a mount namespace in which only ``writable`` (existing files and folders) can be changed.

    /dev/shm becomes an empty file system of its own, of at most ``memory_mb`` MiB, which ends with the last process in
    the namespace. As root, it needs CAP_SYS_ADMIN; else it needs user namespaces. Change the working directory
    afterwards: the current one still is in the old view. Raises OSError if the kernel does not allow it; the namespaces
    may have been entered by then, which changes nothing else.
    """
    enter_namespaces()
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    paths = [os.path.realpath(path) for path in writable]
    paths = [path for path in paths if not is_device(path) and os.path.exists(path) and path != SHARED_MEMORY]
    for path in paths:
        mount(path, path, None, MS_BIND)
    if os.path.isdir(SHARED_MEMORY):
        mount("tmpfs", SHARED_MEMORY, "tmpfs", MS_NOSUID | MS_NODEV, f"size={memory_mb}M,mode=1777")
        paths.append(SHARED_MEMORY)
    set_read_only("/", AT_RECURSIVE, True)
    for path in paths:
        set_read_only(path, 0, False)


def enter_namespaces() -> None:
    """A mount namespace of its own; unless root may make one, inside of a user namespace with the same ids."""
    try:
        call("unshare", ctypes.c_int(CLONE_NEWNS))
    except OSError:
        user, group = os.geteuid(), os.getegid()
        call("unshare", ctypes.c_int(CLONE_NEWUSER | CLONE_NEWNS))
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")


def is_device(path: str) -> bool:
    """Whether this is a device, which can be written to on a read-only mount as well."""
    return path.startswith("/dev/") and not os.path.isdir(path)


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2)."""
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    data = None if options is None else options.encode()
    call("mount", *map(ctypes.c_char_p, texts), ctypes.c_ulong(flags), ctypes.c_char_p(data))


def set_read_only(path: str, flags: int, read_only: bool) -> None:
    """mount_setattr(2): make a mount read-only, or writable again."""
    attributes = (MOUNT_ATTR_RDONLY, 0) if read_only else (0, MOUNT_ATTR_RDONLY)
    content = struct.pack("QQQQ", *attributes, 0, 0)
    arguments = (ctypes.c_int(AT_FDCWD), ctypes.c_char_p(path.encode()), ctypes.c_uint(flags), content)
    call("syscall", ctypes.c_long(MOUNT_SETATTR), *arguments, ctypes.c_size_t(len(content)))


def call(name: str, *arguments: object) -> None:
    """Call a function of the C library; OSError with its own number if it fails."""
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":  # whether this machine allows it
    make_read_only([], 1)
