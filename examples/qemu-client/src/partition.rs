//! The partition of flash with the settings: 8 KiB, lines of `name=value`, then a zero byte, then what else there is.

/// The lines, and what is behind them.
pub fn read() -> Result<(&'static str, &'static [u8]), &'static str> {
    unsafe extern "C" {
        static SETTINGS_START: [u8; 8 * 1024];
    }
    // SAFETY: memory.x keeps these bytes free, and nobody writes them while the program runs.
    let partition: &[u8] = unsafe { &SETTINGS_START };
    let end = partition.iter().position(|byte| *byte == 0).ok_or("no end")?;
    let text = core::str::from_utf8(&partition[..end]).map_err(|_| "not UTF-8")?;
    Ok((text, &partition[end + 1..]))
}

/// The value of the line with this name.
pub fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}
