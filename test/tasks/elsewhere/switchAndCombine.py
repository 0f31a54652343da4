from peft import PeftModel
from transformers import AutoModelForCausalLM
from data import adapter, ids, llama

base = AutoModelForCausalLM.from_pretrained(llama)
model = PeftModel.from_pretrained(base, adapter, adapter_name="cats")
model.load_adapter(adapter, adapter_name="dogs")
print(model(ids))
model.set_adapter("dogs")
print(model(ids))
model.add_weighted_adapter(["cats", "dogs"], [0.5, 0.5], "both", combination_type="svd", svd_rank=2)
model.set_adapter("both")
model.merge_and_unload().save_pretrained("both")
