# Sourced by build.sh of the examples and by CI: the one place that chooses a toolchain for a target
# other than the host's.
#
#   cross_cargo TARGET SUBCOMMAND [CARGO-ARGS...]
#
# 1. The cargo and rustc of the PATH, where their toolchain has the target (`rustup target add`).
# 2. Else one that has the library's sources, from which cargo builds the crates named in
#    CROSS_BUILD_STD (default `core`; `core,alloc` and `std,panic_abort` work as well): rustup's
#    nightly with rust-src, for the Xtensa ESP32s espup's;
# 3. or Debian's (apt: rustc-web cargo-web rust-web-src).
# 4. Else an error that says what to install.

cross_cargo() {
    local target=$1 subcommand=$2 toolchain
    shift 2
    if cross_has_target "$target"; then
        cargo "$subcommand" --target "$target" "$@"
    elif toolchain=$(cross_toolchain "$target") && cross_has_sources rustup run "$toolchain" rustc; then
        rustup run "$toolchain" cargo "$subcommand" -Z "build-std=${CROSS_BUILD_STD-core}" --target "$target" "$@"
    elif cross_has_sources /usr/bin/rustc; then
