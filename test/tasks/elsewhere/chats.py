from datasets import load_dataset
from peft import LoraConfig
from trl import SFTTrainer
from data import chats, llama

trainer = SFTTrainer(llama, train_dataset=load_dataset("json", data_files=chats)["train"], peft_config=LoraConfig(r=2))
trainer.train()
