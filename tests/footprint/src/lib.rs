//! What every program here has: a board that cannot be seen through, and a panic handler that can be found.

#![no_std]

use core::ptr::{read_volatile, write_volatile};

#[cfg(feature = "deflate-receive")]
use sansocket::deflate::{RingMemory, RingNegotiation};
use sansocket::message::{Assembler, SliceStorage};
use sansocket::proto::{Decoder, DetachedEvent, Encoder};
use sansocket::session::{HandlerDriver, ServerSession};
use sansocket::{Client, Config, Connection, Event, ReceiveBuffer, Server, Step, TransmitBuffer};

/// A register that gives what nobody can foresee, and takes everything.
static mut REGISTER: u32 = 0;

/// The settings: the optimizer cannot know that they are the defaults, as an application's may differ.
#[must_use]
pub fn config() -> &'static Config {
    static CONFIG: Config = Config::new();
    core::hint::black_box(&CONFIG)
}

/// The clock.
#[inline(never)]
pub fn micros() -> u64 {
    u64::from(word()) << 32 | u64::from(word())
}

/// Reads from the transport.
#[inline(never)]
pub fn read(memory: &mut [u8]) -> usize {
    memory.iter_mut().map(|byte| *byte = word() as u8).count()
}

/// Writes to the transport: how much it took.
#[inline(never)]
pub fn write(bytes: &[u8]) -> usize {
    bytes.iter().for_each(|byte| tell(u32::from(*byte)));
    bytes.len() & word() as usize
}

/// Something unforeseen.
pub fn word() -> u32 {
    // SAFETY: one thread, and the pointer is to a static.
    unsafe { read_volatile(&raw const REGISTER) }
}

/// Something that has to happen.
pub fn tell(word: u32) {
    // SAFETY: as above.
    unsafe { write_volatile(&raw mut REGISTER, word) }
}

/// Memory for a buffer: a static, borrowed for good; once for each place where it stands.
#[macro_export]
macro_rules! memory {
    ($size:expr) => {{
        static mut MEMORY: [u8; $size] = [0; $size];
        // SAFETY: one thread, and every program comes by here once.
        unsafe { &mut *(&raw mut MEMORY) }
    }};
}

/// Every panic ends here, so an image without this symbol cannot panic. It has an effect, or calls to it
/// might be optimised into nothing.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    footprint_panicked()
}

#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn footprint_panicked() -> ! {
    loop {
        tell(0xDEAD);
    }
}

/// A name and how many bytes a value of this type takes; in a form that can be read out of an ELF.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Size {
    pub bytes: u32,
    pub name: [u8; 60],
}

macro_rules! sizes {
    ($($name:literal $type:ty,)*) => {
        [$(Size { bytes: size_of::<$type>() as u32, name: pad($name) },)*]
    };
}

const fn pad(name: &str) -> [u8; 60] {
    let mut padded = [0; 60];
    padded.split_at_mut(name.len()).0.copy_from_slice(name.as_bytes());
    padded
}

/// The window of the server that receives compressed messages: 12 bits.
pub const WINDOW: usize = 4096;
/// The memory that it decompresses into.
pub const OUTPUT: usize = 1024;

/// What takes RAM for each connection.
#[unsafe(no_mangle)]
pub static FOOTPRINT_SIZES: [Size; 14] = sizes! {
    "Connection<Server>" Connection<Server>,
    "Connection<Client<fn>>" Connection<Client<fn() -> [u8; 4]>>,
    "Decoder<Server>" Decoder<Server>,
    "Encoder<Server>" Encoder<Server>,
    "HandlerDriver<Server>" HandlerDriver<Server>,
    "ServerSession" ServerSession,
    "ServerHandshake" sansocket::handshake::ServerHandshake,
    "ClientHandshake" sansocket::handshake::ClientHandshake<'static>,
    "ReceiveBuffer" ReceiveBuffer<'static>,
    "TransmitBuffer" TransmitBuffer<'static>,
    "Assembler<SliceStorage>" Assembler<SliceStorage<'static>>,
    "Event" Event<'static>,
    "DetachedEvent" DetachedEvent,
    "Step" Step<Event<'static>>,
};

/// What takes RAM for each connection that receives compressed messages: the memory of the decompressor by the bits of the window.
#[cfg(feature = "deflate-receive")]
#[unsafe(no_mangle)]
pub static FOOTPRINT_DEFLATE_SIZES: [Size; 4] = sizes! {
    "RingMemory, 9 bits" RingMemory<512>,
    "RingMemory, 12 bits" RingMemory<WINDOW>,
    "RingMemory, 15 bits" RingMemory<32_768>,
    "ServerSession<RingNegotiation>" ServerSession<&'static Config, RingNegotiation<'static>>,
};
