"""Runs a program on a kernel that seems to lack system calls: without.py landlock,seccomp PROGRAM ARGUMENTS..."""
import ctypes, errno, os, platform, struct, sys

NUMBERS = {
    "x86_64": {"landlock": [444, 445, 446], "seccomp": [317]},
    "aarch64": {"landlock": [444, 445, 446], "seccomp": [277]},
}[platform.machine()]
LOAD_NUMBER = struct.pack("<HBBI", 0x20, 0, 0, 0)
ALLOW = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
LACKING = struct.pack("<HBBI", 0x06, 0, 0, 0x00050000 | errno.ENOSYS)

missing = [number for part in sys.argv[1].split(",") for number in NUMBERS[part]]
# Each test jumps over the rest of the tests and the permission.
tests = [struct.pack("<HBBI", 0x15, len(missing) - at, 0, number) for at, number in enumerate(missing)]
program = LOAD_NUMBER + b"".join(tests) + ALLOW + LACKING
code = ctypes.create_string_buffer(program)


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


libc = ctypes.CDLL(None, use_errno=True)
filter = Filter(len(program) // 8, ctypes.addressof(code))
for arguments in [(38, 1, 0, 0, 0), (22, 2, ctypes.byref(filter), 0, 0)]:
    if libc.prctl(*arguments) != 0:
        sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[2], sys.argv[2:])
