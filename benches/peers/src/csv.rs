//! The rows that every program prints: `work,library,value,unit,ratio_to_floor`.

/// Prints a row. A ratio that is not finite is left out.
pub fn row(work: &str, library: &str, value: f64, unit: &str, ratio: f64) {
    let ratio = if ratio.is_finite() { format!("{ratio:.3}") } else { String::new() };
    println!("{work},{library},{value:.3},{unit},{ratio}");
}

/// Prints a row of a library that could not do the work, with the reason.
pub fn failed(work: &str, library: &str, reason: &str) {
    let reason: String =
        reason.chars().map(|c| if c == ',' || c == '\n' { ';' } else { c }).take(120).collect();
    println!("{work},{library},failed,{reason},");
}

/// Runs it; a panic becomes its reason.
pub fn attempt<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
    })
}

/// Returns a size as it stands in the name of a work: `16`, `1K`, `1M`.
pub fn size(bytes: usize) -> String {
    match bytes {
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{}M", bytes >> 20),
        _ if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{}K", bytes >> 10),
        _ => bytes.to_string(),
    }
}

/// Returns the value of this option of the command line.
pub fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|arg| arg != name).nth(1)
}

/// Returns whether the command line has this option.
pub fn flag(name: &str) -> bool {
    std::env::args().any(|arg| arg == name)
}
