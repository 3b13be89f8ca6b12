//! Masking keys are different in each connection and each process.
#![cfg(all(feature = "std", unix))]

use std::io::{Read, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;

use sansocket::Client;
use sansocket::proto::MaskingKey;
use sansocket::proto::SystemKeys;

const COUNT: usize = 64;

fn draw(keys: &mut SystemKeys) -> [[u8; 4]; COUNT] {
    [(); COUNT].map(|()| keys.masking_key())
}

/// Runs a function in a child that is a copy of this process, and waits for its end.
#[expect(unsafe_code, reason = "std has no fork")]
fn in_a_fork(child: impl FnOnce()) {
    unsafe extern "C" {
        fn fork() -> i32;
        fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
        fn _exit(status: i32) -> !;
    }
    // SAFETY: the child is alone with this thread, and calls nothing that takes a lock or memory: it draws keys, writes
    // them to a socket and exits.
    unsafe {
        match fork() {
            0 => {
                child();
                _exit(0)
            }
            process => {
                let mut status = 0;
                assert_eq!((waitpid(process, &mut status, 0), status), (process, 0));
            }
        }
    }
}

#[test]
fn parent_and_children_draw_different_keys() {
    // Before the first key, within a block of the generator, and behind one.
    for before in [0, 1, COUNT] {
        let mut keys = SystemKeys::new().unwrap();
        let mut all: Vec<_> = (0..before).map(|_| keys.masking_key()).collect();
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        for _ in 0..2 {
            in_a_fork(|| {
                let _ = theirs.write_all(draw(&mut keys).as_flattened());
                in_a_fork(|| {
                    let _ = theirs.write_all(draw(&mut keys).as_flattened());
                });
            });
            for _ in 0..2 {
                let mut drawn = [[0; 4]; COUNT];
                ours.read_exact(drawn.as_flattened_mut()).unwrap();
                all.extend(drawn);
            }
        }
        all.extend(draw(&mut keys));
        let drawn = all.len();
        all.sort_unstable();
        all.dedup();
        // Of some hundred numbers of 32 bits, two may be the same by chance once in many thousand runs, not more.
        assert!(drawn - all.len() < 2, "{} of {drawn} keys came again", drawn - all.len());
    }
}

#[test]
fn a_source_of_keys_cannot_be_cloned() {
    struct IsClone<T>(PhantomData<T>);
    trait Not {
        const YES: bool = false;
    }
    impl<T> Not for IsClone<T> {}
    impl<T: Clone> IsClone<T> {
        const YES: bool = true;
    }
    const {
        assert!(IsClone::<u8>::YES);
        assert!(!IsClone::<SystemKeys>::YES && !IsClone::<Client<SystemKeys>>::YES);
        assert!(!IsClone::<Client<fn() -> [u8; 4]>>::YES);
    }
}
