//! Hands the memory layout, which comes from esp-hal, to the linker, and checks the name of the WiFi: this script runs before
//! most of the dependencies are built.

fn main() {
    println!("cargo::rerun-if-env-changed=SSID");
    if !std::env::var("SSID").is_ok_and(|ssid| matches!(ssid.len(), 1..=32)) {
        println!(
            "cargo::error=SSID is missing, or not of 1 to 32 bytes. Which WiFi? SSID=... PASSWORD=... cargo c3"
        );
    }
    println!("cargo::rustc-link-arg-bins=-Tlinkall.x");
    println!("cargo::rerun-if-changed=build.rs");
}
