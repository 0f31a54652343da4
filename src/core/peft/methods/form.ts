import {LoRAError, showShape} from '../../../platform/errors';
import {reshape, sizeOf, type Values} from '../../../platform/formats/layout';
import type {LayerConfig} from '../../layers/layerConfig';
import type {Strength} from '../../methods/method';

/** An update as PEFT stores it: its tensors by name, and what the config says about it. */
export interface StoredUpdate {
  /** The path of its module. */
  path: string;
  tensors: ReadonlyMap<string, Values>;
  strength: Strength;
  /** The fields of `adapter_config.json`. */
  fields: Readonly<Record<string, unknown>>;
}

/** An update as an adapter of ours has it. */
export interface OwnUpdate {
  method: string;
  strength: Strength;
  /** The parameters, by their names. */
  values: Record<string, Values>;
}

/** A module that is written, as far as the config names it. */
export interface WrittenModule {
  path: string;
  method: string;
  strength: Strength;
}

/** What an `adapter_config.json` is written from. */
export interface WrittenFields {
  modules: readonly WrittenModule[];
  r: number;
  alpha: number;
  stabilized: boolean;
  patterns: {alpha_pattern: Record<string, number>; rank_pattern: Record<string, number>};
  bias: 'none' | 'lora_only' | 'all';
  /** Whether PyTorch has the weights of all modules as `[in, out]`. */
  fanInFanOut: boolean;
}

/** A type of adapter of PEFT: how it stores updates of some of our methods. One file, and a row in `table.ts`. */
export interface PEFTForm {
  /** `peft_type` in the config. */
  readonly type: string;
  /** The methods whose updates it stores. */
  readonly methods: readonly string[];
  /** How many axes the weights that it updates have in PyTorch. */
  readonly axes: readonly number[];
  /** Whether it has updates of embeddings and of depthwise convolutions. Default: false. */
  readonly everyKind?: boolean;
  /** Whether it has updates of GPT-2's `Conv1D`. Default: true. */
  readonly conv1d?: boolean;
  /** The field of the config that holds the rank, if it has one. */
  readonly rank?: 'r';
  /** The field that holds `alpha`. */
  readonly alpha?: 'lora_alpha' | 'alpha';
  /** The field that lists tokens whose rows train. Default: `trainable_token_indices`. */
  readonly tokens?: 'token_indices';
  /** The names of tensors, after the paths of modules. */
  readonly parameters: readonly string[];
  /** Fields of the config that change what it computes in ways that are not carried, if they are set. */
  readonly refused?: readonly string[];
  /** Fields of which only one value is supported. */
  readonly only?: Readonly<Record<string, unknown>>;
  /** The fields of the config that are specific to this type. */
  config(fields: WrittenFields): Record<string, unknown>;
  /**
   * An update of ours, for a layer with a kernel of the given shape. LoRA's own factors are read by `loadAdapter`.
   *
   * @param shared the tensors that all modules share, by name.
   * @throws LoRAError if it fits no such layer.
   */
  read?(update: StoredUpdate, kernelShape: readonly number[], shared: ReadonlyMap<string, Values>): OwnUpdate;
  /**
   * An update as PEFT stores it, by the names of tensors, for a weight with this many axes. Where PEFT has no strength,
   * the values contain it.
   *
   * @param valueOf gives the parameters.
   */
  write?(
    update: {method: string; strength: Strength},
    axes: number,
    valueOf: (name: string) => Values | undefined,
  ): Record<string, Values>;
  /** The names of tensors that all modules share. */
  readonly shared?: readonly string[];
  /** The tensors that all modules share, by name, from those of an adapter. */
  writeShared?(
    layers: Readonly<Record<string, LayerConfig>>,
    values: Readonly<Record<string, Values>>,
  ): Record<string, Values>;
}

/** A tensor of an update, which must be there. */
export function tensorOf({tensors}: StoredUpdate, name: string): Values {
  const values = tensors.get(name);
  if (values === undefined) {
    throw new LoRAError(`its ${name} is missing.`);
  }
  return values;
}

/** Values in another shape of the same size. */
export function sized(name: string, values: Values, shape: readonly number[]): Values {
  if (values.data.length !== sizeOf(shape)) {
    throw new LoRAError(
      `its ${name} has shape ${showShape([...values.shape])}, the layer needs ${showShape([...shape])}.`,
    );
  }
  return reshape(values, shape);
}

/** A factor as PyTorch has it, `[outer, in, ...space]`, as the matrix `[outer, in · space]` that PEFT stores. */
export function flattened(factor: Values): Values {
  const [outer = 1, ...innerShape] = factor.shape;
  return reshape(factor, [outer, sizeOf(innerShape)]);
}
