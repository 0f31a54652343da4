import * as tf from '@tensorflow/tfjs';
import {checkCount, checkNumber, misfitError, showShape} from '../../platform/errors';
import {shapesOf} from '../../platform/tfjs/inputs';
import type {TransformerOps} from '../ops/formulaOps';
import {asFloat, onlyTensor} from './forward';
import type {CallArgs} from './layerArgs';

export interface Setting<V> {
  /** The default. Without one, the setting is required. */
  readonly otherwise?: V;
  /** Throws if the value does not fit. */
  readonly check?: (name: string, value: unknown) => void;
  /** Whether files of earlier versions lack it: it is saved only if it is not the default. */
  readonly isLater?: boolean;
}

/** A setting with a default. */
export interface Optional<V> extends Setting<V> {
  readonly otherwise: V;
}

/** A whole number, `least` or more. */
export function count(otherwise?: undefined, least?: number): Setting<number>;
export function count(otherwise: number, least?: number): Optional<number>;
export function count(otherwise?: number, least = 1): Setting<number> {
  return {
    ...(otherwise !== undefined && {otherwise}),
    check: (name, value) => {
      checkCount(name, value, least);
    },
  };
}

/** A number that fits. */
export function number(expected = 'a number', fits: (value: number) => boolean = () => true): Setting<number> {
  return {
    check: (name, value) => {
      checkNumber(name, value, Number.isFinite(value) && fits(value as number), expected);
    },
  };
}

export function flag(otherwise: boolean): Optional<boolean> {
  return {otherwise};
}

/** A setting that may be `null`, which is its default. */
export function nullable<V>({check}: Setting<V>): Optional<V | null> {
  return {otherwise: null, check: (name, value) => value !== null && check?.(name, value)};
}

/** A setting that layers in files of earlier versions lack. */
export function later<V>(setting: Optional<V>): Optional<V> {
  return {...setting, isLater: true};
}

type ValueOf<S> = S extends Optional<infer V> ? V : S extends Setting<infer V> ? V : never;
type SettingsOf<D> = {readonly [K in keyof D]: ValueOf<D[K]>};
type OptionalKeys<D> = {[K in keyof D]: D[K] extends Optional<unknown> ? K : never}[keyof D];
/** The constructor arguments of a layer with these settings. */
export type ArgsOf<D> = Omit<SettingsOf<D>, OptionalKeys<D>> & Partial<SettingsOf<D>> & {name?: string};

/** A weight: its shape, its initial values, and the shape in which the formula has it, if that is another one. */
export interface WeightSpec {
  shape: tf.Shape;
  start: ReturnType<typeof tf.initializers.zeros>;
  form?: readonly number[];
}

type Shapes = readonly [tf.Shape, ...tf.Shape[]];

/** A layer: its settings, its weights, the shape of its result, and its formula. */
export interface Definition<D, W> {
  readonly settings?: D;
  /** Throws if settings do not fit each other. */
  readonly check?: (settings: SettingsOf<D>) => void;
  /** How many inputs it takes at most. Default: 1. */
  readonly inputs?: number;
  /** The inputs that may be integers. Others become floats. */
  readonly integers?: readonly number[];
  /** Whether each value depends on the same value of the input, and of weights, alone. Such layers keep masks. */
  readonly isElementwise?: boolean;
  readonly keepsMask?: boolean;
  readonly weights?: (settings: SettingsOf<D>, shapes: Shapes) => W;
  /** If the inputs do not fit: which would, for the message. Sizes may be `null`. */
  readonly misfit?: (shapes: Shapes, settings: SettingsOf<D>) => string | false | undefined;
  /** Default: that of the first input. */
  readonly shape?: (shapes: Shapes, settings: SettingsOf<D>) => tf.Shape;
  /** Without one, the class computes its result itself, and its nodes are written elsewhere. */
  readonly formula?: Formula<SettingsOf<D>, W>;
}

/** The computation of a layer, over tensors or over the names of values in a file. */
export type Formula<S, W> = <T, N>(
  ops: TransformerOps<T, N>,
  inputs: readonly [T, T, T?],
  settings: S,
  weights: {readonly [K in keyof W]: T},
  shapes: Shapes,
) => T;

type AnyDefinition = Definition<Record<string, Setting<unknown>>, Record<string, WeightSpec>>;

/** A layer of a definition. */
export class FormulaLayer<S extends object = object, W extends object = object> extends tf.layers.Layer {
  /** @internal */
  readonly settings: S;
  /** The weights that it has. @internal */
  readonly variables: {[K in keyof W]: WeightSpec & {variable: tf.LayerVariable}} = {} as never;

  constructor(
    /** @internal */
    readonly definition: AnyDefinition,
    private readonly ops: TransformerOps<tf.Tensor, number>,
    args: object,
  ) {
    const {settings = {}, check, isElementwise = false, keepsMask = isElementwise} = definition;
    const values = Object.fromEntries(
      Object.entries(settings).map(([name, setting]) => {
        const {[name]: value = setting.otherwise} = args as Record<string, unknown>;
        setting.check?.(name, value);
        return [name, value];
      }),
    );
    check?.(values);
    super(args);
    this.settings = values as S;
    this.supportsMasking = keepsMask;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    this.checkInputs(shapesOf(inputShape));
    const specs = this.definition.weights?.(this.settings as never, shapesOf(inputShape)) ?? {};
    for (const [name, spec] of Object.entries(specs)) {
      const variable = this.addWeight(name, spec.shape, 'float32', spec.start);
      Object.assign(this.variables, {[name]: {...spec, variable}});
    }
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const shapes = shapesOf(inputShape);
    this.checkInputs(shapes);
    return this.definition.shape?.(shapes, this.settings as never) ?? shapes[0];
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const {inputs: most = 1, integers = []} = this.definition;
      const tensors = most === 1 ? [onlyTensor(inputs)] : [inputs].flat();
      this.checkInputs(tensors.map(({shape}) => shape) as [tf.Shape, ...tf.Shape[]]);
      return this.compute(tensors.map((x, i) => (integers.includes(i) ? x : asFloat(x))));
    });
  }

  protected compute(inputs: tf.Tensor[]): tf.Tensor {
    const {formula} = this.definition;
    const shapes = inputs.map(({shape}) => shape) as [tf.Shape, ...tf.Shape[]];
    const weights = weightValues(this, ({variable, form}) =>
      form === undefined ? variable.read() : tf.reshape(variable.read(), [...form]),
    );
    return (formula as Formula<S, W>)(this.ops, inputs as [tf.Tensor, tf.Tensor], this.settings, weights, shapes);
  }

  private checkInputs(shapes: [tf.Shape, ...tf.Shape[]]): void {
    const {misfit, inputs = 1} = this.definition;
    const taken = misfit?.(shapes, this.settings as never);
    if (taken) {
      const mark = inputs === 1 ? ',' : ';';
      throw misfitError(`"${this.name}" takes ${taken}${mark} got ${shapes.map(showShape).join(', ')}.`);
    }
  }

  override getConfig(): tf.serialization.ConfigDict {
    const settings = Object.entries(this.settings).filter(([name, value]) => {
      const {isLater, otherwise} = this.definition.settings?.[name] ?? {};
      return isLater !== true || value !== otherwise;
    });
    return {
      ...super.getConfig(),
      ...Object.fromEntries<tf.serialization.ConfigDictValue>(settings as [string, tf.serialization.ConfigDictValue][]),
    };
  }
}

/** The values of a layer's weights, each of which is read when the formula uses it. */
export function weightValues<T, W extends object>(
  {variables}: FormulaLayer<object, W>,
  read: (spec: WeightSpec & {variable: tf.LayerVariable}, name: string) => T,
): {[K in keyof W]: T} {
  const values = {};
  for (const [name, spec] of Object.entries<WeightSpec & {variable: tf.LayerVariable}>(variables)) {
    Object.defineProperty(values, name, {get: () => read(spec, name)});
  }
  return values as {[K in keyof W]: T};
}

export type LayerClass<D, W extends object> = Pick<typeof tf.layers.Layer, 'fromConfig'> &
  (new (...args: object extends ArgsOf<D> ? [args?: ArgsOf<D>] : [args: ArgsOf<D>]) => FormulaLayer<SettingsOf<D>, W>);

/** Makes the class of a definition. Another one extends it by the name that it has in files. */
export function layerOf<D, W extends object>(
  ops: TransformerOps<tf.Tensor, number>,
  definition: Definition<D, W>,
): LayerClass<D, W> {
  return class extends FormulaLayer<SettingsOf<D>, W> {
    constructor(args: object = {}) {
      super(definition as unknown as AnyDefinition, ops, args);
    }
  };
}

/** Whether the sizes of shapes are the same, as far as they are fixed. */
export function sizesMatch(a: tf.Shape, b: tf.Shape): boolean {
  return a.length === b.length && a.every((size, axis) => size == null || b[axis] == null || size === b[axis]);
}
