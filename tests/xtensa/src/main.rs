//! The host's tests on a virtual Xtensa core: no `std`, 32 bits, big enough a heap for the tests; the library
//! itself is built without one.

#![no_std]
#![no_main]
#![deny(dead_code, reason = "a test that nobody calls")]

#[macro_use]
extern crate alloc;

mod heap;
mod sim;

/// What `std` is to the tests.
mod std {
    pub(crate) use ::alloc::*;
    pub(crate) use core::{cell, iter, mem, time};
}

/// What the compiler brings to every file that has `std`.
mod prelude {
    pub(crate) use alloc::borrow::ToOwned;
    pub(crate) use alloc::boxed::Box;
    pub(crate) use alloc::string::{String, ToString};
    pub(crate) use alloc::vec::Vec;
}

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    println!("{}-bit usize", usize::BITS);
    let mut passed = 0;
    for (name, test) in FILES.iter().copied().flatten() {
        print!("{name} ... ");
        test();
        println!("ok");
        // Nothing outlives a test.
        heap::clear();
        passed += 1;
    }
    println!("{passed} passed, {} bytes of heap at most", heap::most());
    sim::exit(0)
}
