#!/usr/bin/env python3
"""Measures the programs of this workspace and holds them against the budgets below.

    footprint.py DIRECTORY_S DIRECTORY_Z RELAX_S SMALL_S SMALL_Z DEFLATE_S SIZES_OF_THE_HOST

The directories hold the ELFs for opt-level s and z, for s with linker relaxation, for s and z with that and feature `small`, and the
server with feature `deflate-receive` too; the last argument is a file with what `sizes` prints on the host. Needs binutils (addr2line, c++filt), as every C compiler does.

Every instruction counts for the crate whose source it stems from, inlined or not: the innermost frame that
is not the core library's. So a slice index in our code is ours, and httparse inlined into us is httparse's.
`own` is the library, `program` what an application has to write around it: the loop, the handler.
A constant counts for the crate whose code refers to it. What remains, functions of the core library and of
the compiler (memcpy, division), is neither ours nor free: it counts for the whole.
"""

import bisect
import collections
import pathlib
import re
import struct
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ALLOWED = HERE / "panics-allowed.txt"
ALLOWED_DEFLATE = HERE / "panics-allowed-deflate.txt"

KIB = 1024
# What may be in flash (.text and .rodata, less `empty`): program, opt-level, part, bytes; and the aim, which is
# not reached. The limits are the figures of today: a commit that raises one says why.
BUDGETS = [
    ("frames", "s", "own", 7150, 4 * KIB),
    ("server", "s", "own", 17320, 6 * KIB),
    ("server", "s", "whole", 23890, 23000),
    ("server", "z", "whole", 24830, 14 * KIB),
    ("frames", "s small", "whole", 8570, 8 * KIB),
    ("server", "s relax", "whole", 22940, 20 * KIB),
    ("server", "s small", "whole", 17280, 16 * KIB),
    ("server", "z small", "whole", 17490, 16 * KIB),
    ("connect", "s small", "whole", 15640, 15 * KIB),
]
# Bytes of RAM on a 32-bit target.
SIZES = {"Connection<Server>": 256}
# No panic in these; in `server` at s those of the file. At z the functions in which SHA-1's crates prove
# that they do not panic are no longer inlined where it shows: what they have there is printed, no more.
WITHOUT_PANIC = [("frames", "s"), ("frames", "z"), ("client", "s"), ("client", "z"), ("key", "s")]

# The server with feature `deflate-receive` and a window of 12 bits, at `s small`: its flash, and its RAM beyond that of the server without.
DEFLATE_FLASH, DEFLATE_RAM = 34_700, 15_620
# What the feature was to add to the flash.
DEFLATE_AIM = 14 * KIB

LEVELS = ["s", "z", "s relax", "s small", "z small"]
PARTS = ["own", "program", "httparse", "sha1", "miniz", "core"]
# SHA-1 comes in several crates.
CRATES = {
    "httparse": "httparse",
    "sha1": "sha1",
    "digest": "sha1",
    "block-buffer": "sha1",
    "crypto-common": "sha1",
    "hybrid-array": "sha1",
    "typenum": "sha1",
    "miniz_oxide": "miniz",
    "adler2": "miniz",
    # Masking by words.
    "bytemuck": "own",
}
# Functions that a panic ends in, and those that only lead there.
PANIC = re.compile(r"\bcore::panicking::|^footprint_panicked$|rust_begin_unwind|_fail(ed)?(::|$)|^core::.*_fail_rt")

Symbol = collections.namedtuple("Symbol", "name start size section")
Reference = collections.namedtuple("Reference", "address target section")


class Image:
    """An ELF for a 32-bit little-endian target, linked with --emit-relocs."""

    def __init__(self, path):
        self.path = path
        self.data = data = path.read_bytes()
        if data[:6] != b"\x7fELF\x01\x01":
            raise SystemExit(f"{path}: not a 32-bit little-endian ELF")
        table, = struct.unpack_from("<I", data, 32)
        step, count, names = struct.unpack_from("<HHH", data, 46)
        headers = [struct.unpack_from("<10I", data, table + i * step) for i in range(count)]
        self.sections = []
        for name, _, _, address, offset, size, *_ in headers:
            self.sections.append((self.text_at(headers[names][4] + name), address, offset, size))
        (symtab,) = [header for header in headers if header[1] == 2]
        strings = headers[symtab[6]][4]
        everything = []
        for at in range(symtab[4], symtab[4] + symtab[5], 16):
            name, value, size, info, _, section = struct.unpack_from("<IIIBBH", data, at)
            inside = self.sections[section][0] if section < len(self.sections) else ""
            everything.append((self.text_at(strings + name), value, size, info & 15, inside))
        # Of names for the same place one counts.
        placed = {}
        for name, start, size, kind, section in everything:
            if size and kind in (1, 2) and section:
                placed.setdefault((section, start), Symbol(name, start, size, section))
        symbols = sorted(placed.values(), key=lambda symbol: symbol.start)
        names = demangled([symbol.name for symbol in symbols])
        self.symbols = [symbol._replace(name=name) for symbol, name in zip(symbols, names)]
        self.starts = [symbol.start for symbol in self.symbols]
        self.references = []
        for _, kind, _, _, offset, size, _, section, *_ in headers:
            if kind == 4:
                for at in range(offset, offset + size, 12):
                    address, info, addend = struct.unpack_from("<IIi", data, at)
                    target = everything[info >> 8][1] + addend
                    self.references.append(Reference(address, target, self.sections[section][0]))

    def text_at(self, at):
        return self.data[at:self.data.index(0, at)].decode()

    def size(self, *sections):
        return sum(size for name, _, _, size in self.sections if name in sections)

    def symbol_at(self, address):
        at = bisect.bisect(self.starts, address) - 1
        if at >= 0 and address < self.symbols[at].start + self.symbols[at].size:
            return self.symbols[at]
        return None

    def bytes_of(self, name):
        """The contents of a constant."""
        (symbol,) = [symbol for symbol in self.symbols if symbol.name == name]
        for _, address, offset, size in self.sections:
            if address <= symbol.start < address + size:
                return self.data[offset + symbol.start - address:][:symbol.size]
        raise SystemExit(f"{self.path}: {name} has no contents")


class Measured:
    """An image with each byte of flash laid at a crate's and a function's door."""

    def __init__(self, path):
        self.image = image = Image(path)
        _, start, _, size = next(section for section in image.sections if section[0] == ".text")
        self.where = sources(image, range(start, start + size, 2))
        self.parts = collections.Counter()
        self.functions = collections.Counter()
        for part, function in self.where.values():
            self.parts[part] += 2
            self.functions[part, function] += 2
        owners = collections.defaultdict(list)
        for address, target, section in image.references:
            symbol = image.symbol_at(target)
            if symbol and symbol.section == ".rodata":
                # In a table of constants the table's owner is meant.
                by = self.where.get(address) or image.symbol_at(address)
                owners[symbol].append(by)
        for symbol in image.symbols:
            if symbol.section == ".rodata":
                part = self.owner(symbol, owners, 3)
                self.parts[part] += symbol.size
                self.functions[part, f"constant {shortened(symbol.name)}"] += symbol.size
        self.whole = image.size(".text", ".rodata")
        self.parts["core"] += self.whole - self.parts.total()  # gaps

    def owner(self, symbol, owners, depth):
        for name, part in CRATES.items():
            if symbol.name.startswith(name.replace("-", "_") + "::"):
                return part
        parts = set()
        for by in owners[symbol]:
            if isinstance(by, Symbol):
                if depth:
                    parts.add(self.owner(by, owners, depth - 1))
            elif by:
                parts.add(by[0])
        # What others use as well counts for us.
        return "own" if "own" in parts else min(parts, default="core")

    def panics(self):
        """Who calls a panic, and from where; of a function of the core library that does, who calls it."""
        callers = collections.defaultdict(list)
        for address, target, section in self.image.references:
            symbol = self.image.symbol_at(target)
            if section == ".text" and symbol:
                callers[symbol].append(address)
        calls = collections.defaultdict(list)
        seen = {symbol for symbol in callers if PANIC.search(symbol.name)}
        ways = [(symbol, shortened(symbol.name)) for symbol in seen]
        while ways:
            symbol, way = ways.pop()
            for address in callers[symbol]:
                by = self.image.symbol_at(address)
                part, function = self.where[address]
                if by is None or PANIC.search(by.name):
                    continue
                if part != "core":
                    calls[f"{part}: {function} -> {way}"].append(address)
                elif by not in seen:
                    seen.add(by)
                    ways.append((by, f"{shortened(by.name)} -> {way}"))
        return calls

    def panic_symbols(self):
        return [symbol.name for symbol in self.image.symbols if PANIC.search(symbol.name)]


def demangled(names):
    answer = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    # Without the hashes that tell crates of one name apart.
    return [re.sub(r"\[[0-9a-f]{8,16}\]", "", name) for name in answer.stdout.split("\n")[:len(names)]]


def frames(image, addresses):
    """For each address its frames of source, the innermost first: function and file."""
    question = "".join(f"{address:#x}\n" for address in addresses)
    command = ["addr2line", "-a", "-i", "-f", "-C", "-e", str(image.path)]
    answer = subprocess.run(command, input=question, capture_output=True, text=True, check=True)
    found, lines = {}, iter(answer.stdout.splitlines())
    for line in lines:
        if line.startswith("0x"):
            current = found.setdefault(int(line, 16), [])
        else:
            current.append((line, next(lines)))
    return found


def sources(image, addresses):
    """For each address the part that it counts for, and the function of the source."""
    root = str(HERE.parent.parent)
    where = {}
    for address, stack in frames(image, addresses).items():
        symbol = image.symbol_at(address)
        for function, file in stack:
            part = crate(file, root)
            if part:
                # The symbol names the outermost frame, not the source.
                if function.startswith(".L") or function == "??":
                    function = symbol.name if symbol else "?"
                where[address] = (part, f"{bare(function)} in {pathlib.Path(file.split(':')[0]).name}")
                break
        else:
            where[address] = ("core", shortened(symbol.name) if symbol else "?")
    return where


def crate(file, root):
    """The part that a source file belongs to; `None` for the libraries of the compiler."""
    if "/library/" in file or file.startswith(("??", "library/")):
        return None
    if file.startswith(root + "/src/"):
        return "own"
    if file.startswith(str(HERE) + "/"):
        return "program"
    for name, part in CRATES.items():
        if re.search(rf"/{name}-[0-9.]+[^/]*/", file):
            return part
    raise SystemExit(f"code from {file}: name its part in CRATES")


def bare(function):
    """A function's name without its type arguments."""
    name = function
    while (shorter := re.sub(r"<[^<>]*>", "", name)) != name:
        name = shorter
    return name.lstrip(":") or function


def shortened(name, length=100):
    return name if len(name) <= length else name[:length - 3] + "..."


def main():
    directories = dict(zip(LEVELS, map(pathlib.Path, sys.argv[1:6])))
    programs = ["key", "frames", "client", "connect", "server"]
    measured = {
        (program, level): Measured(directory / program)
        for level, directory in directories.items()
        for program in ["empty", *programs]
    }
    breaches = []

    print("flash, bytes                " + "".join(f"{part:>10}" for part in ["whole", *PARTS]))
    figures = {}
    for level in directories:
        for program in programs:
            this, empty = measured[program, level], measured["empty", level]
            row = {"whole": this.whole - empty.whole}
            row |= {part: this.parts[part] - empty.parts[part] for part in PARTS}
            figures |= {(program, level, part): size for part, size in row.items()}
            print(f"  {program:8} opt-level {level:7}" + "".join(f"{size:10}" for size in row.values()))
    print()
    for program, level, part, budget, aim in BUDGETS:
        size = figures[program, level, part]
        over = size > budget
        print(f"{program}, opt-level {level}, {part}: {size} of {budget} bytes, aim {aim}{'  OVER' if over else ''}")
        if over:
            breaches.append(f"{program} at {level}: {part} is {size - budget} bytes over")
            largest(measured[program, level], part)

    print()
    here = dict(reversed(line.split(" ", 1)) for line in map(str.strip, open(sys.argv[7])))
    for bytes_, name in table(Image(directories["s"] / "sizes")):
        budget = SIZES.get(name)
        over = budget is not None and bytes_ > budget
        limit = f" of {budget}" if budget else ""
        print(f"{name:24}{bytes_:6}{limit} bytes, {here.get(name, '?'):>4} on 64 bits{'  OVER' if over else ''}")
        if over:
            breaches.append(f"{name} is {bytes_ - budget} bytes over")

    print()
    for program, level in WITHOUT_PANIC:
        this = measured[program, level]
        symbols = this.panic_symbols()
        print(f"{program}, opt-level {level}: {len(symbols)} of 0 panic symbols{'  OVER' if symbols else ''}")
        if symbols:
            breaches.append(f"{program} at {level} can panic")
            for call in sorted(this.panics()):
                print(f"    {call}")
    for program in ["key", "server"]:
        print(f"{program}, opt-level z: {len(measured[program, 'z'].panics())} ways to a panic, no budget")
    breaches += server_panics("server, opt-level s", measured["server", "s"], ALLOWED, "httparse")
    print()
    breaches += deflate(pathlib.Path(sys.argv[6]), measured["server", "s small"], measured["empty", "s small"])

    print()
    for breach in breaches:
        print(f"breach: {breach}")
    print(f"footprint: {len(breaches)} breaches")
    return 1 if breaches else 0


def server_panics(title, this, allowed_file, part):
    """Those of a whole server: no other than the list's, and the list has no other than those, all of one part."""
    lines = allowed_file.read_text().splitlines()
    allowed = {line for line in lines if line and not line.startswith("#")}
    breaches = [f"not of {part}, and allowed: {line}" for line in allowed if not line.startswith(f"{part}: ")]
    found = this.panics()
    print(f"{title}: {len(found)} ways to a panic, {len(allowed)} allowed")
    for call in sorted(found.keys() - allowed):
        breaches.append(f"a new panic: {call}")
        print(f"    {call}")
        address = found[call][0]
        for function, file in frames(this.image, [address])[address]:
            print(f"        {function} at {file}")
    breaches += [f"gone, take it off the list: {call}" for call in sorted(allowed - found.keys())]
    return breaches


def deflate(directory, plain, empty):
    """The server with feature `deflate-receive`: flash, RAM, the panics of its decompressor and no others."""
    this, breaches, title = Measured(directory / "server"), [], "server with deflate-receive, opt-level s small"
    flash, more = this.whole - empty.whole, this.whole - plain.whole
    ram = this.image.size(".data", ".bss") - plain.image.size(".data", ".bss")
    for what, size, budget in [("bytes of flash", flash, DEFLATE_FLASH), ("more bytes of RAM", ram, DEFLATE_RAM)]:
        over = size > budget
        print(f"{title}: {size} of {budget} {what}{'  OVER' if over else ''}")
        if over:
            breaches.append(f"deflate-receive: {size - budget} {what} over")
            largest(this, "whole")
    print(f"  flash beyond the server without: {more}, aim {DEFLATE_AIM}")
    print("  flash: " + ", ".join(f"{part} {this.parts[part] - plain.parts[part]:+}" for part in PARTS))
    for bytes_, name in table(Image(directory / "sizes"), "FOOTPRINT_DEFLATE_SIZES"):
        print(f"  {name:30}{bytes_:6} bytes")
    return breaches + server_panics(title, this, ALLOWED_DEFLATE, "miniz")


def largest(this, part, count=25):
    print(f"    the {count} largest functions, by source:")
    rows = [(size, *key) for key, size in this.functions.items() if part in ("whole", key[0])]
    for size, whose, function in sorted(rows, reverse=True)[:count]:
        print(f"    {size:6}  {whose}: {function}")


def table(image, symbol="FOOTPRINT_SIZES"):
    """A table of sizes in the ELF: see `Size` in lib.rs."""
    for bytes_, name in struct.iter_unpack("<I60s", image.bytes_of(symbol)):
        yield bytes_, name.rstrip(b"\0").decode()


if __name__ == "__main__":
    sys.exit(main())
