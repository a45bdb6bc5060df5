#!/usr/bin/env python3
"""The statistics of the group `card` by PyTorch, on the gradients of ResNet-18's 62 parameters: each read with .item(), as
people write it, and put together and read once. CUDA where there is one, else the CPU.

Usage: torch_stats.py [THREADS [RESULTS.json]]"""
import json
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())
device = "cuda" if torch.cuda.is_available() else "cpu"
# As many as gradscope's take turns where caches are large.
SET_COUNT = 24
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
sets = [[torch.randn(n, device=device) * 1e-3 for n in lens] for _ in range(SET_COUNT)]


def statistics(g, previous):
    a = g.abs()
    return [
        g.min(), g.max(), a.sum(), (g * g).sum().sqrt(), (a < 1e-7).sum(), (a < 1e-5).sum(), (g == 0).sum(),
        (g > 0).sum(), (g < 0).sum(), g.isnan().sum(), g.isposinf().sum(), g.isneginf().sum(), (g * previous < 0).sum(),
    ]


def read_each(turn):
    return [s.item() for g, p in zip(sets[turn], sets[turn - 1]) for s in statistics(g, p)]


def read_once(turn):
    every = [s.float() for g, p in zip(sets[turn], sets[turn - 1]) for s in statistics(g, p)]
    return torch.stack(every).tolist()


name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
print(f"PyTorch {torch.__version__}, {name}")
rows = [{"adapter": f"PyTorch {torch.__version__}, {name}"}]
for way in (read_each, read_once):
    way(0)
    times = []
    for turn in range(SET_COUNT):
        started = time.perf_counter()
        way(turn)
        times.append(time.perf_counter() - started)
    times.sort()
    print(f"{way.__name__}: median {1e3 * times[len(times) // 2]:.1f} ms, min {1e3 * times[0]:.1f} ms")
    rows.append({"case": way.__name__, "secs": times[len(times) // 2]})
if len(sys.argv) > 2:
    with open(sys.argv[2], "w") as file:
        json.dump(rows, file, indent=2)
