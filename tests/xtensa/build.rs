//! Turns files of the host's tests into modules of a program without `std`, line for line the same but for
//! what compiler and harness add to a test there.

use std::path::PathBuf;
use std::{env, fs};

/// Those that need no more than a heap.
const TESTS: &str = include_str!("files");
/// What stands below this line, and what it uses, needs proptest, which needs `std`.
const PROPERTIES: &str = "/// What a peer does.";
const PROPTEST: &str = "use proptest::prelude::*;";
/// What the files share.
const SHARED: [&str; 3] = ["endpoint/mod", "session_driver/mod", "wire/mod"];

fn main() {
    // What the linker reads, and cargo does not know of.
    for file in ["ld.sh", "link.x", "start.S"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for file in SHARED {
        let (source, tests) = translate(file);
        assert!(tests.is_empty());
        let to = out.join(file).with_extension("rs");
        fs::create_dir_all(to.parent().expect("it has one")).unwrap();
        fs::write(to, source).unwrap();
    }
    let (mut modules, mut tables) = (String::new(), String::new());
    for file in TESTS.lines() {
        let (source, tests) = translate(file);
        let entries: String = tests.iter().map(|test| format!("(\"{file}::{test}\", {test}), ")).collect();
        let to = out.join(file).with_extension("rs");
        fs::write(&to, format!("{source}pub(crate) const TESTS: &[(&str, fn())] = &[{entries}];\n")).unwrap();
        modules += &format!("#[allow(unexpected_cfgs, unused_imports)]\n#[path = {to:?}]\nmod {file};\n");
        tables += &format!("{file}::TESTS, ");
    }
    let modules = format!("{modules}const FILES: &[&[(&str, fn())]] = &[{tables}];\n");
    fs::write(out.join("modules.rs"), modules).unwrap();
}

/// The source of a file with a prelude before its first item, and the names of its tests: without the
/// attribute, which would take them away. Those of features stay and go, as there are none here.
fn translate(file: &str) -> (String, Vec<String>) {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = here.ancestors().nth(2).expect("the repository");
    let path = root.join("tests").join(file).with_extension("rs");
    println!("cargo::rerun-if-changed={}", path.display());
    let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut out, mut tests) = (String::new(), Vec::new());
    let (mut prelude, mut before) = ("use crate::{prelude::*, std}; ", "");
    let mut lines = source.lines().take_while(|line| *line != PROPERTIES).peekable();
    while let Some(line) = lines.next() {
        if ["use ", "mod ", "#[path "].iter().any(|start| line.starts_with(start)) {
            out += std::mem::take(&mut prelude);
        }
        if line.trim() == "#[test]" {
            // Of a feature that is off here.
            if lines.peek().is_some_and(|next| next.starts_with("#[cfg_attr(")) {
                lines.by_ref().find(|line| line.ends_with(")]"));
            }
            let name = lines.peek().and_then(|next| next.strip_prefix("fn ")?.strip_suffix("() {"));
            let name = name.unwrap_or_else(|| panic!("{file}: no test that can be called below {before}"));
            // What only other builds have.
            let absent = ["#[cfg(feature = ", "#[cfg(all(feature = ", "#[cfg(target_pointer_width = \"64\")"];
            if !absent.iter().any(|start| before.starts_with(start)) {
                tests.push(name.to_owned());
            }
        } else if line != PROPTEST {
            // The examples are not copied.
            out += &line.replace("\"../examples", &format!("\"{}/examples", root.display()));
        }
        out += "\n";
        before = line;
    }
    (out, tests)
}
