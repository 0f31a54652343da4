"""A small network with every kind of layer that adapters are exchanged for, and the way its numbers travel as JSON."""

import json
from pathlib import Path

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D as TransposedLinear


class Attention(nn.Module):
    """As deep a path as attention has in practice; what it computes is simpler."""

    def __init__(self):
        super().__init__()
        self.query = nn.Linear(6, 4)
        self.key = nn.Linear(6, 4, bias=False)
        self.value = nn.Linear(6, 4)
        self.out = nn.Linear(4, 6)

    def forward(self, x):
        return self.out(torch.tanh(self.query(x)) * torch.sigmoid(self.key(x)) + self.value(x))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = Attention()
        self.norm = nn.LayerNorm(6)

    def forward(self, x):
        return self.norm(x + self.attention(x))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.ModuleList([Block(), Block()])

    def forward(self, x):
        for block in self.layer:
            x = block(x)
        return x


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(13, 6)
        self.encoder = Encoder()
        self.line = nn.Conv1d(6, 5, 3)
        self.depthwise = nn.Conv2d(3, 6, (3, 2), groups=3)
        self.grouped = nn.Conv2d(6, 4, 2, groups=2, bias=False)
        self.batch = nn.BatchNorm2d(4)
        self.pointwise = nn.Conv2d(3, 7, 1, stride=(2, 1))
        self.volume = nn.Conv3d(2, 3, (2, 3, 2))
        self.mix = TransposedLinear(8, 19)
        self.head = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))

    def forward(self, tokens, image, film):
        x = self.encoder(self.tokens(tokens))  # [n, 7, 6]
        line = torch.tanh(self.line(x.transpose(1, 2))).mean(2)  # [n, 5]
        pixels = torch.relu(self.batch(self.grouped(torch.tanh(self.depthwise(image))))).mean((2, 3))  # [n, 4]
        points = torch.relu(self.pointwise(image)).mean((2, 3))  # [n, 7]
        volume = torch.tanh(self.volume(film)).mean((2, 3, 4))  # [n, 3]
        return self.head(torch.tanh(self.mix(torch.cat([line, pixels, points, volume], 1))))


def make_network():
    """The network with the weights of seed 0, all different from what they start with."""
    torch.manual_seed(0)
    network = Network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        network.batch.running_mean.normal_(0, 0.3)
        network.batch.running_var.uniform_(0.5, 1.5)
    return network.eval()


def make_inputs():
    torch.manual_seed(1)
    return {
        "tokens": torch.randint(0, 13, (2, 7)),
        "image": torch.randn(2, 3, 7, 6),
        "film": torch.randn(2, 2, 4, 5, 4),
    }


def as_json(tensor):
    return {"shape": list(tensor.shape), "data": tensor.detach().flatten().tolist()}


def weights_of(module):
    return {
        name: tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")
    }


class SmallNetwork(nn.Module):
    """The network of the fixtures lora, rslora, modules_to_save and bias_lora_only."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(6, 8, (3, 2), stride=2)
        self.fc1 = nn.Linear(8, 5)
        self.emb = nn.Embedding(11, 5)
        self.head = nn.Linear(5, 4)

    def forward(self, img, ids):
        x = torch.relu(self.conv2(torch.relu(self.conv1(img)))).mean((2, 3))
        return self.head(torch.tanh(self.fc1(x)) + self.emb(ids).mean(1))


def from_json(stored, dtype=torch.float32):
    return torch.tensor(stored["data"], dtype=dtype).reshape(stored["shape"])


def load_network(which):
    """A network of the fixtures, its inputs, and its weights, as they stand in the fixtures."""
    fixtures = Path(__file__).parent.parent / "fixtures" / "peft"
    if which == "small":
        base = json.loads((fixtures / "base.json").read_text())
        network = SmallNetwork()
        inputs = {"img": from_json(base["img"]), "ids": torch.tensor(base["ids"])}
    else:
        base = json.loads((fixtures / "made" / "base.json").read_text())
        network = Network()
        inputs = {name: from_json(stored) for name, stored in base["inputs"].items()}
        inputs["tokens"] = inputs["tokens"].long()
    weights = {name: from_json(stored) for name, stored in base["weights"].items()}
    network.load_state_dict(weights, strict=False)
    return network.eval(), inputs, weights
