# Chooses a toolchain for a target other than the host's. CI and the build.sh files of the examples source it.
#
#   cross_cargo TARGET SUBCOMMAND [CARGO-ARGS...]
#
# 1. The cargo and rustc in the PATH, if their toolchain has the target (`rustup target add`).
# 2. Otherwise Debian's (apt: rustc-web cargo-web rust-web-src). It has the sources of the standard library, and cargo
#    builds from them the crates named in CROSS_BUILD_STD (default `core`; also `core,alloc` and `std,panic_abort`).
# 3. Otherwise rustup's nightly with its component rust-src, in the same way.
# 4. Otherwise an error that says what to install.

cross_cargo() {
    local target=$1 subcommand=$2
    shift 2
    if cross_has_target "$target"; then
        cargo "$subcommand" --target "$target" "$@"
    elif cross_has_sources; then
        local linker=CARGO_TARGET_${target//-/_}_LINKER
        linker=${linker^^}
        (
            # LLVM's linker links for bare metal; Debian's rustc has no linker of its own.
            if [[ $target == *-none-* && -z ${!linker-} ]]; then
                export "$linker=$(cross_linker)"
            fi
            export PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
            /usr/bin/cargo "$subcommand" -Z "build-std=${CROSS_BUILD_STD-core}" --target "$target" "$@"
        )
    elif cross_has_nightly; then
        cargo +nightly "$subcommand" -Z "build-std=${CROSS_BUILD_STD-core}" --target "$target" "$@"
    else
        echo "cross: no Rust toolchain for $target. Either: rustup toolchain install nightly --component rust-src" >&2
        [[ $target == *-none-* && $target != xtensa-* ]] && echo "cross: or: rustup target add $target" >&2
        echo "cross: or on Debian: apt-get install rustc-web cargo-web rust-web-src lld-22" >&2
        return 1
    fi
}

cross_has_target() {
    local libraries
    libraries=$(rustc --print target-libdir --target "$1" 2>/dev/null) &&
        compgen -G "$libraries/libcore-*.rlib" >/dev/null
}

cross_has_nightly() {
    command -v rustup >/dev/null && rustup component list --toolchain nightly --installed 2>/dev/null | grep -q '^rust-src'
}

cross_has_sources() {
    [[ -x /usr/bin/cargo && -x /usr/bin/rustc ]] &&
        [[ -f $(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/core/Cargo.toml ]]
}

# LLVM's linker: the one that Debian's rustc names (apt: lld-22), otherwise the one of a rustup toolchain, for which the
# PATH must still be the caller's.
cross_linker() {
    local candidate
    for candidate in /usr/bin/rust-lld "$(rustc --print sysroot 2>/dev/null)"/lib/rustlib/*/bin/rust-lld; do
        if [[ -x $candidate ]]; then
            echo "$candidate"
            return
        fi
    done
    echo "cross: no linker found: linking will fail (on Debian: apt-get install lld-22)" >&2
    echo rust-lld
}
