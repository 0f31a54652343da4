import * as tf from '@tensorflow/tfjs';
import {bytesOf, readCases} from '../../extensions/onnx/cases';
import {TRANSFORMERS} from '../../extensions/onnx/transformers';
import {floats, onnxFile, value} from '../../extensions/onnx/files';

export const url = 'https://example.com/model.onnx';
export const smallUrl = 'https://example.com/small.onnx';
export const x = tf.randomNormal([4, 8]);
export const y = tf.randomNormal([4, 2]);

const matrix = (name: string, rows: number, columns: number) =>
  floats(
    name,
    [rows, columns],
    Array.from({length: rows * columns}, (_, i) => Math.sin(i)),
  );

export function files() {
  const file = onnxFile({
    nodes: [
      {op: 'MatMul', inputs: ['x', 'w'], outputs: ['hidden'], name: 'hidden/MatMul'},
      {op: 'Tanh', inputs: ['hidden'], outputs: ['features'], name: 'hidden/Tanh'},
      {op: 'MatMul', inputs: ['features', 'v'], outputs: ['y'], name: 'out/MatMul'},
    ],
    initializers: [matrix('w', 8, 16), matrix('v', 16, 2)],
    inputs: [value('x', [null, 8])],
    outputs: [value('y', [null, 2])],
  });
  const voice = onnxFile({
    nodes: [
      {op: 'Add', inputs: ['x', 'state'], outputs: ['sum']},
      {op: 'MatMul', inputs: ['sum', 'w'], outputs: ['y']},
    ],
    initializers: [matrix('w', 8, 16)],
    inputs: [value('x', [null, 8]), value('state', [null, 8]), value('sr', [], 7)],
    outputs: [value('y', [null, 16])],
  });
  const [encoder] = TRANSFORMERS;
  return Promise.resolve({
    'https://example.com/config.json': JSON.stringify(encoder?.config),
    'https://example.com/encoder.onnx': encoder?.file ?? '',
    [url]: file,
    [smallUrl]: bytesOf(readCases('operations').find(({name}) => name === 'MatMulNBits')!),
    'https://example.com/voice.onnx': voice,
    'https://example.com/large.onnx': file,
    'https://example.com/large.onnx_data': new Uint8Array(4),
  });
}
