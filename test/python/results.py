"""What models of transformers return, as the models of tfjs return it."""

import torch


def result(output, pooled=False):
    """The result of a model; features as tfjs has them, [batch, height, width, channels]."""
    if pooled:
        return output.pooler_output.flatten(1)
    if hasattr(output, "start_logits"):
        return torch.stack([output.start_logits, output.end_logits], -1)
    for name in ("logits", "logits_per_image", "image_embeds", "text_embeds", "last_hidden_state"):
        if hasattr(output, name):
            given = getattr(output, name)
            return given.permute(0, 2, 3, 1) if given.ndim == 4 else given
    raise ValueError(output)
