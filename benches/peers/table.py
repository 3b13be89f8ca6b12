#!/usr/bin/env python3
"""Turns the CSV of run.sh into docs/speed.md.

    table.py RESULTS.csv COMMIT MACHINE >docs/speed.md
    table.py RESULTS.csv --check docs/speed.md     fails unless that file is what these results make

Fails if a library is ahead of sansocket, by more than a tie, without a reason below.
"""
import csv
import re
import sys

# The works of a table, its title, and the row of ours that competes.
GROUPS = [
    (r"unmask-", "Unmasking in memory, at any alignment: the typical one, and the worst", "sansocket"),
    (r"handshake-", "The server's opening handshake in memory", "sansocket"),
    (r"decode-", "Decoding in memory", "sansocket"),
    (r"decode-", "Decoding in memory, through a session and its handler", "sansocket-handler"),
    (r"echo-(?!gathered)", "Echo in memory, a write for each reply", "sansocket"),
    (r"echo-gathered-", "Echo in memory, replies gathered", "sansocket"),
    (r"echo-gathered-", "Echo in memory, replies gathered, through a session and its handler", "sansocket-handler"),
    (r"deflate-(?!loopback)",
     "permessage-deflate in memory: echo with a window of 12 bits and level 2, without context and with it; the floor is the codec alone",
     "sansocket"),
    (r"deflate-loopback-(?!.*bytes)", "permessage-deflate over loopback: CPU time of the server for a message", "sansocket"),
    (r"deflate-loopback-.*-bytes", "permessage-deflate over loopback: bytes of a reply", "sansocket-context"),
    (r"loopback-(?!handshakes)", "Over loopback: CPU time of the server for a message. `sansocket` is the hub", "sansocket"),
    (r"loopback-handshakes", "Over loopback: CPU time of the server for a connection, its opening handshake and its end", "sansocket"),
    (r"broadcast-", "Broadcast over loopback, one member in a hundred never reads: CPU time for a recipient, p99 of the delay",
     "sansocket"),
    (r"idle-\d", "An idle connection: resident memory of a server that has echoed a message of each", "sansocket"),
    (r"idle$", "An idle connection on tokio: heap beyond a plain task", "sansocket-tokio"),
    (r"ping-flood", "Growth of the heap under 32 MiB of Pings from a peer that never reads", "sansocket-tokio"),
]
# What is no library: the same work without its checks.
FLOORS = ("floor", "limit", "plain")
# Within so much of another, a row is a tie.
TIE = 1.15
# Why a library is ahead of sansocket: the work and our row, the library, the reason.
FORWARDED = "the handler forwards each fragment as a frame of its own, while these libraries send the message in one frame"
SMALL_BUFFERS = """\
the hub lends a session two buffers for its turn and passes a message of 1 MiB through them in pieces, with a read, a copy and a write for \
each; these libraries hold the whole message and write it at once"""
REASONS = [
    (r"^deflate-.*-bytes", r".*", "a window of 12 bits and level 2 are the default, as they take half of the time of 15 and 6"),
    (r"^echo-gathered-1M-in-.* sansocket-handler", r".*", FORWARDED),
    (r"^loopback-1M", r".*", SMALL_BUFFERS),
]

HEAD = """\
# Speed and memory beside other libraries

Commit: %s
Machine: %s

One run of [benches/peers](../benches/peers), whose README says how it is measured. [The CSV](../benches/peers/results.csv) has all
rows; this file is made from it by `table.py`. Lower is better. Compare within a row only: times depend on the machine. The floor does
the same work without any check. Within 15 %% of another library, a row counts as a tie; where one is ahead by more, the reason is named."""


def main():
    results, commit, machine = sys.argv[1:]
    rows = list(csv.DictReader(open(results)))
    if commit == "--check":
        file, text = machine, open(machine).read()
        commit, machine = (re.search("^%s: (.*)$" % name, text, re.M)[1] for name in ("Commit", "Machine"))
        if text != page(rows, commit, machine):
            sys.exit("%s is not what table.py makes of %s" % (file, results))
    else:
        sys.stdout.write(page(rows, commit, machine))


def page(rows, commit, machine):
    works = list(dict.fromkeys(row["work"] for row in rows))
    parts, missing = [HEAD % (commit, machine)], []
    for pattern, title, own in GROUPS:
        chosen = [work for work in works if re.match(pattern, work)]
        if chosen:
            parts.append("## " + title)
            parts += table(own, chosen, rows, missing)
    if missing:
        sys.exit("\n".join(["ahead of sansocket without a reason:", *missing]))
    return "\n\n".join(parts) + "\n"


def table(own, works, rows, missing):
    lines = ["| work | unit | floor | %s | of the floor | best other | ours / best other |" % own, "|" + " --- |" * 7]
    notes, failures = [], {}
    for work in works:
        values = {row["library"]: row for row in rows if row["work"] == work}
        for name, row in values.items():
            if row["value"] == "failed":
                failures.setdefault("%s: %s" % (name, row["unit"]), []).append(work)
        number = {name: float(row["value"]) for name, row in values.items() if row["value"] != "failed"}
        others = [name for name in number if name not in FLOORS and not name.startswith("sansocket")]
        if own not in number or not others:
            continue
        ratio = {name: number[own] / number[name] if number[name] else float("inf") for name in others}
        marks = []
        for name in sorted(others, key=number.get):
            if ratio[name] > TIE:
                reason = next((text for pattern, who, text in REASONS if re.search(pattern, work + " " + own) and re.fullmatch(who, name)), None)
                if reason is None:
                    missing.append("%s, %s: %s %.2f times" % (work, own, name, ratio[name]))
                    continue
                if reason not in notes:
                    notes.append(reason)
                marks.append(notes.index(reason) + 1)
        best = min(others, key=number.get)
        floor = next((short(number[name]) for name in FLOORS if name in number), "")
        of_floor = values[own]["ratio_to_floor"]
        lines.append("| %s | %s | %s | %s | %s | %s, %s | %.2f%s |" % (
            work, values[own]["unit"], floor, short(number[own]), "%.2f" % float(of_floor) if of_floor else "",
            short(number[best]), best, ratio[best], "".join(" (%d)" % mark for mark in sorted(set(marks)))))
    parts = ["\n".join(lines)]
    if notes:
        parts.append("\n".join("%d. %s." % (i, note[0].upper() + note[1:]) for i, note in enumerate(notes, 1)))
    if own != "sansocket-handler": # the same rows as in the table before
        names = list(dict.fromkeys(row["library"] for row in rows if row["work"] in works))
        cell = {(row["library"], row["work"]): "failed" if row["value"] == "failed" else short(float(row["value"])) for row in rows}
        lines = ["| work | %s |" % " | ".join(names), "|" + " --- |" * (len(names) + 1)]
        lines += ["| %s | %s |" % (work, " | ".join(cell.get((name, work), "") for name in names)) for work in works]
        parts += ["<details><summary>All libraries</summary>", "\n".join(lines), "</details>"]
        parts += ["Failed: %s (%s)." % (reason, ", ".join(where)) for reason, where in failures.items()]
    return parts


def short(value):
    return "%.0f" % value if value >= 100 else "%.3g" % value


main()
