"""Writes a tiny random Whisper and the tokens that `generate` of transformers gives for clips, with and without languages, tasks and timestamps:

python test/python/make_transcripts.py test/fixtures/transcripts
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

END, START, LANGUAGES, TASKS, NO_TIMESTAMPS, VOCABULARY = 20, 21, [22, 23, 24], [25, 26], 27, 40
MULTILINGUAL = dict(
    lang_to_id={"<|en|>": 22, "<|de|>": 23, "<|fr|>": 24},
    task_to_id={"transcribe": 25, "translate": 26},
    is_multilingual=True,
)
FORCED = dict(forced_decoder_ids=[[1, None], [2, 25]])
ENGLISH = dict(forced_decoder_ids=[[1, NO_TIMESTAMPS]], is_multilingual=False)
# The settings of a model's generation_config.json, and those of a call.
CASES = [
    (ENGLISH, {}),
    (ENGLISH | dict(suppress_tokens=[3, 5, 8, 11], begin_suppress_tokens=[1, END]), {}),
    (MULTILINGUAL, dict(language="de")),
    (MULTILINGUAL, dict(language="fr", task="translate")),
    (MULTILINGUAL | FORCED, {}),
    (MULTILINGUAL, {}),
    (MULTILINGUAL | dict(max_initial_timestamp_index=3), dict(language="en", return_timestamps=True)),
    (MULTILINGUAL, dict(language="de", task="translate", return_timestamps=True)),
    (ENGLISH | dict(suppress_tokens=[7, 9]), dict(return_timestamps=True)),
]


def part(segment):
    """A segment of a transcript, whose tokens are of text and of time."""
    return {"start": float(segment["start"]), "end": float(segment["end"]), "tokens": segment["tokens"].tolist()}


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(5)
    config = WhisperConfig(
        vocab_size=VOCABULARY,
        d_model=8,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=4,
        encoder_ffn_dim=6,
        decoder_ffn_dim=6,
        num_mel_bins=3,
        max_source_positions=5,
        max_target_positions=14,
        pad_token_id=END,
        bos_token_id=END,
        eos_token_id=END,
        decoder_start_token_id=START,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.9) if parameter.ndim > 1 else parameter.data.add_(
            torch.randn_like(parameter) * 0.3
        )
    model.tie_weights()
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "generation_config.json").unlink(missing_ok=True)
    clips = torch.randint(-16, 17, (4, 3, 10)) / 8
    long = torch.randint(-16, 17, (1, 3, 37)) / 8  # nearly four windows
    cases = []
    for settings, ways in CASES:
        fields = dict(decoder_start_token_id=START, eos_token_id=END, pad_token_id=END, no_timestamps_token_id=NO_TIMESTAMPS)
        model.generation_config = GenerationConfig(**fields, **settings, max_length=14, return_timestamps=False)
        given = [model.generate(clip[None], return_dict_in_generate=True, **ways) for clip in clips]
        case = {"generation": fields | settings, "options": ways}
        if ways.get("return_timestamps"):
            given.append(model.generate(long, return_segments=True, **ways))
            case["segments"] = [[part(each) for each in one["segments"][0]] for one in given]
        else:
            case["tokens"] = [one["sequences"][0].tolist() for one in given]
        cases.append(case)
        print(json.dumps(case))
    expected = {
        "transformers": transformers.__version__,
        "clips": clips.permute(0, 2, 1).tolist(),
        "long": long[0].T.tolist(),
        "cases": cases,
    }
    (folder / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


main()
