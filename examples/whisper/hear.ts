import type * as tf from '@tensorflow/tfjs';
import {encodeSounds, transcribe} from 'tfjs-lora/sound';
import {say} from './voices';

/** What a Whisper writes for sentences by voices of the test, without case and punctuation. The seed chooses voices. */
export async function heard(
  model: tf.LayersModel,
  tokenizer: Parameters<typeof transcribe>[1],
  texts: readonly string[],
  seed: number,
): Promise<string[]> {
  const transcripts: string[] = [];
  for (const [i, text] of texts.entries()) {
    const {features: clip} = await encodeSounds(model, say(text, 'test', seed + i));
    let whole = '';
    for await (const piece of transcribe(model, tokenizer, clip, {maxTokens: 40})) {
      whole += piece.text;
    }
    clip.dispose();
    transcripts.push(plain(whole));
  }
  return transcripts;
}

/** A text without case and punctuation, which do not count as errors. */
export function plain(text: string): string {
  return text.toLowerCase().replace(/[^a-z0-9' ]/g, '').trim(); // prettier-ignore
}
