import * as tf from '@tensorflow/tfjs';
import {LoRAError, misfitError, show, showShape} from '../../../platform/errors';
import type {Adaptation} from '../../../core/layers/adaptation';
import {type BorrowingLayer, lentTable, type LentTable} from '../../../core/layers/borrowingLayer';
import {applyLinear, by, type Compute, type Forward, onlyShape, onlyTensor} from '../../../core/layers/forward';
import {LoRALayer} from '../../../core/layers/loraLayer';
import {registerKind} from '../../../core/layers/registry';
import {baseOf} from '../../../core/layers/layerMarks';
import {type CallArgs} from '../../../core/layers/wrapperLayer';
import {addBias, asMatrix, type Linear, product} from '../../../core/ops/factors';
import {learns} from '../../../platform/tfjs/lazyOp';
import {Prepared} from '../../../platform/tfjs/prepared';
import {denseOp, linear} from '../../../core/ops/linear';
import {refuseTwoUpdates, tiedTokenFactors} from './tokenRows';
import {builtLayer, type LayerEntry, registerOwn} from '../../../platform/tfjs/configs';
import {fieldsOf} from '../../../platform/tfjs/fields';
import type {EmbeddingLayer, KernelLayer} from '../../../platform/tfjs/layerFields';
import {namedWeights, replaceValue} from '../../../platform/tfjs/weights';

/** Arguments of {@link TiedDense}. */
export interface TiedDenseArgs {
  /**
   * The name of the `Embedding` whose table it uses. It must come before this layer in the same model. The name is
   * under the key `name` because tfjs changes the values of other keys when it saves.
   */
  table: {name: string};
  /** Whether to add a bias, a weight of this layer. Default: false. */
  useBias?: boolean;
  /** The name of the layer. Default: one that tfjs makes. */
  name?: string;
}

/**
 * A tied output head: logits from the token embedding itself, `y = x·Eᵀ + b`, `E`: `[vocabulary, width]`, `[.., width]`
 * → `[.., vocabulary]`. `E` is the weight of an `Embedding` before this layer in the model, and is not copied. (Press
 * and Wolf, arXiv 1608.05859.)
 *
 * The layer finds the `Embedding` by name when it is called on a symbolic input. So it is saved and loaded like any
 * other layer, and a file holds the table once. If the table trains, its gradient is the sum of both uses.
 *
 * @experimental
 */
export class TiedDense extends tf.layers.Layer implements BorrowingLayer {
  static readonly className = 'tfjs-lora/transformers>TiedDense';
  /** @internal */
  lender: tf.layers.Layer | undefined = undefined;
  private transposed: {dataId: tf.DataId; copy: tf.Tensor} | undefined = undefined;
  private readonly table: string;
  private readonly useBias: boolean;
  /** @internal */
  bias: tf.LayerVariable | null = null;

  constructor({table, useBias = false, ...layerArgs}: TiedDenseArgs) {
    const name = (table as Partial<typeof table> | undefined)?.name;
    if (typeof name !== 'string') {
      throw new LoRAError(`table must be {name}, the name of an Embedding, got ${show(table)}.`);
    }
    super(layerArgs);
    this.table = name;
    this.useBias = useBias;
    this.supportsMasking = true;
  }

  /** @internal */
  get whyUntrained(): string {
    return (
      `The layer computes with the table of "${this.table}". Name that one, to train both uses of it; or give this ` +
      'layer a table of its own, by loadTransformer with {tied: false}.'
    );
  }

  /** @internal */
  borrow(inputs: unknown): void {
    const symbolic = [inputs].flat().filter(input => input instanceof tf.SymbolicTensor);
    if (this.lender === undefined && symbolic.length > 0) {
      this.lender = layerBefore(symbolic, this.table);
    }
  }

  override apply(
    inputs: tf.Tensor | tf.Tensor[] | tf.SymbolicTensor | tf.SymbolicTensor[],
    kwargs?: CallArgs,
  ): tf.Tensor | tf.Tensor[] | tf.SymbolicTensor | tf.SymbolicTensor[] {
    this.borrow(inputs);
    return super.apply(inputs, kwargs);
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const [vocabulary, width] = this.tableVariable.shape as number[];
    const shape = onlyShape(inputShape);
    if (shape.at(-1) !== width) {
      throw misfitError(
        `"${this.name}" takes states as wide as the table of "${this.table}", ${width}, got ${showShape(shape)}.`,
      );
    }
    this.bias = this.useBias ? this.addWeight('bias', [vocabulary ?? 0], 'float32', tf.initializers.zeros()) : null;
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return [...onlyShape(inputShape).slice(0, -1), this.tableVariable.shape[0] ?? null];
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      return tiedForward(this, onlyTensor(inputs), {update: {}, prepared: new Prepared(), kwargs});
    });
  }

  /** @internal */
  ownEntry(): LayerEntry {
    const {name, trainable, useBias} = this;
    return {className: 'Dense', config: {name, trainable, useBias, units: this.tableVariable.shape[0] as number}};
  }

  /** @internal */
  giveOwn(layer: tf.layers.Layer): void {
    tf.tidy(() => giveDense(layer, this.transposedTable(), this.bias?.read()));
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), table: {name: this.table}, useBias: this.useBias};
  }

  /** `E`, `[vocabulary, width]`. @internal */
  get tableVariable(): tf.LayerVariable {
    const {lent} = this;
    if (lent !== undefined) {
      const {shape, variable} = lent;
      return {shape, dtype: 'float32', trainable: false, read: () => variable.read()} as unknown as tf.LayerVariable;
    }
    const {embeddings} = fieldsOf<Partial<EmbeddingLayer>>(this.lender === undefined ? this : baseOf(this.lender));
    if (embeddings === undefined) {
      throw misfitError(
        `"${this.name}" computes with the table of an Embedding "${this.table}", which must come before it in the ` +
          'same model.',
      );
    }
    return embeddings;
  }

  /** The table in the form in which the `Embedding` stores it, if that is not a tensor of floats. @internal */
  get lent(): LentTable | undefined {
    return this.lender && lentTable(baseOf(this.lender));
  }

  /** A copy of the transposed table. */
  private transposedTable(): tf.Tensor {
    return tf.tidy(() => tf.transpose(this.lent?.numbers() ?? this.tableVariable.read()));
  }

  /**
   * The transposed table, `[width, vocabulary]`, as the kernel of a `Dense`. Reading it makes a copy, which is the
   * same as long as it is there: methods keep what depends on the kernel by the tensor that it is.
   *
   * @internal
   */
  get kernel(): tf.LayerVariable {
    const {tableVariable: table} = this;
    const variable = {
      shape: [...table.shape].reverse(),
      dtype: table.dtype,
      trainable: false,
      read: () => {
        const {dataId} = table.read();
        if (this.transposed === undefined || this.transposed.copy.isDisposed || this.transposed.dataId !== dataId) {
          this.transposed = {dataId, copy: this.transposedTable()};
        }
        return this.transposed.copy;
      },
    };
    return variable as unknown as tf.LayerVariable;
  }
}
registerOwn(TiedDense);

/** The layer of a name among those that symbolic tensors come from. */
function layerBefore(tensors: readonly tf.SymbolicTensor[], name: string): tf.layers.Layer | undefined {
  const seen = new Set(tensors);
  for (const {sourceLayer, inputs} of seen) {
    if (sourceLayer.name === name) {
      return sourceLayer;
    }
    inputs.forEach(input => seen.add(input)); // goes on with what it was given
  }
  return undefined;
}

/** The product with the transposed table, `[n, width] · [vocabulary, width]ᵀ`; with any other matrix as it is. */
function transposedOp(table: tf.Tensor): Linear {
  return {
    isProduct: true,
    forward: (x, kernel, bias, activation) => {
      if (kernel !== table) {
        return denseOp.forward(x, kernel, bias, activation);
      }
      const y = product(x, table, false, true);
      return bias === null ? y : addBias(y, bias);
    },
    inputGradient: (dz, kernel, shape) =>
      kernel === table ? product(dz, table) : denseOp.inputGradient(dz, kernel, shape),
    kernelGradient: (x, dz, shape) =>
      tf.util.arraysEqual(shape, table.shape) ? product(dz, x, true) : denseOp.kernelGradient(x, dz, shape),
  };
}

const NO_ACTIVATION: KernelLayer['activation'] = {apply: z => z, getClassName: () => 'linear'};

const tiedForward: Forward = (layer, x, call) => {
  const {tableVariable, lent, kernel, bias} = layer as TiedDense;
  const [flat, vocabulary] = [asMatrix(x), tableVariable.shape[0] as number];
  const restore = (y: tf.Tensor) => tf.reshape(y, [...x.shape.slice(0, -1), vocabulary]);
  const {kernel: updated, dropout} = call.update;
  const ofTokens = tiedTokenFactors((layer as TiedDense).lender);
  if (ofTokens !== undefined && Object.keys(call.update).length > 0) {
    refuseTwoUpdates(layer);
  }
  const factors = ofTokens ?? call.update.factors;
  const stock = {separateBias: true};
  if (factors === undefined && (updated !== undefined || dropout !== undefined)) {
    // The update is one of the whole kernel.
    return applyLinear(by(denseOp), flat, {kernel, bias, activation: NO_ACTIVATION}, call, stock, restore);
  }
  const table = tableVariable.read();
  const compute: Compute = (input, weights, activation) => {
    // With a separate input, the factors are computed separately, and never added to the table.
    const dropped = weights.factors === null ? undefined : (weights.dropped ?? input);
    const trains = learns(table);
    return linear(lent?.transposedProduct() ?? transposedOp(table), input, {...weights, trains, dropped}, activation);
  };
  compute.branches = true;
  const factorCall = {...call, update: {...call.update, factors}};
  const weights = {kernel: tableVariable, bias, activation: NO_ACTIVATION};
  return applyLinear(compute, flat, weights, factorCall, stock, restore);
};

/**
 * A {@link TiedDense} with a low-rank update of its own: `y = x·(Eᵀ + s·A·B) + b`, `A`: `[width, rank]`, `B`: `[rank,
 * vocabulary]`. The table itself, and what is looked up in it, stay as they are. Merged, the layer becomes a `Dense`
 * with a kernel of its own.
 *
 * @experimental
 */
export class LoRATiedDense extends LoRALayer {
  static readonly className = 'tfjs-lora/transformers>LoRATiedDense';
  static readonly adaptation: Adaptation = {
    baseClassName: TiedDense.className,
    form: 'kernel',
    forward: tiedForward,
    weights: layer => [{name: 'kernel', variable: (layer as TiedDense).kernel}],
  };

  override mergeToOriginalLayer(): tf.layers.Layer {
    const base = this.baseLayer as TiedDense;
    const merged = builtLayer(base.ownEntry(), [null, base.tableVariable.shape[1] ?? null]);
    this.mergeInto(merged);
    return merged;
  }

  override mergeInto(layer: tf.layers.Layer): void {
    tf.tidy(() => {
      if (tiedTokenFactors((this.baseLayer as TiedDense).lender) !== undefined) {
        refuseTwoUpdates(this);
      }
      const [kernel] = this.update.mergedKernels() as [tf.Tensor];
      const bias = namedWeights(this.baseLayer).get('bias')?.read();
      giveDense(layer, kernel, bias && this.update.mergedBias(bias));
    });
  }
}
registerOwn(LoRATiedDense);
registerKind(LoRATiedDense);

function giveDense(layer: tf.layers.Layer, kernel: tf.Tensor, bias: tf.Tensor | undefined): void {
  const weights = namedWeights(layer);
  replaceValue(weights.get('kernel') as tf.LayerVariable, kernel);
  if (bias !== undefined) {
    replaceValue(weights.get('bias') as tf.LayerVariable, bias);
  }
}
