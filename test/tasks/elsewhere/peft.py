from peft import AutoPeftModelForCausalLM
from data import adapter

model = AutoPeftModelForCausalLM.from_pretrained(adapter)
model.save_pretrained("for-javascript")
