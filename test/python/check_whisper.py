"""Computes with transformers what `test/extensions/sound/checkWhisper.ts` compares, and measures a LoRA step of PEFT:

python test/python/check_whisper.py FOLDER_OF_THE_MODEL FOLDER_OF_THE_CLIPS
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file


def main():
    source, folder = map(Path, sys.argv[1:])
    model = transformers.WhisperForConditionalGeneration.from_pretrained(source).eval()
    clips = load_file(folder / "clips.safetensors")
    tokens, logits = {}, {}
    long = clips.pop("long").transpose(1, 2).contiguous()
    with torch.no_grad():
        spoken = model.generate(long, return_timestamps=True, return_segments=True)["segments"][0]
    last = model.generation_config.no_timestamps_token_id
    segments = [
        {
            "start": float(each["start"]),
            "end": float(each["end"]),
            "tokens": [token for token in each["tokens"].tolist() if token <= last],
        }
        for each in spoken
    ]
    for name, features in clips.items():
        heard = features.transpose(1, 2).contiguous()
        with torch.no_grad():
            given = model.generate(heard)[0]
            logits[name] = model(input_features=heard, decoder_input_ids=given[None, :8]).logits.contiguous()
        tokens[name] = given.tolist()
    save_file(logits, folder / "logits.safetensors")

    adapted = get_peft_model(model, LoraConfig(r=8, target_modules=["q_proj", "v_proj"])).train()
    optimizer = torch.optim.AdamW([each for each in adapted.parameters() if each.requires_grad], lr=1e-4)
    heard = next(iter(clips.values())).transpose(1, 2).contiguous()
    labels = torch.tensor([next(iter(tokens.values()))[1:]])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(3):
        start = time.process_time()
        optimizer.zero_grad()
        adapted(input_features=heard, labels=labels).loss.backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = {"seconds": min(seconds), "megabytes": peak / 1024, "more": (peak - before) / 1024}
    (folder / "expected.json").write_text(json.dumps({"tokens": tokens, "segments": segments, "step": step}))


main()
