#!/usr/bin/env python3
"""Draws the subset that ships from the full Fashion-MNIST: the first 300 training and 100 test images of each
class, in their original order. Usage: draw.py FULL_SET_DIR"""
import gzip
import pathlib
import struct
import sys

full, here = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent
for kind, per_class in (("train", 300), ("t10k", 100)):
    images = gzip.decompress((full / f"{kind}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((full / f"{kind}-labels-idx1-ubyte.gz").read_bytes())[8:]
    taken = [0] * 10
    chosen = []
    for index, label in enumerate(labels):
        if taken[label] < per_class:
            taken[label] += 1
            chosen.append(index)
    pixels = b"".join(images[i * 784 : (i + 1) * 784] for i in chosen)
    header = struct.pack(">IIII", 0x803, len(chosen), 28, 28)
    (here / f"{kind}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels, 9, mtime=0))
    header = struct.pack(">II", 0x801, len(chosen))
    body = bytes(labels[i] for i in chosen)
    (here / f"{kind}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + body, 9, mtime=0))
