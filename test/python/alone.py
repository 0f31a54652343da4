"""What models compute whose rotary angles depend on how long a text is: transformers goes by the longest text of a batch, with its padding."""

import torch

DEPENDENT = ("dynamic", "longrope")


def depends_on_length(config):
    scaling = getattr(config, "rope_parameters", None) or {}
    kinds = scaling.values() if any(isinstance(value, dict) for value in scaling.values()) else [scaling]
    return any(kind.get("rope_type") in DEPENDENT for kind in kinds if isinstance(kind, dict))


def forget_lengths(model):
    """Angles by which former texts turned count no longer."""
    for module in model.modules():
        if hasattr(module, "max_seq_len_cached"):
            module.max_seq_len_cached = module.original_max_seq_len
            for name in [name for name, _ in module.named_buffers() if name.endswith("original_inv_freq")]:
                module.register_buffer(name.replace("original_", ""), getattr(module, name).clone(), persistent=False)
                for kind in ("full_attention", "sliding_attention"):
                    vars(module).pop(f"{kind}_max_seq_len_cached", None)


def each_alone(run, model, inputs):
    """The results of texts, each by itself if its length matters. Places before a text count down, those after it are as its last."""
    if not depends_on_length(model.config):
        return run(inputs)
    results = []
    for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"]):
        forget_lengths(model)
        seen = mask.nonzero().flatten()
        places = (torch.arange(len(mask)) - seen[0]).clamp(max=int(seen[-1] - seen[0]))
        results.append(run(dict(input_ids=ids[None], attention_mask=mask[None], position_ids=places[None])))
    return torch.cat(results)
