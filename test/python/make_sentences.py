"""Writes tiny sentence-transformers of all kinds of pooling, and the vectors that sentence-transformers computes with them:

    pip install sentence-transformers==6.2.0
    python test/python/make_sentences.py test/fixtures/sentences
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "on", "mat", "a", "dog", "ran", "home", "fast"]
TEXTS = ["The cat sat on the mat", "a dog", "", "A dog ran home fast", "the cat ran on the mat on the mat on the mat"]
WIDTH = 8
POSITIONS = 16
MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


def encoder(folder):
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=POSITIONS,
        **{f"{name}_token": f"[{name.upper()}]" for name in ["unk", "pad", "cls", "sep"]},
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=POSITIONS,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)


def activated(kind, *sizes, **options):
    return Dense(*sizes, activation_function=kind, **options)


def variants():
    """What follows the transformer in each model."""
    return {
        **{mode: [Pooling(WIDTH, mode)] for mode in MODES},
        "clsNormalized": [Pooling(WIDTH, "cls"), Normalize()],
        "joined": [Pooling(WIDTH, ("cls", "mean", "max"))],
        "dense": [Pooling(WIDTH, "cls"), Dense(WIDTH, 6), Normalize()],
        "twoDense": [
            Pooling(WIDTH, "mean"),
            activated(torch.nn.Identity(), WIDTH, 12, bias=False),
            activated(torch.nn.Identity(), 12, 5, bias=False),
            Normalize(),
        ],
        "normalizedBefore": [Pooling(WIDTH, "mean"), Normalize(), activated(torch.nn.GELU(), WIDTH, 4)],
        "residual": [
            Pooling(WIDTH, "max"),
            activated(torch.nn.ReLU(), WIDTH, WIDTH, use_residual=True),
            activated(torch.nn.Sigmoid(), WIDTH, 3, use_residual=True),
            activated(torch.nn.SiLU(), 3, 3),
        ],
        "short": [Pooling(WIDTH, "mean")],
        "layerNorm": [Pooling(WIDTH, "mean"), LayerNorm(WIDTH)],
    }


def older(folder):
    """The pooling as versions before 6 wrote it, and the names of their modules."""
    path = folder / "1_Pooling/config.json"
    config = {"word_embedding_dimension": WIDTH}
    for mode in ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]:
        config[f"pooling_mode_{mode}"] = mode in ["cls_token", "max_tokens"]
    path.write_text(json.dumps({**config, "include_prompt": True}, indent=2))
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    for module in modules:
        module["type"] = "sentence_transformers.models." + module["type"].split(".")[-1]
    path.write_text(json.dumps(modules, indent=2))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 6, "do_lower_case": False}, indent=2))


def write(folder, model):
    model.save(str(folder))
    for name in ["README.md", "config_sentence_transformers.json"]:
        (folder / name).unlink()
    shutil.rmtree(folder / "2_Normalize", ignore_errors=True)


def expect(folder):
    """What sentence-transformers computes with the files that are there."""
    model = SentenceTransformer(str(folder), device="cpu")
    vectors = model.encode(TEXTS).tolist()
    (folder / "expected.json").write_text(json.dumps({"texts": TEXTS, "vectors": vectors}) + "\n")


def main(out):
    with tempfile.TemporaryDirectory() as base:
        torch.manual_seed(1)
        encoder(base)
        for name, modules in variants().items():
            limit = {"max_seq_length": 5} if name == "short" else {}
            write(out / name, SentenceTransformer(modules=[Transformer(base, **limit), *modules], device="cpu"))
            expect(out / name)
        torch.manual_seed(2)
        write(out / "older", SentenceTransformer(modules=[Transformer(base), Pooling(WIDTH)], device="cpu"))
        older(out / "older")
        expect(out / "older")


main(Path(sys.argv[1]))
