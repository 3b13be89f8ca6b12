//! Notes of what a hub does, for whichever of `log`, `tracing` and `defmt` is enabled.

#![forbid(unsafe_code)]

/// Takes a text and values that are `Debug`.
macro_rules! note {
    ($text:literal $(, $value:expr)* $(,)?) => {{
        $(let _ = &$value;)*
        #[cfg(feature = "log")]
        ::log::debug!(target: "sansocket", $text $(, $value)*);
        #[cfg(feature = "tracing")]
        ::tracing::debug!(target: "sansocket", $text $(, $value)*);
        #[cfg(feature = "defmt")]
        ::defmt::debug!($text $(, ::defmt::Debug2Format(&$value))*);
    }};
}

pub(super) use note;
