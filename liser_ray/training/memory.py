"""What the C library does with freed memory: by default large blocks go back to the system, and come as new pages.

The maps of the student's first block take 38 MB for a batch of 25. Clearing their pages anew in each step cost it 40 %
of its time on a CPU (docs/student.md).
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGE = 2**30

KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(_LARGE),
    "MALLOC_TRIM_THRESHOLD_": str(_LARGE),
    "MALLOC_ARENA_MAX": "1",
}
"""Environment of a process that keeps it, whatever thread works in it; glibc reads it at the process's start."""


def keep_freed_memory() -> None:
    """Ask the C library of this process to keep large freed blocks; where it is not glibc, do nothing.

    It helps other threads than the main one less: their arenas are heaps of 64 MB, which go back as soon as they are
    empty (see `KEEP_FREED_MEMORY`).
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_M_TRIM_THRESHOLD, _LARGE)
