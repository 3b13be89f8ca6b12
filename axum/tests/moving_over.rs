//! One program, compiled with axum's ws and with this crate: all that differs is the `use` line above it.

mod with_axum {
    use axum::extract::ws::*;
    include!("moving_over/program.rs");
}

mod with_sansocket {
    use sansocket_axum::*;
    include!("moving_over/program.rs");
}
