#!/usr/bin/env python3
"""What fits: builds each row of README's table and holds the row to what its ELF says.

./fits.py [esp32c3|esp32c6]...    all rows, or those of these chips; SSID must be set, as for build.sh
./fits.py --write                 the same, and writes the figures into the table

Needs Python 3.8, and what build.sh needs. A figure may be 2 KiB off: compilers differ.
"""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROW = re.compile(r"^\| (esp32c\d) \| (\d+) \| (\d+) \| (\d+) \| ([\d,]+) \| ([\d,]+) \|$", re.M)
SLACK = 2048


def main():
    chips = [argument for argument in sys.argv[1:] if argument != "--write"]
    write = "--write" in sys.argv
    text = (HERE / "README.md").read_text()
    measured = wrong = 0

    def row(match):
        nonlocal measured, wrong
        chip, connections, tcp, buffer, *stated = match.groups()
        if chips and chip not in chips:
            return match[0]
        sizes = sections(build(chip, CONNECTIONS=connections, TCP_BUFFER=tcp, BUFFER=buffer))
        found = [sizes[".data"] + sizes[".data.wifi"] + sizes[".bss"], sizes[".stack"]]
        line = f"| {chip} | {connections} | {tcp} | {buffer} | {found[0]:,} | {found[1]:,} |"
        measured += 1
        differs = any(abs(int(a.replace(",", "")) - b) > SLACK for a, b in zip(stated, found))
        wrong += differs
        print(line + (f"  but README says {', '.join(stated)}" if differs else ""), flush=True)
        return line

    text = ROW.sub(row, text)
    if write:
        (HERE / "README.md").write_text(text)
    print(f"{measured} rows measured, {wrong} differ from README")
    sys.exit(measured == 0 or (wrong > 0 and not write))


def build(chip, **settings):
    """The ELF of a firmware with these settings."""
    done = subprocess.run([HERE / "build.sh", chip], env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"build.sh {chip} with {settings} has failed")
    return re.search(rf"^{chip} ELF +(.+)$", done.stdout, re.M)[1]


def sections(path):
    """Sizes of the sections of a 32-bit little-endian ELF, by name."""
    elf = Path(path).read_bytes()
    assert elf[:6] == b"\x7fELF\x01\x01"
    start, = struct.unpack_from("<I", elf, 0x20)
    width, count, names = struct.unpack_from("<HHH", elf, 0x2E)
    headers = [struct.unpack_from("<6I", elf, start + index * width) for index in range(count)]
    strings = headers[names][4]
    return {elf[strings + name : elf.index(0, strings + name)].decode(): size for name, _, _, _, _, size in headers}


if __name__ == "__main__":
    main()
