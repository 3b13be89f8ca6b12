//! The table of sizes: printed on the host, read out of the ELF for a board.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {
        core::hint::black_box(&footprint::FOOTPRINT_SIZES);
        #[cfg(feature = "deflate-receive")]
        core::hint::black_box(&footprint::FOOTPRINT_DEFLATE_SIZES);
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    for size in &footprint::FOOTPRINT_SIZES {
        println!("{} {}", size.bytes, String::from_utf8_lossy(&size.name).trim_end_matches('\0'));
    }
}
