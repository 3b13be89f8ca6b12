//! The shared pointer of the hub: that of `alloc`, or on chips without compare-and-swap that of portable-atomic.

#![forbid(unsafe_code)]

#[cfg(target_has_atomic = "ptr")]
pub(crate) use alloc::sync::Arc;

#[cfg(not(target_has_atomic = "ptr"))]
pub(crate) use portable_atomic_util::Arc;

/// Moves a value into an `Arc<dyn ...>`. Only the `Arc` of `alloc` converts by itself.
macro_rules! arc_dyn {
    ($value:expr, $type:ty) => {{
        #[cfg(target_has_atomic = "ptr")]
        let pointer: $crate::arc::Arc<$type> = $crate::arc::Arc::new($value);
        #[cfg(not(target_has_atomic = "ptr"))]
        let pointer: $crate::arc::Arc<$type> = {
            let boxed: alloc::boxed::Box<$type> = alloc::boxed::Box::new($value);
            boxed.into()
        };
        pointer
    }};
}
pub(crate) use arc_dyn;
