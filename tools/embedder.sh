#!/bin/sh
# A user's crate, outside of the workspace, with burn's own default features: it trains under a scope, and holds what comes back against
# gradients read back in full. What gradscope adds to its dependencies is told, and must be none of what views are made of.
set -eu

crate=tests/embedder
cargo run --release --manifest-path $crate/Cargo.toml

tree() { cargo tree --manifest-path "$1/Cargo.toml" -e normal --prefix none | sed 's/ .*//' | sort -u; }
alone=$(mktemp -d)
trap 'rm -rf "$alone"' EXIT
mkdir "$alone/src"
echo 'fn main() {}' >"$alone/src/main.rs"
grep -v '^gradscope' $crate/Cargo.toml >"$alone/Cargo.toml"
cp $crate/Cargo.lock "$alone"
tree $crate >"$alone/with"
tree "$alone" >"$alone/without"
added=$(comm -23 "$alone/with" "$alone/without")
echo "gradscope adds to a crate that has burn: $(echo $added)"
if echo "$added" | grep -E '^(axum|hyper|tokio|tiny_http|clap|lexopt|plotters|resvg|indicatif)'; then
    echo "the library pulls what only the command may need" >&2
    exit 1
fi
