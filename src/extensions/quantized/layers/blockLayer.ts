import * as tf from '@tensorflow/tfjs';
import {LoRAError, show, unsupportedError} from '../../../platform/errors';
import type {UnpackedVariable} from '../../../core/adapter/fingerprint';
import {type Adaptation, classInAdapters} from '../../../core/layers/adaptation';
import {
  applyLinear,
  by,
  type Compute,
  type Forward,
  type ForwardCall,
  onlyTensor,
  UNFUSED_IDENTITY,
} from '../../../core/layers/forward';
import type {CallArgs, LoRALayerArgs} from '../../../core/layers/layerArgs';
import {LoRALayer} from '../../../core/layers/loraLayer';
import {activate} from '../../../core/ops/activation';
import {addBias, asMatrix, gained, type Linear} from '../../../core/ops/factors';
import {Prepared} from '../../../platform/tfjs/prepared';
import {denseOp, linear} from '../../../core/ops/linear';
import {type LayerEntry, withoutConstraints} from '../../../platform/tfjs/configs';
import {fieldsOf} from '../../../platform/tfjs/fields';
import type {KernelLayer} from '../../../platform/tfjs/layerFields';
import {stockClass} from '../../../platform/tfjs/stockClass';
import {countNumbers, namedWeights, type PackedVariable, replaceValue} from '../../../platform/tfjs/weights';
import {appendRows} from '../formats/appendRows';
import {type BlockMatrix, bytesOf, packedSize, rowsOf} from '../formats/blockMatrix';
import {type BlockFormat, type BlockFormatName, FORMAT_NAMES, formatNamed} from '../formats/formats';
import {quantizedKernels} from '../kernels/quantizedKernels';
import {blockProduct, wholeMatrix} from '../ops/blockOps';
import {isStreaming, placeInFile, streamedBlocks} from '../streamed/streamedBlocks';
import type {Place} from '../streamed/streamedFile';

/** What the config of a quantized layer has in addition to that of the stock layer. */
export interface BlockArgs {
  /** The format of the blocks, in `name`: the only key whose values tfjs does not convert in files. */
  blocks: {name: BlockFormatName};
}

/** A layer whose kernel or table is a quantized matrix, which never trains. */
export interface BlockLayer extends tf.layers.Layer {
  /** The quantized weights, as 32-bit integers. */
  readonly blocks: PackedVariable;
  /** The shape and format of the matrix, once the layer is built. */
  readonly matrix: BlockMatrix;
  /** Read for targets that train in full. */
  readonly whyUntrained: string;
}

/** Why a quantized layer does not train. */
const IN_BLOCKS = 'Quantized or streamed weights cannot train. To train an update of the layer, name it in targets.';

/** The name of the weight that holds the blocks. */
export const BLOCKS = 'blocks';

/** @throws LoRAError if the config of a layer has no valid format. */
function formatOf(args: Partial<BlockArgs>, layerName: string): BlockFormat {
  const name: unknown = args.blocks?.name;
  const format = typeof name === 'string' ? formatNamed(name) : undefined;
  if (format === undefined) {
    throw new LoRAError(
      `blocks of layer "${layerName}" must be {name}, one of ${FORMAT_NAMES.join(', ')}, got ${show(args.blocks)}.`,
    );
  }
  return format;
}

interface BiasFields {
  useBias: boolean;
  bias: tf.LayerVariable | null;
  biasInitializer: ReturnType<typeof tf.initializers.zeros>;
}

/** The methods that a class of quantized layers builds its weights with. */
export interface BuiltInBlocks extends BlockLayer {
  /** Where the blocks are, if the layer is to be built with those of a file. */
  place: Place | undefined;
  /** Adds the weight of blocks for a matrix `[rows, width]`. */
  addBlocks(rows: number, width: number): void;
  /** Adds the bias, if the layer has one. */
  addBias(count: number): void;
  /** The blocks with further rows. */
  withRows(means: readonly (readonly number[])[]): {name: string; value: tf.Tensor};
}

type BlockClass = (new (args: tf.serialization.ConfigDict & BlockArgs) => BuiltInBlocks) &
  Pick<typeof tf.layers.Layer, 'fromConfig'>;

/** Returns a class to derive quantized layers from: a stock class without its kernel, which computes by `forward`. */
export function blockClass(stock: string, forward: Forward): BlockClass {
  return class extends stockClass(stock) implements BuiltInBlocks {
    blocks!: PackedVariable;
    matrix!: BlockMatrix;
    place: Place | undefined;
    readonly whyUntrained = IN_BLOCKS;
    readonly format: BlockFormat;

    constructor(args: tf.serialization.ConfigDict & BlockArgs) {
      super(args);
      this.format = formatOf(args, this.name);
    }

    addBlocks(rows: number, width: number): void {
      this.matrix = {format: this.format, rows, width};
      quantizedKernels(this.format); // starts the trial of the kernels, if they need one
      const {place} = this;
      const size = packedSize(this.matrix);
      // Blocks of a file, or of a model that has such, are not held, not even as zeros until they get their values.
      const initializer =
        place !== undefined || isStreaming()
          ? ({apply: () => streamedBlocks(place, size)} as unknown as ReturnType<typeof tf.initializers.zeros>)
          : tf.initializers.zeros();
      // tfjs asks the last argument for the initializer of a layer that is about to be loaded.
      const untrained = [undefined, false, undefined] as const;
      this.blocks = this.addWeight(BLOCKS, [size], 'int32', initializer, ...untrained, () => initializer);
      this.blocks.parameters = rows * width;
      this.blocks.bytesInFile = () => placeInFile(this.blocks.read())?.bytes ?? 0;
    }

    addBias(count: number): void {
      const fields = fieldsOf<BiasFields>(this);
      if (fields.useBias) {
        fields.bias = this.addWeight('bias', [count], 'float32', fields.biasInitializer);
      }
    }

    withRows(means: readonly (readonly number[])[]): {name: string; value: tf.Tensor} {
      if (placeInFile(this.blocks.read()) !== undefined) {
        throw unsupportedError(
          `Layer "${this.name}" has streamed weights, which get no further rows. Load the model without {weights: ` +
            "'streamed'} to add tokens.",
        );
      }
      return {name: BLOCKS, value: tf.tensor1d(appendRows(this.matrix, bytesOf(this.blocks.read()), means), 'int32')};
    }

    override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
      return tf.tidy(() => {
        this.invokeCallHook(inputs, kwargs);
        return forward(this, onlyTensor(inputs), {update: {}, prepared: new Prepared(), kwargs});
      });
    }

    override countParams(): number {
      return countNumbers(this.weights);
    }

    override getConfig(): tf.serialization.ConfigDict {
      return {...super.getConfig(), blocks: {name: this.format.name}};
    }
  };
}

/** Computes an operation with a quantized matrix. Factors and a gain are applied separately, never added to it. */
export function besideBlocks(op: Linear): Compute {
  const compute: Compute = (x, weights, activation) => {
    const {gain, bias, factors} = weights;
    const dropped = factors == null ? undefined : (weights.dropped ?? x);
    if (gain == null) {
      return linear(op, x, {...weights, dropped}, activation);
    }
    const productWeights = {...weights, gain: null, bias: null, dropped};
    const y = gained(linear(op, x, productWeights, UNFUSED_IDENTITY), gain);
    const z = bias === null ? y : addBias(y, bias);
    // An identity activation returns its input, which the tape would take for two tensors.
    return activation.gradient === null ? activation.apply(z) : activate(z, activation);
  };
  compute.branches = true;
  return compute;
}

/** `f(x·(W + s·A·B) + b)` of rows `[n, width]`, with `W` the transposed matrix of a layer. */
export function denseOnBlocks(
  layer: tf.layers.Layer,
  x: tf.Tensor,
  call: ForwardCall,
  restore: (y: tf.Tensor) => tf.Tensor,
): tf.Tensor {
  const {blocks, matrix} = layer as BlockLayer;
  const {bias, activation} = fieldsOf<KernelLayer>(layer);
  const {factors} = call.update;
  const isLong = factors !== undefined && x.size > matrix.width * Math.min(matrix.width, matrix.rows);
  if ((isLong || bias !== null) && placeInFile(blocks.read())?.widens === true) {
    // Sums that begin with the bias, and an update that is added to the kernel, need the call that floats get.
    const kernel = asNumbers(layer as BlockLayer, true, ({rows, width}) => [width, rows]);
    const stock = {separateBias: true, fuses: 'stock'} as const;
    return applyLinear(by(denseOp), asMatrix(x), {kernel, bias, activation}, call, stock, restore);
  }
  const update = {...call.update, factors: factors && {...factors, a: asMatrix(factors.a)}};
  const compute = besideBlocks(blockProduct(blocks.read(), matrix));
  const fields = {kernel: blocks, bias, activation};
  return applyLinear(compute, asMatrix(x), fields, {...call, update}, {separateBias: true}, restore);
}

/** The methods that need no more than products with a frozen kernel. The others need all its values. */
const METHODS = ['lora', 'lora-fa', 'vera', 'ia3', 'ia3-feedforward', 'tokens'];

function refusedMethod({name}: {readonly name: string}, dropout: number): string | undefined {
  if (!METHODS.includes(name)) {
    return (
      `The weights are quantized or streamed, and the method "${name}" needs the whole kernel in float32. ` +
      `Use one of ${METHODS.join(', ')}, or adapt a model of floats in memory.`
    );
  }
  return dropout > 0 && name.startsWith('ia3')
    ? `The weights are quantized or streamed, and with dropout the method "${name}" needs the whole kernel in float32. ` +
        'Override its dropout with 0.'
    : undefined;
}

/**
 * Describes how to adapt a class of quantized layers.
 *
 * @param transposed whether the kernel has a column for each row of the matrix.
 * @param shapeOf returns the shape of the kernel in float32.
 */
export function blockAdaptation(
  baseClassName: string,
  weight: string,
  layerParts: Pick<Adaptation, 'form' | 'forward' | 'zeroFactor'>,
  transposed: boolean,
  shapeOf: (matrix: BlockMatrix) => number[],
): Adaptation {
  return {
    baseClassName,
    ...layerParts,
    refusedMethod,
    weights: layer => [{name: weight, variable: asNumbers(layer as BlockLayer, transposed, shapeOf)}],
  };
}

/** A layer's quantized kernel in float32. Each read makes a new tensor of all values. */
function asNumbers(
  {blocks, matrix}: BlockLayer,
  transposed: boolean,
  shapeOf: (matrix: BlockMatrix) => number[],
): tf.LayerVariable {
  const shape = shapeOf(matrix);
  const read = () =>
    tf.tidy(() => {
      const unpacked = wholeMatrix(blocks.read(), matrix);
      return tf.reshape(transposed ? tf.transpose(unpacked) : unpacked, shape);
    });
  const {rows, width} = matrix;
  const valuesAt = (positions: readonly number[]) => {
    const held = blocks.read();
    return positions.map(at => {
      const [row, column] = transposed ? [at % rows, Math.floor(at / rows)] : [Math.floor(at / width), at % width];
      return rowsOf(held, matrix, row, 1)[column] ?? 0;
    });
  };
  const packed = {holder: blocks, valuesAt};
  const fields: Partial<UnpackedVariable> = {shape, dtype: 'float32', trainable: false, read, packed};
  return fields as UnpackedVariable;
}

/** A frozen quantized layer with a trainable update. It merges to float32, since blocks could lose the update. */
export abstract class LoRABlockLayer extends LoRALayer {
  /** @throws LoRAError also if the base is to train: blocks have no gradient. */
  constructor(args: LoRALayerArgs) {
    super(args);
    if (!this.isBaseLayerFrozen) {
      throw unsupportedError(
        `Layer "${this.name}" has quantized or streamed weights, which cannot train. Leave freezeBaseLayer true.`,
      );
    }
  }

  override countParams(): number {
    return countNumbers(this.weights);
  }

  override mergedEntry(): LayerEntry {
    const {className, config} = withoutConstraints(this.baseEntry());
    return plainEntry({className, config});
  }

  override mergeInto(layer: tf.layers.Layer): void {
    const [weight] = this.adaptation.weights(this.baseLayer);
    const baseWeights = namedWeights(this.baseLayer);
    tf.tidy(() => {
      const [kernel] = this.update.mergedKernels() as [tf.Tensor];
      for (const [name, variable] of namedWeights(layer)) {
        const value =
          name === weight?.name ? kernel : this.update.mergedBias((baseWeights.get(name) as tf.LayerVariable).read());
        replaceValue(variable, value);
      }
    });
  }
}

/** Returns the support entry of the float32 layer. */
function plainEntry({className, config}: LayerEntry): LayerEntry {
  const {blocks: _, ...plain} = config;
  return {className: classInAdapters(className), config: plain};
}
