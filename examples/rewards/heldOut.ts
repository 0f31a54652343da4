import type * as tf from '@tensorflow/tfjs';
import {generateTexts, type SampledAnswer, type Tokenizer} from 'tfjs-lora/language';
import type {Question} from './tasks';

/** How many questions are answered at a time. */
const BATCH = 8;

interface Asking {
  maxTokens: number;
  seed: number;
}

/** One sampled answer to each held-out question. */
export async function answersTo(
  questions: readonly Question[],
  model: tf.LayersModel,
  tokenizer: Tokenizer,
  {maxTokens, seed}: Asking,
): Promise<SampledAnswer[]> {
  const answers: SampledAnswer[] = [];
  for (let i = 0; i < questions.length; i += BATCH) {
    const asked = questions.slice(i, i + BATCH);
    const prompts = asked.map(({prompt}) => prompt);
    const texts = await generateTexts(model, tokenizer, prompts, {maxTokens, temperature: 1, seed});
    asked.forEach((question, j) => {
      const text = texts[j]!;
      const tokens = tokenizer.encode(text, {add_special_tokens: false}).ids;
      const truncated = tokens.length >= maxTokens;
      answers.push({prompt: question.prompt, text, tokens, truncated, record: {...question}});
    });
  }
  return answers;
}
