import type * as tf from '@tensorflow/tfjs';
import {shortName} from '../../../platform/tfjs/configs';
import {fieldsOf} from '../../../platform/tfjs/fields';
import type {FormulaLayer, WeightSpec} from '../../../core/layers/formulaLayer';
import {type GraphWriter, type Source, Tensor} from '../write/graphWriter';
import {TYPE} from '../write/messages';

/** Settings of initialization and training, and settings that the shapes of weights imply. */
const IMPLIED_SETTINGS = new RegExp(
  '^(name|trainable|dtype|batchInputShape|.*(Initializer|Regularizer|Constraint)|.*[dD]ropout|unroll|implementation|unitForgetBias|' +
    'units|filters|depthMultiplier|inputDim|outputDim|useBias)$',
);

/** Class of a layer → other settings that its weights imply, or that do not change predictions. */
const IMPLIED_BY_CLASS: Readonly<Record<string, string>> = {
  AlphaDropout: 'rate noiseShape',
  BatchNormalization: 'momentum center scale',
  Bidirectional: 'layer',
  Dropout: 'rate noiseShape seed',
  Embedding: 'inputLength',
  GaussianDropout: 'rate',
  GaussianNoise: 'stddev',
  GRU: 'resetAfter',
  GRUCell: 'resetAfter',
  LayerNormalization: 'center scale',
  PReLU: 'sharedAxes',
  QuantizedDense: 'blocks.name',
  QuantizedEmbedding: 'blocks.name inputLength',
  SpatialDropout1D: 'rate noiseShape seed',
  TiedDense: 'table.name',
};

/** A bool tensor that marks the steps that tfjs's layers do not skip: `[batch, steps]` where they can read it. */
export interface Mask {
  /** `undefined` where it cannot be written. */
  readonly name?: string;
  readonly shape: tf.Shape;
}

/**
 * The arguments that tfjs passes to layers. All layers of a model get the same object, so that a layer whose inputs
 * have no mask reads the one that an earlier layer was called with.
 */
export interface Keywords {
  mask?: Mask | undefined;
}

/** A call of a layer that is being written. */
export class Call {
  /** The names of fields that were read, of the layer and of layers inside it. */
  private readonly read = new Set<string>();
  private readonly inner = new Set<tf.layers.Layer>();
  /** The mask of the outputs. Default: that of the first input, if the layer supports masks. */
  outputMask: Mask | undefined;

  constructor(
    readonly layer: tf.layers.Layer,
    readonly inputs: readonly Tensor[],
    /** The shapes of the outputs. */
    readonly shapes: readonly tf.Shape[],
    /** The masks of the inputs. */
    readonly masks: readonly (Mask | undefined)[] = [],
    readonly keywords?: Keywords,
  ) {
    this.outputMask = layer.supportsMasking ? masks[0] : undefined;
  }

  /** The mask that the layer is called with. */
  get mask(): Mask | undefined {
    return this.keywords?.mask;
  }

  get input(): Tensor {
    return this.inputs[0] as Tensor;
  }

  get shape(): tf.Shape {
    return this.shapes[0] as tf.Shape;
  }

  /** The fields of the layer, or of one inside it. Those that are read count as written. */
  fields<Fields>(layer = this.layer): Fields {
    this.inner.add(layer);
    return fieldsOf<Fields>(trackReads(layer, this.read));
  }

  /** The settings of a layer that has a definition. */
  settings<Settings extends object>(): Settings {
    return (this.layer as FormulaLayer<Settings>).settings;
  }

  /** The weights of such a layer. */
  get weights(): FormulaLayer<object, Record<string, WeightSpec>>['variables'] {
    return (this.layer as FormulaLayer<object, Record<string, WeightSpec>>).variables;
  }

  weight(name: string): Source {
    return this.weights[name]?.variable as Source;
  }

  /**
   * The settings that nothing has read, of the layer and of inner layers whose fields were requested. The writer of a
   * layer with a definition or an operation of Keras takes all that it declares.
   */
  unread(): [setting: string, value: unknown][] {
    if ('definition' in this.layer || 'operation' in this.layer) {
      return [];
    }
    return [this.layer, ...this.inner].flatMap(layer => {
      const implied = (IMPLIED_BY_CLASS[shortName(layer.getClassName())] ?? '').split(' ');
      const isUnread = ([setting]: [string, unknown]) =>
        !this.read.has(setting) && !implied.includes(setting) && !IMPLIED_SETTINGS.test(setting);
      return settingsOf(layer.getConfig()).filter(isUnread);
    });
  }

  /** An output, whose axes are in an order. */
  output(name: string, order?: readonly number[]): Tensor {
    return new Tensor(this.shape, TYPE.float, name, order);
  }
}

/** An object that notes the names of fields that are read. Names of fields of an object inside it follow its own. */
function trackReads<T extends object>(owner: T, read: Set<string>, path = ''): T {
  return new Proxy(owner, {
    get: (target, field, self) => {
      const name = `${path}${String(field)}`;
      const value: unknown = Reflect.get(target, field, self);
      read.add(name);
      return isPlain(value) ? trackReads(value, read, `${name}.`) : value;
    },
  });
}

/** The entries of a config, and of objects inside it that are not layers. */
function settingsOf(config: object, path = ''): [setting: string, value: unknown][] {
  return Object.entries(config).flatMap(([key, value]: [string, unknown]) =>
    isPlain(value) && !('className' in value)
      ? settingsOf(value, `${path}${key}.`)
      : [[`${path}${key}`, value] as [string, unknown]],
  );
}

function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

/** Writes the call of a layer as nodes, and returns its outputs. */
export type Write = (out: GraphWriter, call: Call) => Tensor | Tensor[];
