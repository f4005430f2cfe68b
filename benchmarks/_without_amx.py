"""Forbid this process the CPU's matrix unit (AMX), so that figures hold for CPUs without one.

Phones and most computers have no such unit. With it, an int8 layer of 128 channels costs as much in
copies as in multiplications, and fewer multiplications save little: figures from a CPU with AMX are
not those of a phone.

A process asks the Linux kernel for AMX before its first use (arch_prctl, ARCH_REQ_XCOMP_PERM). A
seccomp filter refuses that one request; XNNPACK and oneDNN then take the kernels that they have for
CPUs without AMX. Call `deny_amx` before TensorFlow or LiteRT is imported: a permission once granted
cannot be taken back. Child processes inherit the refusal. For any script:

    python -m benchmarks._without_amx SCRIPT.py ARGUMENTS
"""

import ctypes
import errno
import pathlib
import platform
import runpy
import struct
import sys

# asm/prctl.h and asm/unistd_64.h
_SYS_ARCH_PRCTL = 158
_GET_PERMISSIONS, _ASK_PERMISSION = 0x1022, 0x1023
_TILE_DATA = 18  # the AMX state's bit
# linux/prctl.h, linux/seccomp.h, linux/audit.h
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_X86_64 = 0xC000003E
# linux/bpf_common.h: load a word of seccomp_data, jump if equal, return
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def has_amx() -> bool:
    """Whether this CPU has AMX, by its flags; False where there is no /proc/cpuinfo."""
    info = pathlib.Path("/proc/cpuinfo")
    return info.exists() and "amx_tile" in info.read_text().split()


def deny_amx() -> None:
    """Refuse AMX to this thread, those that it starts and all child processes, until they end.

    Raises:
        OSError: the kernel does not accept the filter.
        RuntimeError: not Linux on x86-64, or the process has AMX already.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise RuntimeError(
            f"AMX can be denied on Linux on x86-64 only. Received: {sys.platform} on {platform.machine()}. "
            "Other CPUs have no AMX: measure as it is."
        )
    libc = ctypes.CDLL(None, use_errno=True)
    granted = ctypes.c_uint64(0)
    libc.syscall(_SYS_ARCH_PRCTL, _GET_PERMISSIONS, ctypes.byref(granted))
    if granted.value >> _TILE_DATA & 1:
        raise RuntimeError("The process has AMX already. Received: a late call. Deny it before TensorFlow is imported.")
    _install(libc, _refusing_program())
    if has_amx() and libc.syscall(_SYS_ARCH_PRCTL, _ASK_PERMISSION, _TILE_DATA) == 0:
        raise RuntimeError("The kernel granted AMX despite the filter. Received: success. Measure with AMX instead.")


def _refusing_program() -> bytes:
    """Refuse arch_prctl(ARCH_REQ_XCOMP_PERM, ...), allow every other call."""
    steps = (
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 0, 5, _X86_64),  # numbers of calls differ elsewhere: to _ALLOW
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_EQUAL, 0, 3, _SYS_ARCH_PRCTL),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_JUMP_EQUAL, 0, 1, _ASK_PERMISSION),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    )
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _install(libc: ctypes.CDLL, program: bytes) -> None:
    steps = ctypes.create_string_buffer(program, len(program))
    filter_ = _Program(len(program) // 8, ctypes.addressof(steps))
    # Without this only root may filter.
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "The kernel refused the seccomp filter. Measure without --no-amx.")


if __name__ == "__main__":
    deny_amx()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
