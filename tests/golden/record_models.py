#!/usr/bin/python3
"""Records three training steps of whole models in PyTorch into tests/golden/models.json, for tests/test_models.cpp.

usage: tests/golden/record_models.py      (from the root of the repository)

Needs PyTorch (Debian: python3-torch). Weights and batches are functions of their names, so that the file holds results
only: for each step the loss, the norm of the gradients before clipping, and [norm, weighted sum] of every gradient,
every parameter after the step and every buffer; at last those of the output in evaluation mode. All in float64.
"""
import json
import math

import torch
import torch.nn.functional as F
from torch import nn

from generate import index_of, uniform_at, weight_at

STEPS = 3


# ---- values from names
def uniform(name, shape):
    values = [2 * uniform_at(index_of(name), i) - 1 for i in range(math.prod(shape))]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


def real(name, step, shape):
    return uniform(f"{name}/{step}", shape)


def classes(name, step, shape, count):
    index = index_of(f"{name}/{step}")
    values = [math.floor(count * uniform_at(index, i)) for i in range(math.prod(shape))]
    return torch.tensor(values, dtype=torch.int64).reshape(shape)


def fill(model):
    """Matrices in +-1 / sqrt(fan in), scales around 1, the rest around 0."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1:
                p.copy_(uniform(name, p.shape) / math.sqrt(p[0].numel()))
            else:
                p.copy_(uniform(name, p.shape) * 0.2 + (1 if name.endswith("weight") else 0))


# ---- models
class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(12, 9), nn.Linear(9, 7), nn.Linear(7, 4)

    def forward(self, x):
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(6 * 2 * 2, 8), nn.Linear(8, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class FashionNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.norm1, self.norm2, self.norm3 = nn.BatchNorm2d(4), nn.BatchNorm2d(6), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        x = F.max_pool2d(F.relu(self.norm3(self.conv3(x))), 2)
        return self.head(x.flatten(1))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, groups=2, bias=False)
        self.shortcut = nn.Conv2d(3, 6, 1, stride=2, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(6, momentum=0.3), nn.BatchNorm2d(6, momentum=0.3)
        self.norm3 = nn.BatchNorm2d(6, eps=1e-3)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        h = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        h = F.relu(h + self.norm3(self.shortcut(x)))
        return self.head(F.adaptive_avg_pool2d(h, 1).flatten(1))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(c // self.heads)
        scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), -math.inf)
        x = x + self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(11, 8), nn.Embedding(6, 8)
        self.blocks = nn.ModuleList(Block(8, 2) for _ in range(2))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 11, bias=False)

    def forward(self, x):
        h = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))


class Transformer(nn.Module):
    """An encoder layer of each kind, the second causal, and attention of a target to what they made of the source."""

    def __init__(self):
        super().__init__()
        options = {"dim_feedforward": 12, "dropout": 0, "batch_first": True}
        self.after = nn.TransformerEncoderLayer(8, 2, activation="relu", **options)
        self.before = nn.TransformerEncoderLayer(
            8, 4, activation="gelu", norm_first=True, layer_norm_eps=1e-3, **options)
        self.cross = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, source, target, padding):
        t = source.shape[1]
        memory = self.before(self.after(source), torch.ones(t, t, dtype=torch.bool).triu(1))
        return self.cross(target, memory, memory, key_padding_mask=padding)[0]


# ---- training
def record(model, make_optimizer, max_norm, forward, loss_of, max_lr=None):
    model.double()
    fill(model)
    optimizer = make_optimizer(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr, total_steps=STEPS + 1) if max_lr else None
    losses, norms, steps = [], [], []
    for step in range(STEPS):
        loss = loss_of(forward(model, step), step)
        optimizer.zero_grad()
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), max_norm).item())
        values = {f"{name}.grad": traits(p.grad) for name, p in model.named_parameters()}
        optimizer.step()
        if schedule:
            schedule.step()
        values.update({name: traits(x) for name, x in model.state_dict().items()})
        losses.append(loss.item())
        steps.append(values)
    model.eval()
    return {"loss": losses, "norm": norms, "steps": steps, "output": traits(forward(model, STEPS))}


def traits(x):
    x = x.detach().double().reshape(-1)
    return [x.norm().item(), sum(weight_at(i) * v for i, v in enumerate(x.tolist()))]


def image_model(model, shape, count, make_optimizer, max_norm, max_lr=None, **loss_options):
    return record(
        model, make_optimizer, max_norm,
        lambda net, step: net(real("x", step, shape)),
        lambda y, step: F.cross_entropy(y, classes("y", step, shape[:1], count), **loss_options), max_lr)


def main():
    models = {
        "mlp": image_model(Mlp(), (5, 12), 4, lambda p: torch.optim.AdamW(p, lr=0.01), 0.5),
        "convnet": image_model(
            ConvNet(), (3, 1, 8, 8), 5,
            lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1), 100),
        "fashion": image_model(
            FashionNet(), (4, 1, 12, 12), 10, lambda p: torch.optim.AdamW(p, eps=1e-4, weight_decay=0.01), 1, 0.02),
        "residual": image_model(
            Residual(), (4, 3, 6, 6), 4,
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, weight_decay=0.01, nesterov=True), 0.7,
            label_smoothing=0.1),
        "gpt": record(
            Gpt(), lambda p: torch.optim.AdamW(p, betas=(0.9, 0.95), eps=1e-4, weight_decay=0.1), 0.8,
            lambda net, step: net(classes("x", step, (3, 6), 11)).flatten(0, 1),
            lambda y, step: F.cross_entropy(y, classes("y", step, (3 * 6,), 11)), 0.02),
        "transformer": record(
            Transformer(), lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, eps=1e-3, momentum=0.5), 0.3,
            lambda net, step: net(real("source", step, (2, 5, 8)), real("target", step, (2, 3, 8)),
                                  torch.tensor([[False] * 5, [False] * 4 + [True]])),
            lambda y, step: F.mse_loss(y, real("y", step, (2, 3, 8)))),
    }
    with open("tests/golden/models.json", "w") as file:
        file.write(json.dumps(models, separators=(",", ":")).replace('"steps":[', '"steps":[\n').replace("},{", "},\n{")
                   .replace('},"', '},\n"') + "\n")
    print(f"{len(models)} models recorded with PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
