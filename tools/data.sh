#!/bin/sh
# data.sh DIR: fetches Fashion-MNIST (31 MB, MIT) and CIFAR-10 (170 MB) from where they are published into DIR, and checks every file.
# FASHION_MNIST_URL, a folder, and CIFAR10_URL, an archive, name other places; what is fetched is checked against the same sums.
set -eu

[ $# = 1 ] || { echo "usage: sh tools/data.sh DIR" >&2; exit 2; }
dir=$1
fashion_mnist=${FASHION_MNIST_URL:-https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion}
cifar10=${CIFAR10_URL:-https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz}

say() { echo "gradscope: $*" >&2; }

# The sums of what is unpacked: an archive may be packed anew. Quiet, and true where all files are as they should be.
check() {
    if command -v sha256sum >/dev/null; then sha256sum -c; else shasum -a 256 -c; fi >/dev/null 2>&1
}

check_fashion_mnist() {
    cd "$1" 2>/dev/null && check <<SUMS
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888  train-images-idx3-ubyte
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9  train-labels-idx1-ubyte
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b  t10k-images-idx3-ubyte
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34  t10k-labels-idx1-ubyte
SUMS
}

check_cifar10() {
    cd "$1/cifar-10-batches-bin" 2>/dev/null && check <<SUMS
cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5  data_batch_1.bin
a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed  data_batch_2.bin
bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67  data_batch_3.bin
014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48  data_batch_4.bin
755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add  data_batch_5.bin
8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b  test_batch.bin
SUMS
}

fetch() {
    say "fetching $1"
    curl -fL --retry 3 --progress-bar -o "$2" "$1" || { say "$1: that failed; is the network there?"; exit 1; }
}

# refuse SET URL: nothing of it stays.
refuse() {
    say "$1: what came from $2 is not the published set"
    exit 1
}

command -v curl >/dev/null || { say "this needs curl"; exit 1; }
mkdir -p "$dir"
dir=$(CDPATH='' cd -- "$dir" && pwd)
# A set is in its place once it is whole.
partial=$dir/partial
trap 'rm -rf "$partial"' EXIT

if (check_fashion_mnist "$dir/fashion-mnist"); then
    say "Fashion-MNIST is there"
else
    rm -rf "$partial" "$dir/fashion-mnist"
    mkdir "$partial"
    for file in train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte; do
        fetch "$fashion_mnist/$file.gz" "$partial/$file.gz"
        gzip -d "$partial/$file.gz" || refuse Fashion-MNIST "$fashion_mnist"
    done
    (check_fashion_mnist "$partial") || refuse Fashion-MNIST "$fashion_mnist"
    mv "$partial" "$dir/fashion-mnist"
fi
if (check_cifar10 "$dir/cifar-10"); then
    say "CIFAR-10 is there"
else
    rm -rf "$partial" "$dir/cifar-10"
    mkdir "$partial"
    fetch "$cifar10" "$partial/archive.tar.gz"
    tar -xzf "$partial/archive.tar.gz" -C "$partial" || refuse CIFAR-10 "$cifar10"
    rm "$partial/archive.tar.gz"
    (check_cifar10 "$partial") || refuse CIFAR-10 "$cifar10"
    mv "$partial" "$dir/cifar-10"
fi
say "cargo run --release -- train --data-dir $dir/fashion-mnist, or $dir/cifar-10, trains on them"
