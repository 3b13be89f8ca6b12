//! What the work costs at least: the same without any check.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_loadu_si256, _mm256_set1_epi8, _mm256_storeu_si256, _mm256_xor_si256,
    _mm512_loadu_si512, _mm512_set1_epi8, _mm512_storeu_si512, _mm512_xor_si512,
};

use crate::memory_socket::MemorySocket;
use crate::peers::{App, Mode, header};

const BUFFER: usize = 65536;
/// Larger payloads leave from where they lie.
const VECTORED: usize = 16384;
/// Replies that are gathered leave when there are so many bytes of them.
const GATHERED: usize = 49152;

/// Reads and writes the memory in place, with a constant, in the widest vectors of this processor: AVX-512, else AVX2.
pub fn read_and_write(bytes: &mut [u8]) {
    // Those between are aligned, since a store across cache lines costs two. The first and the last vector overlap them: they
    // are loaded before and stored behind them.
    macro_rules! in_vectors {
        ($name:ident, $feature:literal, $vector:ty, $set:ident, $load:ident, $store:ident, $xor:ident) => {
            #[target_feature(enable = $feature)]
            fn $name(bytes: &mut [u8]) {
                const SIZE: usize = size_of::<$vector>();
                let (start, len) = (bytes.as_mut_ptr(), bytes.len());
                let constant = $set(0x5A);
                // SAFETY: each offset leaves a vector of the slice; the loads and stores need no alignment.
                let xor = |at: usize| unsafe {
                    let place = start.add(at).cast::<$vector>();
                    $store(place, $xor($load(place), constant));
                };
                // SAFETY: as above.
                let end = unsafe { start.add(len - SIZE) };
                // SAFETY: as above.
                let ends = [start, end].map(|place| unsafe { $xor($load(place.cast()), constant) });
                let mut at = start.align_offset(SIZE);
                while at + 4 * SIZE <= len {
                    (xor(at), xor(at + SIZE), xor(at + 2 * SIZE), xor(at + 3 * SIZE));
                    at += 4 * SIZE;
                }
                while at + SIZE <= len {
                    xor(at);
                    at += SIZE;
                }
                for (place, vector) in [start, end].into_iter().zip(ends) {
                    // SAFETY: as above.
                    unsafe { $store(place.cast(), vector) };
                }
            }
        };
    }
    in_vectors!(
        wide,
        "avx512f",
        __m512i,
        _mm512_set1_epi8,
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_xor_si512
    );
    in_vectors!(
        narrow,
        "avx2",
        __m256i,
        _mm256_set1_epi8,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_xor_si256
    );
    match bytes.len() {
        // SAFETY: the processor has AVX-512.
        64.. if is_x86_feature_detected!("avx512f") => unsafe { wide(bytes) },
        // SAFETY: the processor has AVX2.
        32.. if is_x86_feature_detected!("avx2") => unsafe { narrow(bytes) },
        _ => two_ends(bytes, 0x5A5A_5A5A),
    }
}

/// Unmasks: 64-byte blocks and a last one that overlaps, compiled for AVX2; two overlapping ends up to 128 bytes.
pub fn unmask(bytes: &mut [u8], key: [u8; 4]) {
    #[target_feature(enable = "avx2")]
    fn wide(bytes: &mut [u8], key: u32) {
        blocks(bytes, key);
    }
    let key = u32::from_le_bytes(key);
    match bytes.len() {
        // SAFETY: the processor has AVX2.
        129.. if is_x86_feature_detected!("avx2") => unsafe { wide(bytes, key) },
        129.. => blocks(bytes, key),
        _ => two_ends(bytes, key),
    }
}

#[inline(always)]
fn blocks(bytes: &mut [u8], key: u32) {
    let Some(&(mut last)) = bytes.last_chunk::<64>() else { return };
    xor(&mut last, key.rotate_right((bytes.len() as u32 & 3) * 8));
    for block in bytes.as_chunks_mut::<64>().0 {
        xor(block, key);
    }
    if let Some(place) = bytes.last_chunk_mut::<64>() {
        *place = last;
    }
}

#[inline(always)]
fn two_ends(bytes: &mut [u8], key: u32) {
    #[inline(always)]
    fn ends<const N: usize>(bytes: &mut [u8], key: u32) {
        let (Some(&(mut first)), Some(&(mut last))) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>())
        else {
            return;
        };
        xor(&mut first, key);
        xor(&mut last, key.rotate_right(((bytes.len() - N) as u32 & 3) * 8));
        if let Some(place) = bytes.first_chunk_mut() {
            *place = first;
        }
        if let Some(place) = bytes.last_chunk_mut() {
            *place = last;
        }
    }
    match bytes.len() {
        64.. => ends::<64>(bytes, key),
        32.. => ends::<32>(bytes, key),
        16.. => ends::<16>(bytes, key),
        8.. => ends::<8>(bytes, key),
        4.. => ends::<4>(bytes, key),
        _ => bytes.iter_mut().zip(key.to_le_bytes()).for_each(|(byte, key)| *byte ^= key),
    }
}

#[inline(always)]
fn xor<const N: usize>(block: &mut [u8; N], key: u32) {
    for word in block.as_chunks_mut::<4>().0 {
        *word = (u32::from_le_bytes(*word) ^ key).to_le_bytes();
    }
}

/// A server's end of a connection: payload unmasked in place, UTF-8 by simdutf8, no other check.
pub fn connection(mut socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    let mut buffer = vec![0; BUFFER + 64];
    let (mut start, mut end) = (0, 0);
    let (mut whole, mut opcode) = (vec![], 0);
    let mut out = Vec::with_capacity(BUFFER);
    while app.messages < total {
        let need = loop {
            let Some((first, len, head)) = parse(&buffer[start..end]) else { break 14 };
            if end - start < head + len {
                break head + len;
            }
            let key = buffer[start + head - 4..start + head].try_into().unwrap();
            let payload = &mut buffer[start + head..start + head + len];
            unmask(payload, key);
            start += head + len;
            if first & 0x0F != 0 {
                opcode = first & 0x0F;
                whole.clear();
            }
            let message = if first & 0x80 != 0 && first & 0x0F != 0 {
                &*payload
            } else {
                whole.extend_from_slice(payload);
                if first & 0x80 == 0 {
                    continue;
                }
                &whole[..]
            };
            if opcode == 1 {
                simdutf8::basic::from_utf8(message).expect("UTF-8");
            }
            app.message(message);
            if mode != Mode::Decode {
                answer(&mut socket, &mut out, mode, opcode, message);
            }
            if app.messages == total {
                break 0;
            }
        };
        socket.send(&out);
        out.clear();
        buffer.copy_within(start..end, 0);
        (start, end) = (0, end - start);
        if need > buffer.len() - 64 {
            buffer.resize(need + BUFFER, 0);
        }
        if app.messages < total {
            let n = socket.recv(&mut buffer[end..]);
            assert!(n > 0, "the end of the stream");
            end += n;
        }
    }
    socket
}

/// The first byte, the length of the payload, and of the header with its key.
#[inline(always)]
pub fn parse(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (len, head) = match second & 0x7F {
        126 => (u16::from_be_bytes(*rest.first_chunk()?).into(), 8),
        127 => (u64::from_be_bytes(*rest.first_chunk()?) as usize, 14),
        len => (len.into(), 6),
    };
    (bytes.len() >= head).then_some((first, len, head))
}

fn answer(socket: &mut MemorySocket, out: &mut Vec<u8>, mode: Mode, opcode: u8, message: &[u8]) {
    let (bytes, len) = header(opcode, message.len());
    out.extend_from_slice(&bytes[..len]);
    let vectored = message.len() > VECTORED;
    if !vectored {
        out.extend_from_slice(message);
    }
    if vectored || mode == Mode::Echo || out.len() > GATHERED {
        socket.send(out);
        out.clear();
    }
    if vectored {
        socket.send(message);
    }
}
