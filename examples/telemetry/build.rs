//! Hands the memory layout to the linker: `memory.x` is that of the echo client, `link.x` comes from riscv-rt.

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let memory = format!("{here}/../qemu-client/memory.x");
    println!("cargo::rustc-link-arg-bins=-T{memory}");
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rerun-if-changed={memory}");
}
