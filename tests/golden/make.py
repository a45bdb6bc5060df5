"""What PyTorch makes of a ResNet after one backward pass: the files that examples/resnet18_snapshot is held against.

    python3 make.py DIR                         the small ones that ship
    python3 make.py DIR --width 64 --side 224 --classes 1000
                                                the network as published, with its 11.7 million parameters
    python3 make.py DIR --depth 50              ResNet-50

Needs torch and torchvision. Writes weights.pth, input.npy, train.json and eval.json into DIR.
"""

import argparse
import json
import pathlib

import numpy
import torch
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

parser = argparse.ArgumentParser()
parser.add_argument("dir", type=pathlib.Path)
parser.add_argument("--depth", type=int, default=18, choices=[18, 50])
parser.add_argument("--width", type=int, default=4)
parser.add_argument("--side", type=int, default=64)
parser.add_argument("--classes", type=int, default=10)
options = parser.parse_args()


class Narrow(ResNet):
    """torchvision's network with `width` channels where it has 64."""

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
        if planes == 64:
            self.inplanes = options.width
            self.conv1 = torch.nn.Conv2d(3, options.width, 7, 2, 3, bias=False)
            self.bn1 = torch.nn.BatchNorm2d(options.width)
        return super()._make_layer(block, planes * options.width // 64, blocks, stride, dilate)


torch.manual_seed(1)
block, counts = (BasicBlock, [2, 2, 2, 2]) if options.depth == 18 else (Bottleneck, [3, 4, 6, 3])
model = Narrow(block, counts, num_classes=options.classes)
model.fc = torch.nn.Linear(8 * options.width * block.expansion, options.classes)
for module in model.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        torch.nn.init.uniform_(module.bias, -0.5, 0.5)
        module.running_mean.uniform_(-0.5, 0.5)
        module.running_var.uniform_(0.5, 2.0)
images = torch.randn(1, 3, options.side, options.side)

options.dir.mkdir(parents=True, exist_ok=True)
torch.save(model.state_dict(), options.dir / "weights.pth")
numpy.save(options.dir / "input.npy", images.numpy())
state = {name: value.clone() for name, value in model.state_dict().items()}
for mode in ["train", "eval"]:
    model.load_state_dict(state)
    model.train(mode == "train")
    model.zero_grad()
    model(images).sum().backward()
    figures = {
        name: {
            "param_max": param.max().item(),
            "param_min": param.min().item(),
            "grad_max": param.grad.max().item(),
            "grad_min": param.grad.min().item(),
        }
        for name, param in model.named_parameters()
    }
    (options.dir / f"{mode}.json").write_text(json.dumps(figures, indent=1) + "\n")
