import {damagedError, LoRAError, throwFaults, unsupportedError} from '../../../platform/errors';
import type {Values} from '../../../platform/formats/layout';
import {type StatePooling, STATE_POOLINGS} from '../ops/poolStates';

/** Activations of a module `Dense`, by the last part of their names in Python. */
export const SENTENCE_ACTIVATIONS = {
  Identity: 'linear',
  Tanh: 'tanh',
  ReLU: 'relu',
  Sigmoid: 'sigmoid',
  SiLU: 'silu',
  GELU: 'gelu',
} as const;

/** `activation(x·W + b)`, plus `x` or a projection of it. */
export interface SentenceDense {
  kind: 'dense';
  /** The folder of its weights. */
  path: string;
  from: number;
  to: number;
  bias: boolean;
  activation: (typeof SENTENCE_ACTIVATIONS)[keyof typeof SENTENCE_ACTIVATIONS];
  residual: boolean;
}

/** What follows the states in a sentence-transformer: their poolings, side by side, and steps on the vector. */
export type SentenceStep =
  {kind: 'pooling'; modes: StatePooling[]; width: number} | SentenceDense | {kind: 'normalize'};

/** How a sentence-transformer turns states into vectors, as its folder says. */
export interface SentenceModules {
  steps: SentenceStep[];
  /** The most tokens of a text. */
  maxLength?: number;
}

/** The tensors of the modules `Dense`, by path and name. */
export type SentenceWeights = ReadonlyMap<string, Values>;

/** The tensors of a module `Dense`, in PyTorch's order. */
export function tensorsOf({from, to, bias, residual}: SentenceDense): [name: string, shape: number[]][] {
  return [
    ['linear.weight', [to, from]],
    ...(bias ? ([['linear.bias', [to]]] satisfies [string, number[]][]) : []),
    ...(residual && from !== to ? ([['residual.weight', [to, from]]] satisfies [string, number[]][]) : []),
  ];
}

/** @throws LoRAError unless a pooling comes first, and each module takes what the one before it gives. */
export function checkOrder([first, ...laterSteps]: readonly SentenceStep[]): void {
  if (first?.kind !== 'pooling') {
    throw unsupportedError('modules.json has no Pooling right after the Transformer.');
  }
  let width = first.width * first.modes.length;
  const faults: string[] = [];
  for (const step of laterSteps) {
    if (step.kind === 'pooling') {
      faults.push('modules.json has two modules Pooling.');
    } else if (step.kind === 'dense') {
      if (step.from !== width) {
        faults.push(`${step.path} takes ${step.from} values, but the module before it gives ${width}.`);
      }
      width = step.to;
    }
  }
  throwFaults(faults, 'ERR_DAMAGED');
}

/**
 * The modules in the record of a model, which is untrusted; `undefined` if there are none.
 *
 * @throws LoRAError if the folder's modules could not be read, or the record is damaged.
 */
export function sentenceModulesIn(entry: unknown): SentenceModules | undefined {
  if (entry === undefined) {
    return undefined;
  }
  const {steps, maxLength, fault} = {...(entry as Partial<SentenceModules> & {fault?: unknown})};
  if (typeof fault === 'string') {
    throw unsupportedError(
      `The model's folder says how to make vectors of texts in a way that is not supported: ${fault} Choose ` +
        "a pooling yourself: {pooling: 'mean'}.",
    );
  }
  const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) > 0;
  const isStep = (step: unknown) => {
    const {kind, modes, width, path, from, to, activation} = {...(step as Record<string, unknown> | null)};
    return kind === 'pooling'
      ? Array.isArray(modes) &&
          modes.length > 0 &&
          modes.every(mode => STATE_POOLINGS.includes(mode as StatePooling)) &&
          isCount(width)
      : kind === 'normalize' ||
          (kind === 'dense' &&
            [from, to].every(isCount) &&
            typeof path === 'string' &&
            Object.values(SENTENCE_ACTIVATIONS).includes(activation as never));
  };
  if (!Array.isArray(steps) || !steps.every(isStep) || !(maxLength === undefined || isCount(maxLength))) {
    throw damagedError("The model's record of its sentence-transformer modules is damaged.");
  }
  checkOrder(steps);
  return {steps, ...(maxLength !== undefined && {maxLength})};
}

/** What a record has instead of modules that cannot be used. */
export function faultEntry(error: unknown): {fault: string} {
  if (error instanceof LoRAError && error.code !== 'ERR_ABORTED') {
    return {fault: error.message};
  }
  throw error;
}
