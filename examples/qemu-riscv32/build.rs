//! Hands the memory layout to the linker: `memory.x` is ours, `link.x` comes from riscv-rt.

use std::path::Path;
use std::{env, fs};

fn main() {
    let of = |name| env::var(name).expect("cargo sets it");
    let mut layout = fs::read_to_string("memory.x").expect("it lies beside this file");
    if env::var_os("CARGO_FEATURE_DEFLATE_RECEIVE").is_some() {
        // The tables and the window of four decompressors, and what they write into.
        layout = layout.replace("LENGTH = 112K", "LENGTH = 164K");
    }
    let path = Path::new(&of("OUT_DIR")).join("memory.x");
    fs::write(&path, layout).expect("cargo has made the directory");
    println!("cargo::rustc-link-arg-bins=-T{}", path.display());
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rerun-if-changed=memory.x");
}
