"""Has systemd's own load_env_file read environment files.

Takes the path of libsystemd-shared, and a file in hex on each line of stdin. Writes a line for each: `refused`, or the
assignments it gives, each in hex.
"""

import ctypes
import sys

libc = ctypes.CDLL(None)
libc.fmemopen.restype = ctypes.c_void_p
systemd = ctypes.CDLL(sys.argv[1])

for line in sys.stdin:
    text = bytes.fromhex(line)
    memory = ctypes.create_string_buffer(text, len(text))
    stream = ctypes.c_void_p(libc.fmemopen(memory, ctypes.c_size_t(len(text)), b"r"))
    assignments = ctypes.POINTER(ctypes.c_char_p)()
    status = systemd.load_env_file(stream, None, ctypes.byref(assignments))
    libc.fclose(stream)
    if status < 0:
        print("refused")
        continue
    found = []
    while assignments and assignments[len(found)] is not None:
        found.append(assignments[len(found)].hex())
    print(" ".join(found))
