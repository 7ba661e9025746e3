"""ld of the fake kernel: a small arm64 ELF with a build-id note, a banner and a symbol per function of its inputs."""

import hashlib
import re
import struct
import sys
from pathlib import Path

BANNER = b"Linux version 6.12.99 (kpv@kpv) #1\n\0"
BASE = 0xFFFF800080000000


def elf(functions: list[str], content: bytes) -> bytes:
    digest = hashlib.sha1(content).digest()
    note = struct.pack("<III", 4, len(digest), 3) + b"GNU\0" + digest
    names, symbols = b"\0", struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)
    for at, name in enumerate(functions):
        symbols += struct.pack("<IBBHQQ", len(names), 0x12, 0, 1, BASE + 64 * at, 64)
        names += name.encode() + b"\0"
    symbols += struct.pack("<IBBHQQ", len(names), 0x11, 0, 2, BASE + 0x1000, len(BANNER))
    names += b"linux_banner\0"
    sections = [  # name, type, address, content, link, entry size
        (".text", 1, BASE, b"\0" * 64, 0, 0),
        (".rodata", 1, BASE + 0x1000, BANNER, 0, 0),
        (".notes", 7, BASE + 0x2000, note, 0, 0),
        (".symtab", 2, 0, symbols, 5, 24),
        (".strtab", 3, 0, names, 0, 0),
    ]
    shstrtab = b"\0" + b"".join(s[0].encode() + b"\0" for s in sections) + b".shstrtab\0"
    sections.append((".shstrtab", 3, 0, shstrtab, 0, 0))
    body, headers, offset = b"", b"\0" * 64, 64
    for name, kind, address, data, link, entry in sections:
        at = shstrtab.index(b"\0" + name.encode() + b"\0") + 1
        headers += struct.pack("<IIQQQQIIQQ", at, kind, 0, address, offset, len(data), link, 0, 1, entry)
        body += data
        offset += len(data)
    ident = b"\x7fELF\x02\x01\x01" + b"\0" * 9
    fields = (2, 183, 1, BASE, 0, offset, 0, 64, 0, 0, 64, len(sections) + 1, len(sections))
    return ident + struct.pack("<HHIQQQIHHHHHH", *fields) + body + headers


def main() -> None:
    mapping = sys.argv[1] == "--map"
    target, *inputs = sys.argv[2:] if mapping else sys.argv[1:]
    text = "".join(Path(name).read_text() for name in inputs)
    functions = re.findall(r"^(?:static )?\w+ (\w+)\(", text, re.M) + re.findall(r"symbol: (\S+)", text)
    if mapping:
        Path(target).write_text("".join(f"{BASE + 64 * at:016x} T {name}\n" for at, name in enumerate(functions)))
    else:
        Path(target).write_bytes(elf(functions, text.encode()))


if __name__ == "__main__":
    main()
