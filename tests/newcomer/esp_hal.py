#!/usr/bin/env python3
"""Writes the files of the guide esp_hal into a crate of their own: esp_hal.py FOLDER."""
import os
import re
import sys

FOLDER = os.path.abspath(sys.argv[1])
ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

with open(os.path.join(ROOT, "src/guide/esp_hal.md")) as guide:
    files = dict(re.findall(r"^`([\w./]+)`:\n\n```[^\n]*\n(.*?)^```$", guide.read(), re.M | re.S))
assert sorted(files) == [".cargo/config.toml", "Cargo.toml", "build.rs", "src/main.rs", "src/page.html"], sorted(files)
# This checkout, and the versions of the example for these chips.
files["Cargo.toml"] += '\n[patch.crates-io]\nsansocket = { path = "%s" }\n\n[workspace]\n' % ROOT
with open(os.path.join(ROOT, "examples/esp32c3/Cargo.lock")) as lock:
    files["Cargo.lock"] = lock.read()
for name, text in files.items():
    path = os.path.join(FOLDER, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
