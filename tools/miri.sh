#!/bin/sh
# The statistics, the twins and the rules on Rust's interpreter: what of the library runs without a GPU and without files.
set -eu

if ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "gradscope: miri is not here: rustup +nightly component add miri rust-src" >&2
    exit 1
fi
MIRIFLAGS=${MIRIFLAGS:--Zmiri-disable-isolation} cargo +nightly miri test --target-dir target/miri -p gradscope-record -p gradscope --no-default-features --lib --test twins "$@"
