"""Writes what TRL computes for preferences, for `test/extensions/language/preferences.test.ts`: tokens, losses, rewards, gradients of the factors, and the curve of ten steps.

python test/python/make_preferences.py > test/fixtures/preferences.json

The model and its adapter are those of test/fixtures/transformers/llama. Needs trl 1.16.
"""

import contextlib
import json
import os
import sys
import tempfile

import peft
import torch
import transformers
import trl
from datasets import Dataset
from safetensors.torch import load_file
from tokenizers import Tokenizer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

FOLDER = os.path.join(os.path.dirname(__file__), "../fixtures/transformers/llama")
WORDS = (
    "[UNK] <|im_start|> <|im_end|> system user assistant be brief what does the fox do it jumps over lazy dog and then "
    "sleeps a quick brown cat eats fish who saw red bird why not because they all sing in rain yes no maybe where is "
    "my hat on table under chair near door of house ten five green small old new ."
).split()
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {"id": i, "content": WORDS[i], "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        for i in range(3)
    ],
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(WORDS)}, "unk_token": "[UNK]"},
}


def user(text):
    return [{"role": "user", "content": text}]


def assistant(text):
    return [{"role": "assistant", "content": text}]


PAIRS = [
    {"prompt": user("what does the fox do"), "chosen": assistant("it jumps"), "rejected": assistant("it jumps over the lazy dog and then sleeps")},
    {"prompt": user("who saw the red bird"), "chosen": assistant("the cat"), "rejected": assistant("they all saw it")},
    {"prompt": [{"role": "system", "content": "be brief"}, *user("where is my hat")], "chosen": assistant("on the table"), "rejected": assistant("not under the old chair near the door of the house")},
    {"prompt": user("why"), "chosen": assistant("because they sing"), "rejected": assistant("no")},
]
TEXTS = [
    {"prompt": "the quick brown fox", "chosen": " jumps over the dog", "rejected": " sleeps"},
    {"prompt": "ten small", "chosen": " fish<|im_end|>", "rejected": " green bird on the new table in the rain ."},
    # The last token of the prompt is not one of it with the chosen answer.
    {"prompt": "they sing no", "chosen": "t under the table", "rejected": " and sleeps"},
]
THUMBS = [
    {"prompt": user("what does the fox do"), "completion": assistant("it jumps"), "label": True},
    {"prompt": user("who saw the red bird"), "completion": assistant("they all saw it"), "label": False},
    {"prompt": user("where is my hat"), "completion": assistant("on the table"), "label": True},
    {"prompt": user("why"), "completion": assistant("because they sing in the rain"), "label": False},
    {"prompt": user("is it new"), "completion": assistant("maybe"), "label": True},
]
COMMON = {
    "per_device_train_batch_size": 8,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": [],
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
    "learning_rate": 0.01,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0,
    "remove_unused_columns": False,
}


def tokenizer():
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(TOKENIZER)), eos_token="<|im_end|>", pad_token="[UNK]", unk_token="[UNK]"
    )
    fast.chat_template = TEMPLATE
    return fast


def saved_policy():
    """The model, and its adapter but for the head, in which TRL allows none."""
    lora = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj", "up_proj"], task_type="CAUSAL_LM")
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig.from_pretrained(FOLDER))
    # `from_pretrained` would add the adapter that is in the same folder.
    base.load_state_dict(load_file(os.path.join(FOLDER, "model.safetensors")))
    saved = load_file(os.path.join(FOLDER, "adapter_model.safetensors"))
    return base, lora, {name: x for name, x in saved.items() if "lm_head" not in name}


def made(trainer, config, records, folder, steps=1, policy=saved_policy, **options):
    """A trainer of a model with an adapter. The reference is the base."""
    args = config(output_dir=folder, max_steps=steps, **{**COMMON, **options})
    base, lora, tensors = policy()
    result = trainer(
        model=base,
        args=args,
        peft_config=lora,
        # A copy, since some trainers change the records.
        train_dataset=Dataset.from_list(json.loads(json.dumps(records))),
        processing_class=tokenizer(),
    )
    peft.set_peft_model_state_dict(result.model, tensors)
    return result


def rounded(values):
    return [float(f"{value:.6g}") for value in values]


def factors(model):
    return {name.replace(".default.", "."): p for name, p in model.named_parameters() if "lora_" in name}


def case(trainer, config, records, **options):
    with tempfile.TemporaryDirectory() as folder:
        made_ = made(trainer, config, records, folder, **options)
        model = made_.model.train()
        batch = next(iter(made_.get_train_dataloader()))
        if hasattr(made_, "get_batch_loss_metrics"):
            loss, metrics = made_.get_batch_loss_metrics(model, batch)
        else:
            loss = made_._compute_loss(model, batch, False)
            metrics = {name: values[-1] for name, values in made_._metrics["train"].items()}
        loss.backward()
        return {
            "loss": loss.item(),
            "rewards": {name.split("/")[1]: value for name, value in metrics.items() if name.startswith("rewards/")},
            **({"kl": metrics["kl"]} if "kl" in metrics else {}),
            "gradients": {name: rounded(p.grad.flatten().tolist()) for name, p in factors(model).items()},
        }


def tokens(trainer, config, records, **options):
    with tempfile.TemporaryDirectory() as folder:
        data = made(trainer, config, records, folder, **options).train_dataset
        names = [name for name in data.column_names if name.endswith("_ids")]
        return [{name: row[name] for name in names} for row in data]


def curve(**options):
    with tempfile.TemporaryDirectory() as folder:
        trainer = made(trl.DPOTrainer, trl.DPOConfig, PAIRS, folder, steps=10, **options)
        trainer.train()
        return [{"loss": log["loss"], "margin": log["rewards/margins"]} for log in trainer.state.log_history if "loss" in log]


def dpo(loss_type, **options):
    return case(trl.DPOTrainer, trl.DPOConfig, PAIRS, loss_type=[loss_type], **options)


def simpo(**options):
    return case(CPOTrainer, CPOConfig, PAIRS, loss_type="simpo", **options)


if __name__ == "__main__":
    assert len(WORDS) == 61, len(WORDS)
    with contextlib.redirect_stdout(sys.stderr):
        result = {
            "versions": {module.__name__: module.__version__ for module in (torch, transformers, peft, trl)},
            "tokenizer": TOKENIZER,
            "pairs": PAIRS,
            "texts": TEXTS,
            "thumbs": THUMBS,
            "tokens": {
                "pairs": tokens(trl.DPOTrainer, trl.DPOConfig, PAIRS),
                "texts": tokens(trl.DPOTrainer, trl.DPOConfig, TEXTS),
                "thumbs": tokens(trl.KTOTrainer, trl.KTOConfig, THUMBS),
            },
            "cases": {
                "dpo": dpo("sigmoid"),
                "dpo, beta": dpo("sigmoid", beta=0.5),
                "dpo, labelSmoothing": dpo("robust", label_smoothing=0.2),
                "dpo, short": dpo("sigmoid", max_length=13),
                "ipo": dpo("ipo"),
                "ipo, beta": dpo("ipo", beta=0.4),
                "hinge": dpo("hinge"),
                "hinge, beta": dpo("hinge", beta=0.7),
                "kto": case(trl.KTOTrainer, trl.KTOConfig, THUMBS),
                "kto, short": case(trl.KTOTrainer, trl.KTOConfig, THUMBS, max_length=12),
                "kto, weights": case(trl.KTOTrainer, trl.KTOConfig, THUMBS, beta=0.3, desirable_weight=1.5, undesirable_weight=0.8),
                "orpo": case(ORPOTrainer, ORPOConfig, PAIRS),
                "orpo, beta": case(ORPOTrainer, ORPOConfig, PAIRS, beta=0.6),
                "simpo": simpo(),
                "simpo, gamma": simpo(beta=2.0, simpo_gamma=1.2, cpo_alpha=0.0),
                "simpo, labelSmoothing": simpo(beta=1.5, label_smoothing=0.1, cpo_alpha=0.5),
            },
            "curve": curve(),
        }
    json.dump(result, sys.stdout, separators=(",", ":"))
    print()
