#!/usr/bin/env python3
"""Turns the CSV of run.sh into tables: table.py RESULTS.csv "COMMIT, MACHINE" >TABLES.md

Fails if a row where sansocket is not first has no reason below.
"""
import csv
import re
import sys

# The rows of ours that compete in a group of works, and what the group is called.
GROUPS = [
    ("unmask-", "Unmasking in memory", ["sansocket"]),
    ("handshake-", "The server's opening handshake in memory", ["sansocket"]),
    ("decode-", "Decoding in memory", ["sansocket"]),
    ("echo-gathered-", "Echo in memory, replies gathered", ["sansocket"]),
    ("echo-", "Echo in memory, a write for each reply", ["sansocket"]),
    ("deflate-loopback-.*-bytes", "permessage-deflate over loopback: bytes of a reply", ["sansocket-context"]),
    ("deflate-loopback-", "permessage-deflate over loopback: CPU time of the server for a message", ["sansocket", "sansocket-context"]),
    ("deflate-", "permessage-deflate in memory: echo with a window of 12 bits and level 2, without context and with it; the floor is the codec alone",
     ["sansocket"]),
    ("loopback-", "Over loopback: CPU time of the server for a message, or for an opening handshake", ["sansocket"]),
    ("broadcast-", "Broadcast over loopback, one member in a hundred never reads: CPU time for a recipient; p99 of the delay",
     ["sansocket"]),
    ("idle", "Memory of an idle connection: heap beyond a plain task of tokio (`idle`), resident memory of a server (`idle-N`)",
     ["sansocket", "sansocket-tokio", "sansocket-axum"]),
    ("ping-flood", "Growth of the heap under 32 MiB of Pings from a peer that never reads",
     ["sansocket-tokio", "sansocket-axum"]),
]
# What is no library: the same work without its checks.
FLOORS = ("floor", "limit", "plain")
# Within so much of the best, a row is a tie.
TIE = 1.15
# Why sansocket is not first, by the work.
REASONS = {
    r"deflate-.*-bytes": "a window of 12 bits and level 2 are the default, as they take half of the time of 15 and 6",
    r"handshake-": "embedded-websocket leaves parsing to its user and checks neither the version, the origin nor the form of the fields",
    r"(decode|echo).*-in-64$": "the state of a message is kept for each fragment: limits, deadlines, events that can be taken singly",
    r"unmask-": "up to the noise of a few ns, or where longer vectors than AVX2 help",
    r"loopback-1M": "payload passes a receive and a transmit buffer of 18 KiB each; libraries with a buffer for a whole message copy less",
    r"echo.*-64K|decode-bin-64K": "a payload of the buffer's size is moved once where it does not begin at its front",
}


def main():
    rows = list(csv.DictReader(open(sys.argv[1])))
    print("# Speed and memory beside other libraries\n")
    print("Made by `benches/peers/run.sh` in one run: %s. Compare within a row only: `benches/peers/README.md` says how it is" % sys.argv[2])
    print("measured. The floor does the same work without any check. Lower is better.")
    works = list(dict.fromkeys(row["work"] for row in rows))
    missing = []
    for prefix, title, own in GROUPS:
        mine = [work for work in works if re.match(prefix, work) and next(g[0] for g in GROUPS if re.match(g[0], work)) == prefix]
        if mine:
            missing += table(title, own, mine, rows)
    if missing:
        sys.exit("no reason why sansocket is not first in " + ", ".join(missing))


def table(title, own, works, rows):
    print("\n## %s\n\n| work | unit | floor | sansocket | of the floor | best other | ours / best other |\n| --- | --- | --- | --- | --- | --- | --- |" % title)
    missing, notes, failures = [], {}, {}
    for work in works:
        values = {row["library"]: row for row in rows if row["work"] == work}
        for name, row in values.items():
            if row["value"] == "failed":
                failures.setdefault("%s: %s" % (name, row["unit"]), []).append(work)
        values = {name: row for name, row in values.items() if row["value"] != "failed"}
        number = {name: float(row["value"]) for name, row in values.items()}
        floor = next((name for name in FLOORS if name in number), None)
        ours = min((name for name in own if name in number), key=number.get, default=None)
        others = [name for name in number if name not in FLOORS and not name.startswith("sansocket")]
        if not (ours and others):
            continue
        best = min(others, key=number.get)
        ratio = number[ours] / number[best] if number[best] else float("inf")
        mark = ""
        if ratio > TIE:
            reason = next((text for pattern, text in REASONS.items() if re.search(pattern, work)), None)
            if reason is None:
                missing.append(work)
            mark = " (%d)" % (list(notes).index(reason) + 1 if reason in notes else notes.setdefault(reason, len(notes) + 1))
        name = "" if ours == "sansocket" else ", %s" % ours
        print("| %s | %s | %s | %s%s | %s | %s, %s | %.2f%s |" % (
            work, values[ours]["unit"], short(number[floor]) if floor else "", short(number[ours]), name,
            "%.2f" % float(values[ours]["ratio_to_floor"]) if values[ours]["ratio_to_floor"] else "", short(number[best]), best, ratio, mark))
    for reason, i in notes.items():
        print("\n(%d) %s." % (i, reason[0].upper() + reason[1:]))
    names = list(dict.fromkeys(row["library"] for row in rows if row["work"] in works))
    print("\n<details><summary>All libraries</summary>\n\n| | %s |\n|%s" % (" | ".join(works), " --- |" * (len(works) + 1)))
    cell = {(row["library"], row["work"]): "failed" if row["value"] == "failed" else short(float(row["value"])) for row in rows}
    for name in names:
        print("| %s | %s |" % (name, " | ".join(cell.get((name, work), "") for work in works)))
    print("\n</details>")
    for reason, where in failures.items():
        print("\nFailed, %s (%s)." % (reason, ", ".join(where)))
    return missing


def short(value):
    return "%.0f" % value if value >= 100 else "%.3g" % value


main()
