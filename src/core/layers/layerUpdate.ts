import * as tf from '@tensorflow/tfjs';
import {misfitError} from '../../platform/errors';
import type {
  AdaptableWeight,
  Method,
  Parameters,
  ParameterSpec,
  SharedSide,
  Start,
  Strength,
  UpdateSite,
} from '../methods/method';
import {resolveStrength} from '../methods/lora';
import {methodOf} from '../methods/registry';
import {Dropout, type Update} from '../ops/update';
import {isRecording} from '../../platform/tfjs/engine';
import {Prepared} from '../../platform/tfjs/prepared';
import {countNumbers, renameWeight, replaceValue, restoreWeight, withdrawWeight} from '../../platform/tfjs/weights';
import {type Adaptation, type UpdateSpec, updateSpecs} from './adaptation';
import type {LayerConfig} from './layerConfig';

/** The update of one weight of a layer. */
export interface UpdatePart {
  /** Name of the weight that is updated, and its shape. */
  readonly weight: string;
  /** The shape of the weight that is updated. */
  readonly shape: number[];
  /** Its rank: that of the layer, or less if the weight cannot use it all. */
  readonly rank: number;
  /** How many parameters the update has, and how many of them train. */
  readonly parameters: number;
  /** How many values of the update train. */
  readonly trainableParameters: number;
  /** What the update adds to the weight, as a new tensor. */
  readonly delta: () => tf.Tensor;
}

/** A low-rank update of one weight of a layer. Its tensors belong to the layer: do not dispose them. */
export interface LowRankPart extends UpdatePart {
  /** `[...fan-in axes, rank]`. */
  readonly A: tf.Tensor;
  /** `[rank, ...out axes]`. */
  readonly B: tf.Tensor;
}

interface WeightUpdate {
  spec: UpdateSpec;
  variables: Map<string, tf.LayerVariable>;
  /** Tensors that the method computes from the weight alone. */
  prepared: Prepared;
  /** The weight with the update in it, for predictions. */
  cached: Prepared;
}

interface Owner extends tf.layers.Layer {
  readonly baseLayer: tf.layers.Layer;
  readonly adaptation: Adaptation;
}

/** How many values an updated weight may have that is kept for predictions. */
const MAX_CACHED_VALUES = 2 ** 17;

/** Makes the masks of layers without a seed differ. */
let unseeded = Math.floor(Math.random() * 2 ** 31);

/** The update of a layer: its method, its strength, and the variables of its parameters. */
export class LayerUpdate {
  /** The dropout of the update, with its state. */
  readonly dropout: Dropout;
  /** Whether to leave out parameters that follow from the base's weights: all weights are about to be loaded. */
  isAboutToBeLoaded = false;
  private current: WeightUpdate[] = [];
  /** Variables of the layer's former methods, without values: a compiled model may hold them. */
  private readonly former = new Map<Method, WeightUpdate[]>();

  constructor(
    private readonly owner: Owner,
    public method: Method,
    public strength: Strength,
    readonly start: Start,
    dropout: number,
    /** Makes a variable of the layer. */
    private readonly addWeight: (name: string, spec: ParameterSpec) => tf.LayerVariable,
  ) {
    this.dropout = new Dropout(dropout, start.seed ?? unseeded++);
  }

  /** Makes the variables. The layer's base is built. */
  build(): void {
    this.current = this.specsOf(this.method, this.strength.rank).map(spec => this.make(spec));
    if (!this.isAboutToBeLoaded) {
      this.begin();
    }
  }

  /** Gives parameters that follow from the base's weights their start values. */
  begin(): void {
    const {method, strength} = this;
    tf.tidy(() => {
      for (const update of this.current) {
        const values = method.start?.(this.siteOf(update), strength, this.start) ?? {};
        Object.entries(values).forEach(([name, value]) =>
          replaceValue(update.variables.get(name) as tf.LayerVariable, value),
        );
      }
    });
  }

  /** Frees what is kept besides the variables. */
  disposePrepared(): void {
    this.current.flatMap(({prepared, cached}) => [prepared, cached]).forEach(cache => cache.dispose());
  }

  variables(): Map<string, tf.LayerVariable> {
    return new Map(
      this.current.flatMap(({spec, variables}) =>
        [...variables].map(([name, variable]) => [spec.prefix + name, variable] as const),
      ),
    );
  }

  shared(): {name: string; side: SharedSide; variable: tf.LayerVariable}[] {
    const names = Object.entries(this.method.shared ?? {});
    return this.current.flatMap(({variables}) =>
      names.map(([name, side]) => ({name, side, variable: variables.get(name) as tf.LayerVariable})),
    );
  }

  /**
   * The tensors that operations compute with, for each weight in the order of the adaptation.
   *
   * @param training whether this is a training step, in which dropout applies.
   */
  forOperations(training: boolean): Update[] {
    const dropout = training && this.dropout.rate > 0 ? this.dropout : undefined;
    return this.current.map(weightUpdate => {
      const {method, strength} = this;
      const site = this.siteOf(weightUpdate);
      const parameters = valuesOf(weightUpdate.variables);
      if (!training && !isRecording() && this.isKept(site.weight)) {
        const sources = [site.weight.variable.read(), ...Object.values(parameters)];
        const merge = () => [method.merge(parameters, strength, site)] as const;
        return {kernel: weightUpdate.cached.get(sources, merge, strength)[0]};
      }
      // With a gain, not only the update would work on the input with dropout.
      const updateSite = dropout === undefined ? site : {...site, takesGain: false};
      const update = method.update?.(parameters, strength, updateSite) ?? {
        kernel: method.merge(parameters, strength, site),
      };
      return dropout === undefined ? update : {...update, dropout};
    });
  }

  /**
   * Whether a weight is kept with the update in it until either changes. A prediction then costs what the base's does:
   * of small layers, the launches of an update take longer than the layer.
   */
  private isKept({variable}: AdaptableWeight): boolean {
    const isWhole = this.method.mergeBias === undefined && this.owner.adaptation.form !== 'lookUp';
    // Reading a quantized weight, which is no variable of tfjs, makes a tensor.
    return isWhole && variable instanceof tf.LayerVariable && countNumbers([variable]) <= MAX_CACHED_VALUES;
  }

  /** The updated weights as new tensors, in the order of the adaptation. */
  mergedKernels(): tf.Tensor[] {
    return this.current.map(update =>
      this.method.merge(valuesOf(update.variables), this.strength, this.siteOf(update)),
    );
  }

  mergedBias(bias: tf.Tensor): tf.Tensor {
    const [first] = this.current;
    return first === undefined
      ? bias
      : (this.method.mergeBias?.(bias, valuesOf(first.variables), this.strength) ?? bias);
  }

  parts(): UpdatePart[] {
    const {method, strength} = this;
    return this.current.map(update => {
      const {spec, variables} = update;
      const values = valuesOf(variables);
      const factors = method.factorsOf?.(values);
      const all = [...variables.values()];
      const site = this.siteOf(update);
      return {
        weight: spec.weight.name,
        shape: spec.weight.variable.shape as number[],
        rank: Math.min(strength.rank, method.rankLimit(spec.weight)),
        ...(factors && {A: factors.a, B: factors.b}),
        parameters: countNumbers(all),
        trainableParameters: countNumbers(all.filter((_, i) => spec.parameters[i]?.trains)),
        delta: () =>
          method.delta?.(values, strength) ??
          tf.tidy(() => tf.sub(method.merge(values, strength, site), site.weight.variable.read())),
      };
    });
  }

  /** As `LoRALayer.setUpdate`. */
  set(config: LayerConfig, valueOf: (name: string) => tf.Tensor | undefined): void {
    const method = methodOf(config.method);
    const strength = resolveStrength(config);
    const specs = this.specsOf(method, strength.rank);
    const values = new Map<string, tf.Tensor>();
    for (const name of specs.flatMap(({prefix, parameters}) => parameters.map(parameter => prefix + parameter.name))) {
      const value = valueOf(name);
      if (value === undefined) {
        throw misfitError(`Layer "${this.owner.name}": there is no ${name}.`);
      }
      values.set(name, value);
    }
    if (method !== this.method) {
      this.switchTo(method, specs, values);
    }
    this.strength = strength;
    this.dropout.rate = config.dropout ?? 0;
    this.variables().forEach((variable, name) => {
      replaceValue(variable, values.get(name) as tf.Tensor);
    });
  }

  /** Sets parameters to values at which the update changes nothing. */
  clear(): void {
    tf.tidy(() => {
      for (const update of this.current) {
        const {spec, variables} = update;
        const neutral = this.method.neutral?.(this.siteOf(update), valuesOf(variables)) ?? {};
        for (const {name, initializer} of spec.parameters.filter(({neutralAtStart}) => neutralAtStart)) {
          const variable = variables.get(name) as tf.LayerVariable;
          variable.write(neutral[name] ?? initializer.apply(variable.read().shape));
        }
      }
    });
  }

  /** Replaces the current variables by another method's: the former ones, if the layer had that method before. */
  private switchTo(method: Method, specs: UpdateSpec[], values: ReadonlyMap<string, tf.Tensor>): void {
    const [[local, variable] = ['', undefined]] = this.variables();
    const scope = variable?.originalName.slice(0, -local.length) ?? '';
    const refusal =
      `Layer "${this.owner.name}" has an update of the method "${method.name}", but the model was compiled for ` +
      `the method "${this.method.name}". Call model.compile(…) before training it.`;
    this.variables().forEach((old, name) => {
      withdrawWeight(this.owner, name, old, refusal);
    });
    this.disposePrepared();
    this.former.set(this.method, this.current);
    this.method = method;
    const former = this.former.get(method);
    this.current = former ?? specs.map(spec => this.make(spec));
    for (const [name, current] of this.variables()) {
      if (former === undefined) {
        renameWeight(current, scope + name); // only tfjs's own build knows the scope
      } else {
        restoreWeight(this.owner, name, current, values.get(name) as tf.Tensor);
      }
    }
  }

  private specsOf(method: Method, rank: number): UpdateSpec[] {
    const {adaptation, baseLayer} = this.owner;
    return updateSpecs(method, adaptation.weights(baseLayer), rank, this.start);
  }

  private siteOf({spec: {weight}, prepared}: WeightUpdate): UpdateSite {
    const {form} = this.owner.adaptation;
    return {weight, takesGain: form === 'linear' || form === 'lookUp', prepared};
  }

  private make(spec: UpdateSpec): WeightUpdate {
    const variables = spec.parameters.map(
      parameter => [parameter.name, this.addWeight(spec.prefix + parameter.name, parameter)] as const,
    );
    return {spec, variables: new Map(variables), prepared: new Prepared(), cached: new Prepared()};
  }
}

function valuesOf(variables: ReadonlyMap<string, tf.LayerVariable>): Parameters {
  return Object.fromEntries([...variables].map(([name, variable]) => [name, variable.read()]));
}
