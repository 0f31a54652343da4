"""Writes what the processors of transformers make of pictures, with Pillow, for `test/extensions/transformers/encodeImages.test.ts`:

python test/python/make_pixels.py test/fixtures/pixels.json
"""

import json
import sys
from pathlib import Path

import numpy as np
import PIL
import torch
import transformers
from transformers.models.beit.image_processing_pil_beit import BeitImageProcessorPil
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil
from transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2 import MobileNetV2ImageProcessorPil
from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

# The class, its config, the picture's height, width and number of colors, and which numbers of the result are written.
CASES = [
    (ViTImageProcessorPil, dict(size=dict(height=8, width=8)), (13, 17, 3), 1),
    (ViTImageProcessorPil, dict(size=7), (3, 4, 3), 1),
    (ViTImageProcessorPil, {}, (150, 301, 3), 499),
    (ViTImageProcessorPil, dict(size=dict(height=6, width=9), do_normalize=False), (6, 21, 3), 1),
    (ViTImageProcessorPil, dict(size=dict(height=6, width=9), do_rescale=False, resample=0), (13, 4, 3), 1),
    (ViTImageProcessorPil, dict(do_resize=False, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]), (5, 4, 3), 1),
    (CLIPImageProcessorPil, dict(size=dict(shortest_edge=10), crop_size=8), (23, 11, 3), 1),
    (CLIPImageProcessorPil, dict(size=9, crop_size=dict(height=7, width=8)), (9, 31, 3), 1),
    (CLIPImageProcessorPil, dict(size=dict(shortest_edge=6), crop_size=dict(height=9, width=7)), (12, 11, 3), 1),
    (CLIPImageProcessorPil, {}, (301, 200, 3), 499),
    (CLIPImageProcessorPil, dict(size=dict(shortest_edge=8), crop_size=8), (11, 14, 4), 1),
    (CLIPImageProcessorPil, dict(size=dict(shortest_edge=8), crop_size=8), (11, 14, 1), 1),
    (DeiTImageProcessorPil, dict(size=dict(height=12, width=12), crop_size=9, resample=1), (40, 29, 3), 1),
    (DeiTImageProcessorPil, dict(size=dict(height=9, width=14), resample=1, do_center_crop=False), (4, 5, 3), 1),
    (BitImageProcessorPil, dict(size=dict(shortest_edge=8), crop_size=8, resample=4), (21, 22, 3), 1),
    (BitImageProcessorPil, dict(size=dict(shortest_edge=8), crop_size=8, resample=5), (21, 17, 3), 1),
    (SiglipImageProcessorPil, dict(size=dict(height=9, width=12)), (5, 6, 3), 1),
    (SiglipImageProcessorPil, dict(size=dict(height=7, width=7), rescale_factor=0.01), (32, 9, 3), 1),
    (ViTImageProcessorPil, dict(size=dict(height=224, width=2), resample=0), (640, 3, 3), 5),
    (ViTImageProcessorPil, dict(size=dict(height=2, width=224), resample=0), (3, 640, 3), 5),
    (CLIPImageProcessorPil, {}, (1, 300, 3), 499),
    (CLIPImageProcessorPil, {}, (300, 1, 3), 499),
    (CLIPImageProcessorPil, dict(size=dict(shortest_edge=9), crop_size=8, resample=0), (5, 230, 3), 1),
    (BeitImageProcessorPil, dict(size=9, do_center_crop=False, resample=2), (14, 19, 3), 1),
    (BeitImageProcessorPil, dict(size=dict(height=12, width=10), crop_size=8), (23, 19, 3), 1),
    (BeitImageProcessorPil, {}, (60, 35, 3), 499),
    (ConvNextImageProcessorPil, dict(size=20, crop_pct=0.7), (31, 24, 3), 1),
    (ConvNextImageProcessorPil, dict(size=dict(shortest_edge=14)), (9, 40, 3), 1),
    (ConvNextImageProcessorPil, dict(size=dict(shortest_edge=12), crop_pct=1.3), (30, 17, 3), 1),
    (ConvNextImageProcessorPil, dict(size=dict(shortest_edge=384)), (40, 60, 3), 997),
    (ConvNextImageProcessorPil, dict(do_resize=False), (6, 5, 3), 1),
    (CLIPImageProcessorPil, dict(do_resize=False, crop_size=dict(height=7, width=12)), (10, 11, 3), 1),
    (MobileNetV2ImageProcessorPil, dict(size=9, crop_size=8), (13, 10, 3), 1),
    (MobileNetV2ImageProcessorPil, {}, (61, 90, 3), 997),
    (EfficientNetImageProcessorPil, dict(size=7, resample=0), (13, 10, 3), 1),
    (EfficientNetImageProcessorPil, dict(size=7, include_top=False, rescale_offset=True, rescale_factor=1 / 127.5), (9, 10, 3), 1),
    (EfficientNetImageProcessorPil, dict(size=7, do_normalize=False, image_std=[0.3, 0.4, 0.5]), (9, 10, 3), 1),
    (EfficientNetImageProcessorPil, {}, (40, 31, 3), 997),
    (SegformerImageProcessorPil, dict(size=dict(height=8, width=9)), (13, 10, 3), 1),
    (SegformerImageProcessorPil, {}, (40, 31, 3), 1997),
    (MobileViTImageProcessorPil, dict(size=9, crop_size=8, resample=2, image_mean=0.1), (13, 10, 3), 1),
    (MobileViTImageProcessorPil, dict(size=8, crop_size=9, do_flip_channel_order=False), (13, 10, 3), 1),
    (MobileViTImageProcessorPil, {}, (61, 90, 3), 997),
]


class DINOv3ViTImageProcessor:
    """
    What the class of transformers computes. It needs torchvision, which resizes floats by PyTorch's `interpolate`.
    """

    def __init__(self, size=dict(height=224, width=224), resample=2, do_resize=True):
        self.edges = (size["height"], size["width"]) if do_resize else None
        self.mode = {2: "bilinear", 3: "bicubic"}[resample]

    def to_json_string(self):
        return json.dumps(dict(image_processor_type="DINOv3ViTImageProcessorFast"))

    def __call__(self, image, **_):
        pixels = torch.tensor(image).permute(2, 0, 1)[None] * (1 / 255)
        if self.edges is not None:
            pixels = torch.nn.functional.interpolate(pixels, self.edges, mode=self.mode, align_corners=False, antialias=True)
        mean, deviation = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        return {"pixel_values": ((pixels - mean) / deviation).numpy()}


CASES += [
    (DINOv3ViTImageProcessor, dict(size=dict(height=9, width=7)), (13, 10, 3), 1),
    (DINOv3ViTImageProcessor, dict(size=dict(height=11, width=12), resample=3), (5, 19, 3), 1),
    (DINOv3ViTImageProcessor, dict(do_resize=False), (5, 4, 3), 1),
    (DINOv3ViTImageProcessor, {}, (30, 301, 3), 997),
]


# The config, the size and number of colors of each picture, and which numbers of the patches are written.
PATCHES = [
    (dict(patch_size=2, max_num_patches=12), [(13, 17, 3), (3, 40, 3), (2, 2, 3)], 1),
    (dict(patch_size=3, max_num_patches=7, resample=3), [(31, 9, 3)], 1),
    (dict(patch_size=4, max_num_patches=30, do_normalize=False), [(1, 150, 3), (90, 1, 3), (33, 32, 3)], 11),
    (dict(patch_size=2, max_num_patches=9, do_resize=False, image_mean=0.1, image_std=[0.4, 0.5, 0.6]), [(4, 6, 3), (2, 8, 3)], 1),
    ({}, [(61, 90, 3), (300, 301, 3)], 1997),
]


def picture(height, width, colors):
    y, x, k = np.meshgrid(np.arange(height), np.arange(width), np.arange(colors), indexing="ij")
    return ((x * 37 + y * 59 + k * 101 + x * y * 7 + x * x * 3) % 256).astype(np.uint8)


def main():
    cases = []
    for processor_class, config, shape, step in CASES:
        processor = processor_class(**config)
        image = picture(*shape)
        pixels = processor(image, return_tensors="np", input_data_format="channels_last")["pixel_values"]
        pixels = np.moveaxis(pixels, 1, -1).astype(np.float32)
        written = json.loads(processor.to_json_string())
        config = dict(image_processor_type=written["image_processor_type"]) | config
        values = [float(f"{value:.7g}") for value in pixels.flatten()[::step].tolist()]
        cases.append(dict(config=config, image=list(shape), shape=list(pixels.shape), step=step, values=values))
    patches = []
    for config, shapes, step in PATCHES:
        made = Siglip2ImageProcessorPil(**config)([picture(*shape) for shape in shapes], return_tensors="np", input_data_format="channels_last")
        values = [float(f"{value:.7g}") for value in made["pixel_values"].astype(np.float32).flatten()[::step].tolist()]
        found = dict(grids=made["spatial_shapes"].tolist(), counts=made["pixel_attention_mask"].sum(-1).tolist(), values=values)
        config = dict(image_processor_type="Siglip2ImageProcessor") | config
        patches.append(dict(config=config, images=shapes, shape=list(made["pixel_values"].shape), step=step, **found))
    result = dict(transformers=transformers.__version__, pillow=PIL.__version__, cases=cases, patches=patches)
    Path(sys.argv[1]).write_text(json.dumps(result, separators=(",", ":")) + "\n")


main()
