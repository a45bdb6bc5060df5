#!/usr/bin/env python3
"""The statistics of the group `card` by PyTorch, on the gradients of ResNet-18's 62 parameters: each read with .item(), as
people write it, and put together and read once. CUDA where there is one, else the CPU.

Usage: torch_stats.py [THREADS]"""
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())
device = "cuda" if torch.cuda.is_available() else "cpu"
lens = [7 * 7 * 3 * 64, 64, 64]
for stage, (start, width) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)]):
    for block in range(2):
        fan_in = start if block == 0 else width
        lens += [9 * fan_in * width, width, width, 9 * width * width, width, width]
        if block == 0 and stage > 0:
            lens += [fan_in * width, width, width]
lens += [512 * 1000, 1000]
assert (len(lens), sum(lens)) == (62, 11_689_512)
torch.manual_seed(1)
sets = [[torch.randn(n, device=device) * 1e-3 for n in lens] for _ in range(2)]


def statistics(g, previous):
    a = g.abs()
    return [
        g.min(), g.max(), a.sum(), (g * g).sum().sqrt(), (a < 1e-7).sum(), (a < 1e-5).sum(), (g == 0).sum(),
        (g > 0).sum(), (g < 0).sum(), g.isnan().sum(), g.isposinf().sum(), g.isneginf().sum(), (g * previous < 0).sum(),
    ]


def read_each(turn):
    return [s.item() for g, p in zip(sets[turn], sets[1 - turn]) for s in statistics(g, p)]


def read_once(turn):
    every = [s.float() for g, p in zip(sets[turn], sets[1 - turn]) for s in statistics(g, p)]
    return torch.stack(every).tolist()


print(f"PyTorch {torch.__version__}, {device}, {torch.get_num_threads()} threads")
for way in (read_each, read_once):
    way(0)
    times = []
    for turn in range(20):
        started = time.perf_counter()
        way(turn % 2)
        times.append(time.perf_counter() - started)
    times.sort()
    print(f"{way.__name__}: median {1e3 * times[10]:.1f} ms, min {1e3 * times[0]:.1f} ms")
