from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, losses
from data import encoder, pairs

model = SentenceTransformer(encoder)
trainer = SentenceTransformerTrainer(model, train_dataset=Dataset.from_list(pairs), loss=losses.MultipleNegativesRankingLoss(model))
trainer.train()
model.save("sentences")
