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
    """The results of texts, each by itself from its first token to its last if its length matters."""
    if not depends_on_length(model.config):
        return run(inputs)
    results = []
    for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"]):
        forget_lengths(model)
        seen = mask.nonzero().flatten().tolist()
        part = slice(seen[0], seen[-1] + 1)
        result = run(dict(input_ids=ids[None, part], attention_mask=mask[None, part]))
        padding = (0, 0, seen[0], len(mask) - 1 - seen[-1])
        results.append(torch.nn.functional.pad(result, padding) if result.ndim == 3 else result)
    return torch.cat(results)
