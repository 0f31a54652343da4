import {disposeModel} from 'tfjs-lora';
import {fromONNX} from 'tfjs-lora/onnx';
import {bytesOf, readCases} from '../../extensions/onnx/cases';
import {type AttackKind, mustHold} from '../kind';

/** ONNX files of one operation, and of small networks. */
export const onnx: AttackKind = {
  name: 'an ONNX file',
  prepare: () => ({
    whole: [...readCases('operations'), ...readCases('networks')].map(each => ({file: bytesOf(each)})),
    models: [],
    async use({file}) {
      const model = await fromONNX(file as Uint8Array);
      try {
        const held = model.weights.reduce((sum, weight) => sum + weight.read().size, 0);
        mustHold(held <= 16 * (file as Uint8Array).length + 1024, 'The model holds more than the file.');
      } finally {
        disposeModel(model);
      }
    },
  }),
};
