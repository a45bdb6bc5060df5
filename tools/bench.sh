#!/bin/sh
# Measures what BENCHMARKS.md tells of this machine's adapter, and writes its section anew; of the benches named, prints what they measured.
# usage: bench.sh [grad_reduce|peers|torch|step_overhead|unfused|main_job|diagnosis|run_folder|soak]...
set -eu
cd "$(dirname "$0")/.."
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}"
folder="${CARGO_TARGET_DIR:-target}/bench"
mkdir -p "$folder"
python="${PYTHON:-python3}"
# What an older bench called otherwise would stay.
[ $# -gt 0 ] || rm -f "$folder"/*.json

for bench in ${*:-grad_reduce peers torch step_overhead main_job diagnosis run_folder unfused soak}; do
    echo "== $bench"
    case $bench in
    torch)
        if "$python" -c 'import torch' 2>/dev/null; then
            "$python" benches/peers/torch_stats.py "$(nproc)" "$folder/torch.json"
        else
            echo "no PyTorch in $python: its row stays out (PYTHON names another)"
        fi ;;
    unfused)
        # burn is built once more, without fusion.
        cargo bench --workspace --no-default-features --features gradscope/burn \
            --bench step_overhead -- mlp resnet18 ;;
    *) cargo bench --workspace --bench "$bench" ;;
    esac
done

[ $# -eq 0 ] || exec cargo bench --workspace --bench report

# A working tree with changes is no commit that others could measure.
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -1)
burn=$(sed -n '/^name = "burn"$/{n;s/version = "\(.*\)"/\1/p;}' Cargo.lock)
cargo bench --workspace --bench report -- --write BENCHMARKS.md \
    --of "$(date +%F), commit $commit, burn $burn; $(nproc) cores${processor:+ of $processor}. \`make bench\`"
