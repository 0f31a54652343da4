from datasets import load_dataset
from peft import LoraConfig
from trl import DPOTrainer
from data import llama, preferences

data = load_dataset("json", data_files=preferences)["train"]
trainer = DPOTrainer(llama, train_dataset=data, peft_config=LoraConfig(r=2))
trainer.train()
