import * as tf from '@tensorflow/tfjs';
import {disposeModel} from 'tfjs-lora';
import {fromONNX} from 'tfjs-lora/onnx';
import type {OnnxCase} from '../../extensions/onnx/cases';
import operations from '../../fixtures/onnx/operations.json';
import {type Case, read, relativeDifference} from './case';

/** Operations on integers, truth values, indices and volumes, in which backends differ most. */
const NAMES =
  /from (?:the end|beyond|before|the largest)|^Cast |^Div |^Mod|^OneHot|^GatherElements|^Not,|of integers|axes$|of zeros|^Slice|of truth|volumes| by \[|^a list|slope|transposed input|^Einsum|^GatherND of|three axes|batch of one/;

const LARGEST = 2e-5;

/** What files of single operations give, compared with ONNX Runtime. */
export const onnxCases: readonly Case[] = [
  {
    behaviour: 'operations of ONNX files give what ONNX Runtime gives',
    tolerance: LARGEST,
    halfTolerance: null,
    run: async () => {
      const faults: string[] = [];
      let largest = 0;
      for (const each of (operations as unknown as OnnxCase[]).filter(({name}) => NAMES.test(name))) {
        try {
          const deviation = await deviationOf(each);
          largest = Math.max(largest, deviation);
          if (deviation > LARGEST) {
            throw new Error(`It is off by ${deviation}.`);
          }
        } catch (error) {
          faults.push(`${each.name}: ${(error as Error).message}`);
        }
      }
      if (faults.length > 0) {
        throw new Error(faults.join('\n'));
      }
      return largest;
    },
  },
];

async function deviationOf({file, inputs, outputs}: OnnxCase): Promise<number> {
  const model = await fromONNX(Uint8Array.from(atob(file), letter => letter.charCodeAt(0)));
  const given = Object.values(inputs).map(({values, shape, dtype}) => tf.tensor(values, shape, dtype));
  // `predict` takes as many examples of each input.
  const results = tf.tidy(() => [model.apply(given.length === 1 ? given[0]! : given)].flat() as tf.Tensor[]);
  const shapes = JSON.stringify(results.map(({shape}) => shape));
  const actual = await read(results);
  disposeModel(model);
  tf.dispose(given);
  if (shapes !== JSON.stringify(outputs.map(({shape}) => shape))) {
    throw new Error(`It has the shapes ${shapes}.`);
  }
  return relativeDifference(
    actual,
    outputs.map(({values}) => values),
  );
}
