import * as tf from '@tensorflow/tfjs';
import {baseOf, wrapperKind} from '../../core/layers/layerMarks';
import {type Factors, scaled} from '../../core/ops/factors';
import type {Update} from '../../core/ops/update';
import {callsOf} from '../../core/rewire/walk';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {KernelLayer} from '../../platform/tfjs/layerFields';
import {Prepared} from '../../platform/tfjs/prepared';
import {quantizedKernels, type RowProducts} from '../quantized/kernels/quantizedKernels';
import type {BlockLayer} from '../quantized/layers/blockLayer';
import {LoRAQuantizedDense, QuantizedDense} from '../quantized/layers/quantizedDense';
import type {RowKernels} from '../transformers/kernels/transformer';
import {isDecodeLayer, type DecodeState, type DecodeStep} from '../transformers/layers/decodeStep';
import {hasMasks} from './directPass';

/** A call of a layer: its inputs and outputs among the values of a pass. */
interface Call {
  readonly layer: tf.layers.Layer;
  readonly inputs: readonly number[];
  readonly outs: readonly number[];
}

/** A quantized product; the layer itself may be called instead. */
interface Product extends Call {
  readonly base: BlockLayer;
  readonly products: RowProducts;
  /** `s·B` of the layer's update, and room for `x·A` and for the update. */
  readonly prepared: Prepared;
  scaling: number;
}

/**
 * Computes a model for one new position of each text. The layers that can compute at addresses write into tensors that
 * are kept from token to token, so that nothing is allocated for them; any other layer is called normally. Quantized
 * products of the same input are computed together. For one text it computes the bits of `directPass`, and for each of
 * several those that it would have alone, except in layers that are called.
 */
export class DecodePass {
  /** Number of a value → its tensor, and the tensor's address. */
  private readonly values: (tf.Tensor | undefined)[] = [];
  private readonly addresses: number[] = [];
  private readonly widths: (number | undefined)[] = [];
  private readonly tensors: tf.Tensor[] = [];
  private readonly inputs: readonly number[];
  private readonly output: number;
  private readonly steps: ((state: DecodeState) => void)[] = [];
  private readonly prepared: Prepared[] = [];

  private constructor(
    model: tf.LayersModel,
    readonly kernels: RowKernels,
    private readonly count: number,
  ) {
    const numbers = new Map<tf.SymbolicTensor, number>();
    const numberOf = (tensor: tf.SymbolicTensor) => {
      const number = numbers.get(tensor) ?? numbers.size;
      numbers.set(tensor, number);
      const [, positions, width, ...more] = tensor.shape;
      this.widths[number] = positions === null && width != null && more.length === 0 ? width : undefined;
      return number;
    };
    this.inputs = model.inputs.map(numberOf);
    let waiting: Product[] = [];
    for (const {outboundLayer: layer, inputTensors, outputTensors} of callsOf(model)) {
      const call: Call = {layer, inputs: inputTensors.map(numberOf), outs: outputTensors.map(numberOf)};
      const product = this.productOf(call);
      if (!(product && waiting[0] && belongTogether(product, waiting[0]))) {
        this.addProducts(waiting);
        waiting = [];
      }
      if (product !== undefined) {
        waiting.push(product);
        continue;
      }
      const step = this.stepOf(call);
      if (step === undefined) {
        this.steps.push(() => {
          this.callLayer(call);
        });
      } else {
        const {inputs, outs} = call;
        const [out = 0] = outs;
        const {addresses} = this;
        this.reserve(out);
        this.steps.push(state => {
          step(
            inputs.map(number => addresses[number] as number),
            addresses[out] as number,
            state,
          );
        });
      }
    }
    this.addProducts(waiting);
    this.output = numberOf(model.outputs[0] as tf.SymbolicTensor);
  }

  /** Plans a pass for this many texts; `undefined` for a model whose layers pass masks of tfjs to each other. */
  static of(model: tf.LayersModel, kernels: RowKernels, count: number): DecodePass | undefined {
    return hasMasks(model) ? undefined : new DecodePass(model, kernels, count);
  }

  /** The output of the model, which the next pass overwrites. The caller tidies up. */
  run(inputs: readonly tf.Tensor[], state: DecodeState): tf.Tensor {
    this.inputs.forEach((number, i) => (this.values[number] = inputs[i]));
    this.steps.forEach(step => {
      step(state);
    });
    return this.values[this.output] as tf.Tensor;
  }

  dispose(): void {
    tf.dispose(this.tensors);
    this.prepared.forEach(weights => {
      weights.dispose();
    });
  }

  private reserve(number: number): void {
    const tensor = tf.keep(tf.zeros([this.count, 1, this.widths[number] as number]));
    this.tensors.push(tensor);
    this.values[number] = tensor;
    this.addresses[number] = this.kernels.at(tensor);
  }

  /** Calls a layer, whose results are tensors. */
  private callLayer({layer, inputs, outs}: Call): void {
    const tensors = inputs.map(number => this.values[number] as tf.Tensor);
    [layer.call(tensors, {})].flat().forEach((result, i) => {
      const number = outs[i] as number;
      this.values[number] = result;
      this.addresses[number] = this.kernels.at(result);
    });
  }

  private stepOf({layer, inputs, outs: [out = 0, ...laterOutputs]}: Call): DecodeStep | undefined {
    const unwrapped = wrapperKind(layer) === 'frozen' ? baseOf(layer) : layer;
    if (laterOutputs.length > 0 || this.widths[out] === undefined) {
      return undefined;
    }
    const widths = inputs.map(number => this.widths[number]).filter(width => width !== undefined);
    const {kernels, count} = this;
    if (unwrapped.getClassName() === 'Add' && widths.length === inputs.length && new Set(widths).size === 1) {
      const [width = 0] = widths;
      return ([first = 0, ...laterAddends], to) => {
        kernels.copy(first, to, count * width);
        laterAddends.forEach(from => {
          kernels.add(from, to, count * width);
        });
      };
    }
    return isDecodeLayer(unwrapped) ? unwrapped.decodeStep(kernels, widths, count) : undefined;
  }

  private productOf(call: Call): Product | undefined {
    const {layer, inputs, outs} = call;
    const base = baseOf(layer);
    const isOwn = layer === base || layer instanceof LoRAQuantizedDense || wrapperKind(layer) === 'frozen';
    if (!(base instanceof QuantizedDense) || !isOwn) {
      return undefined;
    }
    const products = quantizedKernels(base.matrix.format)?.rowProducts;
    const isLinear = fieldsOf<KernelLayer>(base).activation.getClassName() === 'linear';
    const areRows = [...inputs, ...outs].every(number => this.widths[number] !== undefined);
    if (products?.takes(base.matrix, this.count) !== true || !isLinear || !areRows) {
      return undefined;
    }
    const prepared = new Prepared();
    this.prepared.push(prepared);
    return {...call, base, products, prepared, scaling: 1};
  }

  /** Computes products of one input together, and then adds to each its bias and update. */
  private addProducts(all: readonly Product[]): void {
    const [first] = all;
    if (first === undefined) {
      return;
    }
    const from = first.inputs[0] as number;
    all.forEach(({outs}) => {
      this.reserve(outs[0] as number);
    });
    this.steps.push(() => {
      const x = this.addresses[from] as number;
      const targets = all.map(({base: {blocks, matrix}, outs}) => {
        return {blocks: blocks.read(), matrix, to: this.addresses[outs[0] as number] as number};
      });
      first.products.multiply(x, this.count, targets);
      all.forEach((product, i) => {
        this.complete(product, x, targets[i]?.to as number);
      });
    });
  }

  /** Adds the bias and the low-rank update of a layer to its product. */
  private complete(product: Product, x: number, y: number): void {
    const {kernels, count} = this;
    const {layer, base, outs} = product;
    const {rows} = base.matrix;
    const [{factors, ...otherUpdates} = {} as Update] =
      layer instanceof LoRAQuantizedDense ? layer.update.forOperations(false) : [];
    if (Object.values<unknown>({...otherUpdates}).some(other => other !== undefined)) {
      const tensor = this.values[outs[0] as number];
      this.callLayer(product); // it computes the product again
      kernels.copy(this.addresses[outs[0] as number] as number, y, count * rows);
      this.values[outs[0] as number] = tensor;
      this.addresses[outs[0] as number] = y;
      return;
    }
    const {bias} = fieldsOf<KernelLayer>(base);
    if (bias !== null) {
      for (let row = 0; row < count; row++) {
        kernels.add(kernels.at(bias.read()), y + 4 * rows * row, rows);
      }
    }
    if (factors != null) {
      this.addUpdate(product, factors, x, y);
    }
  }

  /** Adds `(x·A)·(s·B)`. */
  private addUpdate(product: Product, {a, b, scaling}: Factors, x: number, y: number): void {
    const {kernels} = this;
    const {rows, width} = product.base.matrix;
    const [rank = 0] = b.shape;
    if (product.scaling !== scaling) {
      product.prepared.dispose();
      product.scaling = scaling;
    }
    const ownB = () => (scaling === 1 ? tf.clone(b) : scaled(b, scaling));
    const made = product.prepared.get([b], () => [ownB(), tf.zeros([rank]), tf.zeros([rows])]);
    const [ofB, h, sum] = made.map(tensor => kernels.at(tensor)) as [number, number, number];
    for (let row = 0; row < this.count; row++) {
      kernels.multiply(x + 4 * width * row, kernels.at(a), {k: width, n: rank}, h);
      kernels.multiply(h, ofB, {k: rank, n: rows}, sum);
      kernels.add(sum, y + 4 * rows * row, rows);
    }
  }
}

/** Whether products can be computed at once. */
function belongTogether(one: Product, other: Product): boolean {
  const [{format, width}, {format: otherFormat, width: otherWidth}] = [one.base.matrix, other.base.matrix];
  return one.inputs[0] === other.inputs[0] && format === otherFormat && width === otherWidth;
}
