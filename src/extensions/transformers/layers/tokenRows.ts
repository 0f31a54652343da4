import * as tf from '@tensorflow/tfjs';
import {unsupportedError} from '../../../platform/errors';
import {isLoRALayer} from '../../../core/layers/loraLayer';
import {timesAlpha, scalingOf} from '../../../core/methods/lora';
import type {Method, Parameters, Strength, UpdateSite} from '../../../core/methods/method';
import {addMethods} from '../../../core/methods/registry';
import {type Factors, updatedKernel} from '../../../core/ops/factors';

/** The parameter of the method. */
export const TOKEN_DELTAS = 'token_deltas';

/**
 * Trains some rows of a token embedding alone: `E' = E + s·A·B`, where row `k` of `B`, `[tokens, width]`, is added to
 * the embedding of token `k`. `A`, `[vocabulary, tokens]`, has a single 1 in each column, follows from the tokens, and
 * is not part of the adapter. In an untied output head, a `Dense`, columns train in the same way, `W' = W + s·Bᵀ·Aᵀ`.
 * (PEFT's `trainable_token_indices`.)
 */
export const tokenRows: Method = {
  name: 'tokens',
  parameterNames: [TOKEN_DELTAS],
  parameters: ({variable, name}, rank) => [
    {
      name: TOKEN_DELTAS,
      shape: [rank, tableShape(variable, name)[1]],
      trains: true,
      initializer: tf.initializers.zeros(),
      neutralAtStart: true,
    },
  ],
  takesTokens: true,
  reachesBorrowers: true,
  rankLimit: ({variable, name}) => tableShape(variable, name)[0],
  refusal: form =>
    form === 'lookUp' || form === 'linear'
      ? undefined
      : 'The layer has no rows of single tokens that could be trained.',
  misfit: ({tokens = []}, {variable, name}) => {
    if (variable.shape.length !== 2) {
      return 'The layer is neither an Embedding nor a Dense, and has no rows of single tokens.';
    }
    const [rows] = tableShape(variable, name);
    const wrong = tokens.find(token => token >= rows);
    return wrong === undefined ? undefined : `The layer has ${rows} rows, and there is none for token ${wrong}.`;
  },
  update: (parameters, strength, site) => ({factors: factorsOf(parameters, strength, site)}),
  merge: (parameters, strength, site) =>
    tf.tidy(() => updatedKernel(site.weight.variable.read(), factorsOf(parameters, strength, site))),
  scale: timesAlpha,
};
addMethods([tokenRows]);

/** `[vocabulary, width]` of the table of an `Embedding`, or of the kernel of a `Dense`, which is transposed. */
function tableShape({shape}: tf.LayerVariable, name: string): [number, number] {
  const [first = 0, second = 0] = shape as number[];
  return isKernel(name) ? [second, first] : [first, second];
}

function isKernel(name: string): boolean {
  return name === 'kernel';
}

function factorsOf(parameters: Parameters, strength: Strength, {weight, prepared}: UpdateSite): Factors {
  const {tokens = []} = strength;
  const [rows] = tableShape(weight.variable, weight.name);
  const transposed = isKernel(weight.name);
  const choose = (): [tf.Tensor] => {
    const oneHot = tf.cast(tf.oneHot(tf.tensor1d([...tokens], 'int32'), rows), 'float32');
    return [transposed ? oneHot : tf.transpose(oneHot)];
  };
  const [chosen] = prepared.get([], choose, strength.tokens);
  const deltas = parameters[TOKEN_DELTAS] as tf.Tensor;
  const scaling = scalingOf(strength);
  return transposed ? {a: tf.transpose(deltas), b: chosen, scaling} : {a: chosen, b: deltas, scaling};
}

/**
 * The update of the rows of a table, as factors of the transposed table with which a tied head computes, `x·(E + A·B)ᵀ
 * = x·Eᵀ + (x·Bᵀ)·Aᵀ`; `undefined` if no single rows train.
 *
 * @param lender the layer that has the table.
 */
export function tiedTokenFactors(lender: tf.layers.Layer | undefined): Factors | undefined {
  if (lender === undefined || !isLoRALayer(lender) || lender.method !== tokenRows) {
    return undefined;
  }
  const [update] = lender.update.forOperations(false);
  const {a, b, scaling} = update?.factors as Factors;
  return {a: tf.transpose(b), b: tf.transpose(a), scaling};
}

/** @throws LoRAError because a tied head has a separate update while rows of its table train. */
export function refuseTwoUpdates(head: tf.layers.Layer): never {
  throw unsupportedError(
    `"${head.name}" computes with a token embedding of which some tokens train, and cannot have another update ` +
      'beside. Exclude it from the targets.',
  );
}
