import * as tf from '@tensorflow/tfjs';
import {encodePreferences, loadGGUF, parsePreferences} from 'tfjs-lora/language';
import {fileOf} from '../../extensions/language/ggufFiles';
import {type AttackKind, type Json, mustHold, type Parts} from '../kind';

const ASKED = [{role: 'user', content: 'what does the fox do'}];
const answer = (content: string) => [{role: 'assistant', content}];

/** Records of each form. The text is damaged as bytes as well. */
const RECORDS: readonly Json[][] = [
  [
    {prompt: 'the fox', chosen: ' jumps', rejected: ' over the lazy dog'},
    {prompt: ASKED, chosen: answer('it jumps'), rejected: answer('no')},
    {messages: ASKED, chosen: 'it jumps', rejected: answer('no')},
    {chosen: [...ASKED, ...answer('it jumps')], rejected: [...ASKED, ...answer('no')]},
  ],
  [
    {prompt: 'the fox', completion: ' jumps', label: true},
    {messages: ASKED, completion: 'no', label: false},
  ],
];

const textOf = (records: readonly Json[]) => records.map(record => JSON.stringify(record)).join('\n');

/** Preferences of a stranger in JSON lines, and the batches that are made of them. */
export const preferenceLines: AttackKind = {
  name: 'preferences in JSON lines',
  async prepare() {
    const {model, tokenizer} = await loadGGUF(fileOf('llama'));
    const chatTemplate = {render: ({messages}: Record<string, unknown>) => JSON.stringify(messages)};
    const withTemplate = Object.assign(Object.create(tokenizer) as typeof tokenizer, {chatTemplate});
    return {
      whole: RECORDS.flatMap((records): Parts[] => [{records}, {text: new TextEncoder().encode(textOf(records))}]),
      models: [model],
      async use({records, text}) {
        const lines = text instanceof Uint8Array ? new TextDecoder().decode(text) : textOf([records as Json].flat());
        const parsed = parsePreferences(lines);
        const count = lines.split('\n').filter(line => line.trim() !== '').length;
        mustHold(parsed.length === count, 'A line is no record, or a record no line.');
        const reference = parsed.some(record => 'label' in record) ? 'current' : 'none';
        const data = await encodePreferences(model, withTemplate, parsed, {maxLength: 8, reference, seed: 1});
        await data.forEachAsync(({xs, ys}) => {
          const [ids] = xs as tf.Tensor2D[];
          mustHold(ids!.shape[1] <= 16, 'A row is longer than maxLength.');
          tf.dispose([xs, ys] as tf.TensorContainer);
        });
      },
    };
  },
};
