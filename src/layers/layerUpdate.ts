import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../errors';
import {
  type LoRAStrength,
  type Method,
  type Parameters,
  type ParameterSpec,
  resolveStrength,
  type Start,
} from '../methods/method';
import {methodOf} from '../methods/table';
import type {Factors} from '../ops/factors';
import type {Update} from '../ops/linear';
import {renameWeight, replaceValue, restoreWeight, withdrawWeight} from '../tfjs/weights';
import {type Adaptation, type LayerConfig, type UpdateSpec, updateSpecs} from './adaptation';

/** The low-rank update of one weight of a layer. Its tensors belong to the layer: do not dispose them. */
export interface LowRankPart {
  /** Name of the weight that is updated. */
  readonly weight: string;
  /** `[...fan-in axes, rank]`. */
  readonly A: tf.Tensor;
  /** `[rank, ...out axes]`. */
  readonly B: tf.Tensor;
  /** How many numbers the update has, and how many of them train. */
  readonly parameters: number;
  readonly trainableParameters: number;
  /** The update `s·A·B`, a new tensor in the shape of the kernel. */
  readonly delta: () => tf.Tensor;
}

/** The update of one weight, and its variables by the names that the method gives them. */
interface WeightUpdate {
  spec: UpdateSpec;
  variables: Map<string, tf.LayerVariable>;
}

/** A layer that has an update. */
interface Owner extends tf.layers.Layer {
  readonly baseLayer: tf.layers.Layer;
  readonly adaptation: Adaptation;
}

/** The update of a layer: its method, its strength, and the variables of its parameters. */
export class LayerUpdate {
  private current: WeightUpdate[] = [];
  /** The variables of methods that the layer had before, without values: a compiled model may hold them. */
  private readonly former = new Map<Method, WeightUpdate[]>();

  constructor(
    private readonly owner: Owner,
    public method: Method,
    public strength: Required<LoRAStrength>,
    readonly start: Start,
    /** Makes a variable of the layer. */
    private readonly addWeight: (name: string, spec: ParameterSpec) => tf.LayerVariable,
  ) {}

  /** Makes the variables. The layer's base is built. */
  build(): void {
    this.current = this.specsOf(this.method, this.strength.rank).map(spec => this.make(spec));
  }

  /** The variables, by the names that they have among the layer's weights. */
  variables(): Map<string, tf.LayerVariable> {
    return new Map(
      this.current.flatMap(({spec, variables}) =>
        [...variables].map(([name, variable]) => [spec.prefix + name, variable] as const),
      ),
    );
  }

  /** What operations compute with, for each weight in the order of the adaptation. */
  forOperations(): (Update & {factors: Factors})[] {
    return this.current.map(({variables}) => this.method.update(valuesOf(variables), this.strength));
  }

  /** The updated weights as new tensors, in the order of the adaptation. */
  mergedKernels(): tf.Tensor[] {
    return this.owner.adaptation.weights(this.owner.baseLayer).map(({variable}, i) => {
      const {variables} = this.current[i] as WeightUpdate;
      return this.method.merge(variable.read(), valuesOf(variables), this.strength);
    });
  }

  parts(): LowRankPart[] {
    const {method, strength} = this;
    return this.current.map(({spec, variables}) => {
      const values = valuesOf(variables);
      const {a: A, b: B} = method.factorsOf(values);
      const all = [...variables.values()];
      return {
        weight: spec.weight.name,
        A,
        B,
        parameters: sizeOf(all),
        trainableParameters: sizeOf(all.filter((_, i) => spec.parameters[i]?.trains)),
        delta: () => method.delta(values, strength),
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
        throw new LoRAError(`Layer "${this.owner.name}": there is no ${name}.`);
      }
      values.set(name, value);
    }
    if (method !== this.method) {
      this.switchTo(method, specs, values);
    }
    this.strength = strength;
    this.variables().forEach((variable, name) => {
      replaceValue(variable, values.get(name) as tf.Tensor);
    });
  }

  /** Brings parameters back to their start, so that the update changes nothing. */
  clear(): void {
    tf.tidy(() => {
      for (const {spec, variables} of this.current) {
        for (const {name, initializer} of spec.parameters.filter(({neutralAtStart}) => neutralAtStart)) {
          const variable = variables.get(name) as tf.LayerVariable;
          variable.write(initializer.apply(variable.read().shape));
        }
      }
    });
  }

  /** Puts the variables of another method in the place of the current ones: those of before, if the layer had it before. */
  private switchTo(method: Method, specs: UpdateSpec[], values: ReadonlyMap<string, tf.Tensor>): void {
    const [[local, variable] = ['', undefined]] = this.variables();
    const scope = variable?.originalName.slice(0, -local.length) ?? '';
    const refusal =
      `Layer "${this.owner.name}" has an update of the method "${method.name}", and the model was compiled for one of ` +
      `"${this.method.name}". Call model.compile(…) before training it.`;
    this.variables().forEach((old, name) => {
      withdrawWeight(this.owner, name, old, refusal);
    });
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

  private make(spec: UpdateSpec): WeightUpdate {
    const variables = spec.parameters.map(
      parameter => [parameter.name, this.addWeight(spec.prefix + parameter.name, parameter)] as const,
    );
    return {spec, variables: new Map(variables)};
  }
}

function valuesOf(variables: ReadonlyMap<string, tf.LayerVariable>): Parameters {
  return Object.fromEntries([...variables].map(([name, variable]) => [name, variable.read()]));
}

function sizeOf(variables: readonly tf.LayerVariable[]): number {
  return variables.reduce((sum, variable) => sum + variable.read().size, 0);
}
