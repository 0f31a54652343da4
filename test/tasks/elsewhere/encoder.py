from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments
from data import encoder, examples

tokenizer = AutoTokenizer.from_pretrained(encoder)
base = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)
model = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=2))
data = Dataset.from_list(examples).map(lambda row: tokenizer(row["text"]))
args = TrainingArguments("out", learning_rate=1e-3, num_train_epochs=3)
trainer = Trainer(model, args, train_dataset=data, processing_class=tokenizer)
trainer.train()
model.save_pretrained("encoder")
