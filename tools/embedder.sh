#!/bin/sh
# A user's crate, outside of the workspace, with burn's own default features: it trains under a scope, and holds what comes back against
# gradients read back in full. What gradscope adds to its dependencies is told, and must be none of what views are made of.
set -eu

crate=tests/embedder
cargo run --release --manifest-path $crate/Cargo.toml

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/src"
echo 'fn main() {}' >"$scratch/src/main.rs"
grep -v '^gradscope' $crate/Cargo.toml >"$scratch/Cargo.toml"
cp $crate/Cargo.lock "$scratch"
cargo tree --manifest-path $crate/Cargo.toml -e normal --prefix none >"$scratch/with"
cargo tree --manifest-path "$scratch/Cargo.toml" -e normal --prefix none >"$scratch/without"
for tree in with without; do
    sed 's/ .*//' "$scratch/$tree" | sort -u >"$scratch/$tree.names"
done
added=$(comm -23 "$scratch/with.names" "$scratch/without.names")
echo "gradscope adds to a crate that has burn:" $added
echo "$added" | grep -q '^gradscope$' || { echo "it is not among them: nothing was compared" >&2; exit 1; }
if echo "$added" | grep -E '^(axum|hyper|tokio|tiny_http|clap|lexopt|plotters|resvg|indicatif)'; then
    echo "the library pulls what only the command may need" >&2
    exit 1
fi
