"""Exports well-known networks with random weights, small ones, by both exporters of PyTorch:

    python test/python/export_torch_onnx.py FOLDER     (needs torch, transformers, onnx and onnxscript)
"""

import inspect
import os
import sys
import warnings

import torch
from torch import nn
from torch.nn import functional as F

warnings.filterwarnings('ignore')


class Residual(nn.Module):
    """The basic block of ResNet-18."""
    def __init__(self, inner, out, stride):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(inner, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.second, self.norm2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.short = nn.Sequential(nn.Conv2d(inner, out, 1, stride, bias=False), nn.BatchNorm2d(out)) if stride > 1 else nn.Identity()

    def forward(self, x):
        return F.relu(self.norm2(self.second(F.relu(self.norm1(self.first(x))))) + self.short(x))


class ResNet(nn.Module):
    """ResNet-18, an eighth as wide."""
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
        widths = [8, 16, 32, 64]
        blocks = [Residual(widths[max(i - 1, 0)] if j == 0 else w, w, 2 if i > 0 and j == 0 else 1)
                  for i, w in enumerate(widths) for j in range(2)]
        self.blocks, self.classes = nn.Sequential(*blocks), nn.Linear(64, 10)

    def forward(self, images):
        x = F.max_pool2d(F.relu(self.norm(self.stem(images))), 3, 2, 1)
        return self.classes(F.adaptive_avg_pool2d(self.blocks(x), 1).flatten(1))


class Inverted(nn.Module):
    """The block of MobileNetV3."""
    def __init__(self, inner, wide, out, kernel, stride, squeezes, activation):
        super().__init__()
        layers = [nn.Conv2d(inner, wide, 1, bias=False), nn.BatchNorm2d(wide), activation(),
                  nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False), nn.BatchNorm2d(wide), activation()]
        self.expand, self.squeezes, self.skips = nn.Sequential(*layers), squeezes, stride == 1 and inner == out
        self.down, self.up = nn.Conv2d(wide, wide // 4, 1), nn.Conv2d(wide // 4, wide, 1)
        self.project = nn.Sequential(nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = self.expand(x)
        if self.squeezes:
            y = y * F.hardsigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(y, 1)))))
        return self.project(y) + x if self.skips else self.project(y)


class MobileNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish(),
            Inverted(8, 16, 8, 3, 1, True, nn.ReLU), Inverted(8, 24, 12, 5, 2, False, nn.Hardswish), Inverted(12, 24, 12, 5, 1, True, nn.Hardswish))
        self.classes = nn.Sequential(nn.Linear(12, 20), nn.Hardswish(), nn.Dropout(), nn.Linear(20, 6))

    def forward(self, images):
        return self.classes(self.blocks(images).mean([2, 3]))


class ConvNeXt(nn.Module):
    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.depthwise, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width, eps=1e-6)
            self.wide, self.narrow, self.scale = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), nn.Parameter(torch.rand(width, 1, 1))

        def forward(self, x):
            y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
            return x + self.scale * self.narrow(F.gelu(self.wide(y))).permute(0, 3, 1, 2)

    class Norm(nn.LayerNorm):
        """Over the channels of images that have them first."""
        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 4, 4), self.Norm(8), self.Block(8), self.Norm(8), nn.Conv2d(8, 16, 2, 2), self.Block(16))
        self.norm, self.classes = nn.LayerNorm(16), nn.Linear(16, 7)

    def forward(self, images):
        return self.classes(self.norm(self.body(images).mean([-2, -1])))


class UNet(nn.Module):
    @staticmethod
    def twice(inner, out):
        return nn.Sequential(nn.Conv2d(inner, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(), nn.Conv2d(out, out, 3, padding=1), nn.ReLU())

    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.deep = self.twice(3, 8), self.twice(8, 16), self.twice(16, 16)
        self.up2, self.merge2 = nn.ConvTranspose2d(16, 16, 2, 2), self.twice(32, 8)
        self.up1, self.merge1 = nn.ConvTranspose2d(8, 8, 3, 2, 1, 1), self.twice(16, 8)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, images):
        one = self.down1(images)
        two = self.down2(F.max_pool2d(one, 2))
        x = self.merge2(torch.cat([two, self.up2(self.deep(F.max_pool2d(two, 2)))], 1))
        x = self.merge1(torch.cat([one, self.up1(x)], 1))
        return torch.sigmoid(F.interpolate(self.last(x), scale_factor=2, mode='bilinear', align_corners=True))


class Neck(nn.Module):
    """The neck and head of a YOLO: a spatial pyramid pool, resizes, splits, boxes of distances."""
    @staticmethod
    def conv(inner, out, kernel=1, stride=1):
        return nn.Sequential(nn.Conv2d(inner, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out), nn.SiLU())

    def __init__(self):
        super().__init__()
        self.stem, self.low = self.conv(3, 8, 3, 2), self.conv(8, 16, 3, 2)
        self.before, self.pool, self.after = self.conv(16, 8), nn.MaxPool2d(5, 1, 2), self.conv(32, 16)
        self.split, self.inner, self.join = self.conv(24, 16), self.conv(8, 8, 3), self.conv(24, 16)
        self.boxes, self.classes = nn.Conv2d(16, 4 * 8, 1), nn.Conv2d(16, 3, 1)

    def forward(self, images):
        high = self.stem(images)
        x = self.before(self.low(high))
        pools = [x]
        for _ in range(3):
            pools.append(self.pool(pools[-1]))
        x = F.interpolate(self.after(torch.cat(pools, 1)), scale_factor=2.0, mode='nearest')
        one, two = self.split(torch.cat([x, high], 1)).chunk(2, 1)
        x = self.join(torch.cat([one, two, two + self.inner(two)], 1))
        count, _, height, width = x.shape
        boxes, classes = self.boxes(x).view(count, 4, 8, height * width), self.classes(x).view(count, 3, height * width)
        distances = (boxes.softmax(2) * torch.arange(8.0).view(1, 1, 8, 1)).sum(2)
        rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
        anchors = torch.stack([columns, rows]).view(1, 2, -1)
        low, far = anchors - distances[:, :2], anchors + distances[:, 2:]
        return torch.cat([(low + far) / 2, far - low, classes.sigmoid()], 1)


class Swin(nn.Module):
    """Two blocks of a Swin transformer, the second with shifted windows, and the merging of patches."""
    def __init__(self, width=16, heads=2, window=4):
        super().__init__()
        self.patches, self.window, self.heads = nn.Conv2d(3, width, 2, 2), window, heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.qkv, self.out = (nn.ModuleList(nn.Linear(width, n * width) for _ in range(2)) for n in (3, 1))
        self.wide, self.narrow = (nn.ModuleList(nn.Linear(*d) for _ in range(2)) for d in ((width, 2 * width), (2 * width, width)))
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads))
        at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing='ij')).flatten(1)
        between = (at[:, :, None] - at[:, None]).permute(1, 2, 0) + window - 1
        self.register_buffer('index', (between[..., 0] * (2 * window - 1) + between[..., 1]).flatten())
        regions = torch.zeros(1, 8, 8, 1)
        for i, rows in enumerate([slice(0, -4), slice(-4, -2), slice(-2, None)]):
            for j, columns in enumerate([slice(0, -4), slice(-4, -2), slice(-2, None)]):
                regions[:, rows, columns] = 3 * i + j
        parts = self.windows(regions).squeeze(-1)
        self.register_buffer('mask', (parts[:, None] != parts[:, :, None]).float() * -100)
        self.merge_norm, self.merge = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def windows(self, x):
        n, h, w, c = x.shape
        s = self.window
        return x.view(n, h // s, s, w // s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, s * s, c)

    def attend(self, x, i, shift):
        n, h, w, c = x.shape
        s = self.window
        parts = self.windows(torch.roll(x, (-shift, -shift), (1, 2)) if shift else x)
        b, t, _ = parts.shape
        q, k, v = self.qkv[i](parts).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)
        weights = weights + self.table[self.index].view(t, t, -1).permute(2, 0, 1).unsqueeze(0)
        if shift:
            weights = weights.view(n, -1, self.heads, t, t) + self.mask[None, :, None]
            weights = weights.view(b, self.heads, t, t)
        y = self.out[i]((weights.softmax(-1) @ v).transpose(1, 2).reshape(b, t, c))
        y = y.view(n, h // s, w // s, s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return torch.roll(y, (shift, shift), (1, 2)) if shift else y

    def forward(self, images):
        x = self.patches(images).permute(0, 2, 3, 1)
        for i in range(2):
            x = x + self.attend(self.norms[2 * i](x), i, self.window // 2 * i)
            x = x + self.narrow[i](F.gelu(self.wide[i](self.norms[2 * i + 1](x))))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.merge(self.merge_norm(x))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(30, 8)
        self.lstm, self.tags = nn.LSTM(8, 6, 2, batch_first=True, bidirectional=True), nn.Linear(12, 5)

    def forward(self, tokens):
        return self.tags(self.lstm(self.tokens(tokens))[0])


class Sentences(nn.Module):
    """A recurrent network that hands on its state: initial states, lengths, and cells."""
    def __init__(self):
        super().__init__()
        self.lstm, self.gru = nn.LSTM(5, 6), nn.GRU(6, 4, bidirectional=True)

    def forward(self, values, state, cell):
        x, (state, cell) = self.lstm(values.transpose(0, 1), (state.transpose(0, 1), cell.transpose(0, 1)))
        y, last = self.gru(x)
        return y.transpose(0, 1), state.transpose(0, 1), cell.transpose(0, 1), last.transpose(0, 1)


class Encoded(nn.Module):
    """What an encoder of transformers gives."""
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, values):
        return self.encoder(values).last_hidden_state


class Masked(Encoded):
    def forward(self, input_ids, attention_mask):
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def of_transformers(attention):
    import transformers as t
    common = {'attn_implementation': attention}
    wav = t.Wav2Vec2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=(8, 8), conv_kernel=(10, 3),
                           conv_stride=(5, 2), num_feat_extract_layers=2, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, **common)
    whisper = t.WhisperConfig(d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=24, decoder_layers=1, decoder_attention_heads=2, num_mel_bins=8, max_source_positions=12, **common)
    bert = t.BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=40, max_position_embeddings=16, **common)
    vit = t.ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=16, patch_size=4, **common)
    llama = t.LlamaConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=24, vocab_size=40,
                          max_position_embeddings=32, use_cache=False, **common)
    ids = lambda: (torch.randint(0, 40, (2, 6)), torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]))
    return [
        ('wav2vec2', Encoded(t.Wav2Vec2Model(wav)), (torch.randn(2, 200),)),
        ('whisper', Encoded(t.WhisperModel(whisper).encoder), (torch.randn(2, 8, 24),)),
        ('bert', Masked(t.BertModel(bert)), ids()),
        ('vit', Encoded(t.ViTModel(vit)), (torch.randn(2, 3, 16, 16),)),
        ('llama', Masked(t.LlamaModel(llama)), ids()),
    ]


def main(folder):
    torch.manual_seed(0)
    networks = [
        ('resnet', ResNet(), (torch.randn(2, 3, 64, 64),)),
        ('mobilenet', MobileNet(), (torch.randn(2, 3, 32, 32),)),
        ('convnext', ConvNeXt(), (torch.randn(2, 3, 32, 32),)),
        ('unet', UNet(), (torch.randn(2, 3, 16, 16),)),
        ('yolo', Neck(), (torch.randn(2, 3, 32, 32),)),
        ('swin', Swin(), (torch.randn(2, 3, 16, 16),)),
        ('tagger', Tagger(), (torch.randint(0, 30, (2, 7)),)),
        ('sentences', Sentences(), (torch.randn(2, 7, 5), torch.randn(2, 1, 6), torch.randn(2, 1, 6))),
        *((f'{name}-{attention}', *rest) for attention in ['eager', 'sdpa'] for name, *rest in of_transformers(attention)),
    ]
    for name, model, inputs in networks:
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.3)
                part.running_var.uniform_(0.5, 1.5)
        model.eval()
        names = list(inspect.signature(model.forward).parameters)
        for exporter in ['torchscript', 'dynamo']:
            path = os.path.join(folder, f'{name}-{exporter}.onnx')
            try:
                if exporter == 'torchscript':
                    axes = {key: {0: 'batch'} for key in names}
                    torch.onnx.export(model, inputs, path, dynamo=False, opset_version=17, input_names=names, dynamic_axes=axes)
                else:
                    batch = torch.export.Dim('batch', min=1, max=64)
                    torch.onnx.export(model, inputs, path, dynamo=True, verbose=False, external_data=False,
                                      input_names=names, dynamic_shapes=tuple({0: batch} for _ in names))
            except Exception as error:
                if os.path.exists(path):
                    os.remove(path)
                print(f'{name}: PyTorch does not export it by {exporter}: {str(error).splitlines()[0][:150]}', file=sys.stderr)


if __name__ == '__main__':
    main(sys.argv[1])
