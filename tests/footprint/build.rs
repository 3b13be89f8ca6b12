//! Hands the memory layout to the linker, and asks it to keep what the gate reads.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let here = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo::rustc-link-arg-bins=-T{here}/link.x");
        // References between functions: the callers of a panic, and the functions that constants belong to.
        println!("cargo::rustc-link-arg-bins=--emit-relocs");
        println!("cargo::rerun-if-changed=link.x");
    }
}
