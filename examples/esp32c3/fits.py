#!/usr/bin/env python3
"""What fits: builds each row of README's first table, and compares the row, and the table of the defaults, with the ELF.

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
DEFAULTS = ("8", "2048", "512")


def main():
    chips = [argument for argument in sys.argv[1:] if argument != "--write"]
    write = "--write" in sys.argv
    text = (HERE / "README.md").read_text()
    measured = wrong = 0
    defaults = {}

    def compare(line, stated, found):
        nonlocal measured, wrong
        measured += 1
        differs = any(abs(int(a.replace(",", "")) - b) > SLACK for a, b in zip(stated, found))
        wrong += differs
        print(line + (f"  but README says {', '.join(stated)}" if differs else ""), flush=True)
        return line

    def row(match):
        chip, connections, tcp, buffer, *stated = match.groups()
        if chips and chip not in chips:
            return match[0]
        elf, image = build(chip, CONNECTIONS=connections, TCP_BUFFER=tcp, BUFFER=buffer)
        sizes = sections(elf)
        found = [sizes[".data"] + sizes[".data.wifi"] + sizes[".bss"], sizes[".stack"]]
        if (connections, tcp, buffer) == DEFAULTS:
            defaults[chip] = {
                "image in flash": image,
                "of it: code (`.trap`, `.rwtext`)": sizes[".trap"] + sizes[".rwtext"],
                "of it: code of the WiFi driver (`.rwtext.wifi`)": sizes[".rwtext.wifi"],
                "of it: statics": found[0],
                "of it: left": found[1],
            }
        line = f"| {chip} | {connections} | {tcp} | {buffer} | {found[0]:,} | {found[1]:,} |"
        return compare(line, stated, found)

    text = ROW.sub(row, text)
    if len(defaults) == 2:
        for title in defaults["esp32c3"]:
            found = [defaults[chip][title] for chip in ("esp32c3", "esp32c6")]
            stated = re.search(rf"^\| {re.escape(title)} \| ([\d,]+) \| ([\d,]+) \|$", text, re.M)
            line = f"| {title} | {found[0]:,} | {found[1]:,} |"
            text = text.replace(stated[0], compare(line, stated.groups(), found))
    if write:
        (HERE / "README.md").write_text(text)
    print(f"{measured} rows measured, {wrong} differ from README")
    sys.exit(measured == 0 or (wrong > 0 and not write))


def build(chip, **settings):
    """The path of the ELF and the length of the image of a firmware with these settings."""
    done = subprocess.run([HERE / "build.sh", chip], env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"build.sh {chip} with {settings} has failed")
    length = re.search(rf"^{chip} image .+, (\d+) bytes$", done.stdout, re.M)[1]
    return re.search(rf"^{chip} ELF +(.+)$", done.stdout, re.M)[1], int(length)


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
