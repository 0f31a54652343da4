import type {Cell, ConvLayer, InnerLayers} from '../../../platform/tfjs/layerFields';
import {range} from '../lower/lowering';
import {type GraphWriter, Tensor} from '../write/graphWriter';
import {TYPE} from '../write/messages';
import {activated} from './activations';
import type {Call, Write} from './call';
import {geometry, imageOrder} from './convolutions';

/** The fields of a stock recurrent layer, also of a `ConvLSTM2D`. */
export interface RecurrentLayer extends InnerLayers {
  returnSequences: boolean;
  returnState: boolean;
  goBackwards: boolean;
  stateful: boolean;
}

/** The cell of a `ConvLSTM2D`, which is a `Scan` over the steps: no operation computes it. */
export const convolvedSteps: Write = (out, call) => {
  const {cell, returnSequences, returnState, goBackwards, stateful} = call.fields<RecurrentLayer>();
  const fields = call.fields<Cell & ConvLayer>(cell);
  const {filters} = fields;
  // For one step: the images have channels first.
  const order = imageOrder(out, fields, 4);
  const ofSteps = [1, 0, ...order.slice(1).map(axis => axis + 1)];
  const image = order.slice(2).map(axis => call.shape[returnSequences ? axis + 1 : axis] ?? null);
  if (stateful || call.inputs.length > 1 || image.includes(null)) {
    out.refuse('A layer that is stateful, takes states, or has images of dynamic sizes cannot be written.');
  }
  if (call.mask !== undefined) {
    out.refuse('tfjs cannot apply its mask to images. Leave out the mask, or reshape the images after it.');
  }
  const x = out.held(call.input, ofSteps);
  const steps = goBackwards ? out.slice(x, 0, -1, Number.MIN_SAFE_INTEGER, -1) : x;
  const batch = out.sizeOf(x, 1);
  const shape = out.node('Concat', [batch, out.ints([filters, ...image.map(Number)])], {axis: 0});
  const zeros = out.node('ConstantOfShape', [shape]);
  const write = stepOf(out, call, fields);
  const body = out.body(3, ([h = '', c = '', step = '']) => write(h, c, step));
  const [last = '', carry = '', all = ''] = out.nodeOf('Scan', [zeros, zeros, steps], {body, num_scan_inputs: 1}, 3);
  const outputs = [returnSequences ? call.output(all, ofSteps) : call.output(last, order)];
  if (returnState) {
    const states = [last, carry].map((name, i) => new Tensor(call.shapes[i + 1] ?? [], TYPE.float, name, order));
    outputs.push(...states);
  }
  return outputs;
};

/** A step: the states, and what it gives. */
function stepOf(out: GraphWriter, {input}: Call, fields: Cell & ConvLayer) {
  const {kernel, recurrentKernel, bias, filters, activation, recurrentActivation} = fields;
  const {kernelSize: size, strides, dilationRate: dilations, padding} = fields;
  const perm = [3, 2, 0, 1];
  const w = out.weight('kernel', kernel, {perm});
  const r = out.weight('recurrent_kernel', recurrentKernel, {perm});
  const b = bias === null ? [] : [out.weight('bias', bias)];
  const sizes = out.ints(range(4).map(() => filters));
  const first = imageOrder(out, fields, 4).slice(2);
  const images = first.map(axis => input.shape[axis + 1] ?? null);
  const of = (name: string) => new Tensor([null, null, null, filters], TYPE.float, name);
  return (h: string, c: string, x: string): string[] => {
    const ofInput = out.node('Conv', [x, w, ...b], geometry(out, images, {size, strides, dilations, padding}));
    const ofState = out.node('Conv', [h, r], geometry(out, images, {size, strides: [1, 1], padding: 'same'}));
    const gates = out.nodeOf('Split', [out.node('Add', [ofInput, ofState]), sizes], {axis: 1}, 4);
    const [i, f, , o] = gates.map(gate => activated(out, of(gate), recurrentActivation).name) as [
      string,
      string,
      string,
      string,
    ];
    const candidate = activated(out, of(gates[2] ?? ''), activation).name;
    const carry = out.node('Add', [out.node('Mul', [f, c]), out.node('Mul', [i, candidate])]);
    const state = out.node('Mul', [o, activated(out, of(carry), activation).name]);
    // The outputs of a body have unique names.
    return [state, carry, out.node('Identity', [state])];
  };
}
