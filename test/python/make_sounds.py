"""Writes what the feature extractors of transformers and scipy make of sounds, for `test/extensions/sound/features.test.ts`:

python test/python/make_sounds.py test/fixtures/sounds.json

transformers computes in 64 bits with NumPy here. Its faster way through PyTorch computes in 32 bits, whose logarithms
near the floor differ by more than 1e-5; the script prints by how much.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import scipy
import transformers
from scipy.signal import resample_poly
from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

COUNT = 100
KINDS = 8


def noise(seed, length):
    """Numbers in [-1, 1) of a linear congruential generator, which is exact in 64-bit floats."""
    values = np.empty(length)
    state = seed
    for i in range(length):
        state = (state * 1664525 + 1013904223) % 2**32
        values[i] = state / 2**31 - 1
    return values


def clip(number):
    """A sound of a kind, as in the test: samples and whatever differs from clip to clip."""
    kind = number % KINDS
    length = 900 + (number * 7919) % 15000
    t = np.arange(length) / 16000
    hertz = 80 + (number * 389) % 7000
    hiss = noise(number + 1, length)
    samples = {
        0: lambda: 0.7 * np.sin(2 * math.pi * hertz * t),
        1: lambda: 0.5 * hiss,
        2: lambda: 0.6 * np.sin(2 * math.pi * (100 * t + hertz * t * t)),
        3: lambda: np.zeros(length) if number % 16 == 3 else 1e-4 * hiss,
        4: lambda: np.where(np.arange(length) % (50 + number) == 0, 1.0, 0.0),
        5: lambda: np.clip(3 * np.sin(2 * math.pi * hertz * t), -1, 1),
        6: lambda: 0.3 + 0.2 * np.sin(2 * math.pi * hertz * t) * np.sin(2 * math.pi * 3 * t),
        7: lambda: np.where(np.sin(2 * math.pi * 4 * t) > 0, 0.4 * np.sin(2 * math.pi * hertz * t) + 0.01 * hiss, 0),
    }[kind]()
    return samples.astype(np.float32)


def config_of(number):
    whisper = [dict(chunk_length=1), dict(chunk_length=1, feature_size=128), dict(chunk_length=2, n_fft=512, hop_length=256)]
    ast = [dict(max_length=64), dict(max_length=128, num_mel_bins=64), dict(max_length=40, mean=-3.5, std=2.5), dict(max_length=99, do_normalize=False)]
    raw = [{}, dict(do_normalize=False), dict(return_attention_mask=True)]
    which = number // KINDS % 3
    return [
        (WhisperFeatureExtractor, whisper[number % 3]),
        (ASTFeatureExtractor, ast[number % 4]),
        (Wav2Vec2FeatureExtractor, raw[number % 3]),
    ][which]


def thinned(values, most=30):
    flat = np.asarray(values).reshape(-1)
    step = max(1, len(flat) // most) | 1
    return step, [float(np.format_float_positional(value, 9, fractional=False)) for value in flat[::step]]


def make_features(number):
    if number == COUNT:
        kind, config = WhisperFeatureExtractor, {}
    elif number == COUNT + 1:
        kind, config = ASTFeatureExtractor, {}
    else:
        kind, config = config_of(number)
    extractor = kind(**config)
    sound = clip(number)
    drift = 0
    if kind is WhisperFeatureExtractor:
        padded = np.zeros(extractor.n_samples, np.float32)
        padded[: len(sound)] = sound
        features = extractor._np_extract_fbank_features(padded[None], "cpu")[0].T
        fast = extractor(sound, sampling_rate=16000).input_features[0].T
        drift = np.abs(fast - features).max() / np.abs(features).max()
    else:
        features = np.asarray(extractor(sound, sampling_rate=16000).input_values[0])
    step, values = thinned(features)
    full = {"feature_extractor_type": kind.__name__, **config}
    return dict(clip=number, config=full, shape=list(features.shape), largest=float(np.abs(features).max()), step=step, values=values), drift


def make_batch():
    """Several sounds of different length, with and without a mask."""
    made = []
    for has_mask in (True, False):
        extractor = Wav2Vec2FeatureExtractor(return_attention_mask=has_mask)
        batch = extractor([clip(number) for number in (0, 1, 7)], sampling_rate=16000, padding=True)
        step, values = thinned(np.stack(batch.input_values), 60)
        config = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "return_attention_mask": has_mask}
        made.append(dict(config=config, shape=list(np.stack(batch.input_values).shape), step=step, values=values))
    return made


MELS = [
    dict(scale="slaney", mels=40, windowSize=400, hopSize=160, fftSize=400, padding="reflect", power=2, log="ln"),
    dict(scale="slaney", mels=128, windowSize=2048, hopSize=512, fftSize=2048, padding="zeros", power=2, log="none", normalized=True),
    dict(scale="htk", mels=23, windowSize=400, hopSize=160, fftSize=512, padding="none", power=1, log="log10", minFrequency=64, maxFrequency=7600),
    dict(scale="htk", mels=64, windowSize=300, hopSize=100, fftSize=375, padding="reflect", power=2, log="dB", normalized=True),
    dict(scale="kaldi", mels=32, windowSize=257, hopSize=77, fftSize=257, padding="reflect", power=1, log="dB", minFrequency=20),
]


def make_mel(number, options):
    sound = clip(number)
    filters = mel_filter_bank(
        num_frequency_bins=options["fftSize"] // 2 + 1,
        num_mel_filters=options["mels"],
        min_frequency=options.get("minFrequency", 0),
        max_frequency=options.get("maxFrequency", 8000),
        sampling_rate=16000,
        norm="slaney" if options.get("normalized", options["scale"] == "slaney") else None,
        mel_scale=options["scale"],
        triangularize_in_mel_space=options["scale"] == "kaldi",
    )
    values = spectrogram(
        sound,
        window_function(options["windowSize"], "hann"),
        frame_length=options["windowSize"],
        hop_length=options["hopSize"],
        fft_length=options["fftSize"],
        power=options["power"],
        center=options["padding"] != "none",
        pad_mode="constant" if options["padding"] == "zeros" else "reflect",
        mel_filters=filters,
        log_mel={"ln": "log", "none": None}.get(options["log"], options["log"]),
        # The decibels of transformers have a floor of their own.
        **({"min_value": 1e-10, "db_range": None} if options["log"] == "dB" else {}),
    ).T
    step, thin = thinned(values, 120)
    return dict(clip=number, options=options, shape=list(values.shape), largest=float(np.abs(values).max()), step=step, values=thin)


RATES = [(8000, 16000), (44100, 16000), (48000, 16000), (16000, 8000), (22050, 16000), (11025, 44100), (16000, 15999)]


def make_resampled(number, rates):
    before, after = rates
    values = resample_poly(clip(number).astype(np.float64), after, before)
    step, thin = thinned(values, 120)
    return dict(clip=number, rates=rates, length=len(values), step=step, values=thin)


features = [make_features(number) for number in range(COUNT + 2)]
print("PyTorch's 32 bits differ by", max(drift for _, drift in features), "of the largest")
made = dict(
    versions=dict(transformers=transformers.__version__, scipy=scipy.__version__, numpy=np.__version__),
    features=[each for each, _ in features],
    batches=make_batch(),
    mels=[make_mel(number, options) for number, options in zip((1, 7, 2, 6, 5), MELS)],
    resampled=[make_resampled(number + 1, rates) for number, rates in enumerate(RATES)],
)
Path(sys.argv[1]).write_text(json.dumps(made, separators=(",", ":")) + "\n")
