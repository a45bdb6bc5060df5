#!/bin/sh
# Packs the crates as they would be published, holds each against the registry's limit of 10 MB, and builds what was packed.
set -eu
cd "$(dirname "$0")/.."

cargo package --workspace --exclude gradscope-tests --no-verify "$@"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
for name in gradscope-record gradscope-store gradscope gradscope-models gradscope-cli; do
    file=${CARGO_TARGET_DIR:-target}/package/$name-$version.crate
    bytes=$(wc -c <"$file")
    echo "$file: $bytes bytes"
    [ "$bytes" -lt 10000000 ] || { echo "$file is over 10 MB" >&2; exit 1; }
done
cargo publish --workspace --exclude gradscope-tests --dry-run "$@"
