"""Writes PyTorch's CTC losses and gradients in 64 bits for `test/extensions/sound/ctcLoss.test.ts`, and the texts and
tokens of `Wav2Vec2CTCTokenizer`:

python test/python/make_ctc.py test/fixtures/ctc.json
"""

import json
import math
import sys
import tempfile
from pathlib import Path

import torch
from transformers import Wav2Vec2CTCTokenizer

NAN, INF = float("nan"), float("inf")

# Frames, classes, the targets of each example, frames of each example (None for all), the blank, and a factor of the
# logits: with large ones most alignments have a probability far below the smallest 32-bit float. Then values that
# replace logits, by example, frame and class.
CASES = [
    (6, 4, [[1, 2]], None, 0, 1),
    (5, 3, [[1, 1, 2], [2], []], None, 0, 1),
    (9, 5, [[0, 0, 3], [4, 3, 4, 3, 0]], [9, 6], 1, 2),
    (7, 6, [[5, 5, 5, 5], [1, 2, 3, 4, 5]], [7, 5], 0, 1),
    (4, 3, [[1, 1, 1], [1, 2]], [4, 4], 0, 1),
    (4, 4, [[1, 2, 3, 1, 2], [3]], [4, 2], 0, 1),
    (3, 3, [[], []], [3, 2], 2, 1),
    (1, 3, [[1], [2]], None, 0, 1),
    (60, 8, [[1, 2, 3, 4, 5, 6, 7] * 3, [7, 7] * 5], [60, 41], 0, 30),
    (5, 4, [[1, 2], [3]], None, 0, 1, {(0, 2, 1): NAN}),
    (5, 4, [[1, 2], [3]], None, 0, 1, {(1, 0, 2): INF}),
    (5, 4, [[1, 2], [3]], None, 0, 1, {(0, 2, 0): -INF, (0, 4, 1): -INF, (1, 3, 2): -INF}),
    # No frame can be the first class of the first target; then a frame without any class.
    (5, 4, [[1, 2], [3]], None, 0, 1, {(0, frame, 1): -INF for frame in range(5)}),
    (5, 4, [[1, 2], [3]], None, 0, 1, {(1, 2, label): -INF for label in range(4)}),
    # A frame in which the target has a probability of 0, though its alignments go on after it.
    (5, 4, [[1, 2], [3]], None, 0, 1, {(0, 2, label): -INF for label in range(3)}),
    # A frame that does not count.
    (5, 4, [[1, 2], [3]], [4, 5], 0, 1, {(0, 4, 1): NAN}),
]


def number(value):
    return value if abs(value) < 1e300 else str(value)


def digits(values, count):
    return [number(float(f"{value:.{count}g}")) for value in values.flatten().tolist()]


def losses_of(logits, targets, counts, blank, zero_infinity):
    return torch.nn.functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        torch.tensor([label for each in targets for label in each], dtype=torch.long),
        torch.tensor(counts),
        torch.tensor([len(each) for each in targets]),
        blank=blank,
        reduction="none",
        zero_infinity=zero_infinity,
    )


def case(index, frames, classes, targets, lengths, blank, factor, changes={}):
    generator = torch.Generator().manual_seed(index)
    logits = (torch.randn(len(targets), frames, classes, generator=generator, dtype=torch.float64) * factor).float().double()
    for at, value in changes.items():
        logits[at] = value
    counts = lengths or [frames] * len(targets)
    losses, zeroed = (losses_of(logits, targets, counts, blank, zero) for zero in (False, True))
    # PyTorch's gradients are NaN in frames with -inf, and in frames that do not count and have NaN. -1e4 is a
    # probability of 0 too.
    finite = logits.nan_to_num(0, 0, -1e4).requires_grad_()
    weights = torch.arange(1, len(targets) + 1, dtype=torch.float64)
    gradients = torch.autograd.grad((losses_of(finite, targets, counts, blank, True) * weights).sum(), finite)[0]
    for example, loss in enumerate(losses.tolist()):
        if not math.isfinite(loss):
            gradients[example, : counts[example]] = zeroed[example]  # NaN or 0
    return dict(
        shape=[len(targets), frames, classes],
        logits=digits(logits, 9),
        targets=targets,
        lengths=lengths,
        blank=blank,
        losses=[number(value) for value in losses.tolist()],
        zeroed=[number(value) for value in zeroed.tolist()],
        gradients=digits(gradients, 7),
    )


VOCABULARY = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6, "C": 7, "'": 8, "É": 9, "NG": 10}
OTHERS = {"[PAD]": 3, "[UNK]": 2, " ": 0, "x": 1, "y": 4}
TOKENIZERS = [
    (VOCABULARY, {}),
    (VOCABULARY, dict(do_lower_case=True)),
    (OTHERS, dict(pad_token="[PAD]", unk_token="[UNK]", word_delimiter_token=" ")),
]
TEXTS = ["AB CA", "a b", "AB  X", "A<s> B", " AB ", "É'A", "A.BNGA", "<pad>A", "", "xy yx"]
FRAMES = [[5, 5, 0, 5, 4, 4, 6, 0, 7, 7], [4, 5, 4], [1, 5, 3, 2], [0, 0], [8, 5, 0, 4, 4, 0, 6], [1, 1, 3, 1, 0, 0, 4, 2]]


def tokenizer_case(folder, vocabulary, config):
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), **config)
    texts = [text for text in TEXTS if "<s>" in vocabulary or "<s>" not in text]
    heard = [[id for id in frames if id in vocabulary.values()] for frames in FRAMES]
    words = [tokenizer.decode(frames, output_word_offsets=True).word_offsets for frames in heard]
    return dict(
        vocabulary=vocabulary,
        config=config,
        encoded=[[text, tokenizer(text, add_special_tokens=False).input_ids] for text in texts],
        decoded=[[frames, text] for frames, text in zip(heard, tokenizer.batch_decode(heard))],
        words=[[[each["word"], int(each["start_offset"]), int(each["end_offset"])] for each in one] for one in words],
    )


with tempfile.TemporaryDirectory() as scratch:
    tokenizers = [tokenizer_case(Path(scratch), *each) for each in TOKENIZERS]
made = dict(torch=torch.__version__, cases=[case(i, *each) for i, each in enumerate(CASES)], tokenizers=tokenizers)
Path(sys.argv[1]).write_text(json.dumps(made, separators=(",", ":")) + "\n")
