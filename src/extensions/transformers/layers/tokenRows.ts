import * as tf from '@tensorflow/tfjs';
import {unsupportedError} from '../../../platform/errors';
import type {LoRALayer} from '../../../core/layers/loraLayer';
import {wrapperKind} from '../../../core/layers/wrapperLayer';
import {timesAlpha, scalingOf} from '../../../core/methods/lora';
import type {Method, Parameters, Strength, UpdateSite} from '../../../core/methods/method';
import {addMethods} from '../../../core/methods/registry';
import {type Factors, updatedKernel} from '../../../core/ops/factors';

/** The parameter of the method. */
export const TOKEN_DELTAS = 'token_deltas';

/**
 * Trains some rows of a token embedding alone: `E' = E + s·A·B`, where row `k` of `B`, `[tokens, width]`, is added to
 * the embedding of token `k`. `A`, `[vocabulary, tokens]`, has a single 1 in each column, follows from the tokens, and
 * is not part of the adapter. (PEFT's `trainable_token_indices`.)
 */
export const tokenRows: Method = {
  name: 'tokens',
  parameterNames: [TOKEN_DELTAS],
  parameters: ({variable}, rank) => [
    {
      name: TOKEN_DELTAS,
      shape: [rank, variable.shape[1] as number],
      trains: true,
      initializer: tf.initializers.zeros(),
      neutralAtStart: true,
    },
  ],
  reachesBorrowers: true,
  rankLimit: ({variable}) => variable.shape[0] as number,
  refusal: form => (form === 'lookUp' ? undefined : 'is no Embedding, whose rows could be trained.'),
  misfit: ({tokens = []}, {variable: {shape}}) => {
    const wrong = tokens.find(token => token >= (shape[0] as number));
    return wrong === undefined ? undefined : `has ${shape[0]} rows, and there is none for token ${wrong}`;
  },
  update: (parameters, strength, site) => ({factors: factorsOf(parameters, strength, site)}),
  merge: (parameters, strength, site) =>
    tf.tidy(() => updatedKernel(site.weight.variable.read(), factorsOf(parameters, strength, site))),
  scale: timesAlpha,
};
addMethods([tokenRows]);

function factorsOf(parameters: Parameters, strength: Strength, {weight, prepared}: UpdateSite): Factors {
  const {tokens = []} = strength;
  const rows = weight.variable.shape[0] as number;
  const [a] = prepared.get<[tf.Tensor]>([], () => [
    tf.transpose(tf.cast(tf.oneHot(tf.tensor1d([...tokens], 'int32'), rows), 'float32')),
  ]);
  return {a, b: parameters[TOKEN_DELTAS] as tf.Tensor, scaling: scalingOf(strength)};
}

/**
 * The update of the rows of a table, as factors of the transposed table with which a tied head computes, `x·(E + A·B)ᵀ
 * = x·Eᵀ + (x·Bᵀ)·Aᵀ`; `undefined` if no single rows train.
 *
 * @param lender the layer that has the table.
 */
export function tiedTokenFactors(lender: tf.layers.Layer | undefined): Factors | undefined {
  if (lender === undefined || wrapperKind(lender) !== 'lora' || (lender as LoRALayer).method !== tokenRows) {
    return undefined;
  }
  const [update] = (lender as LoRALayer).update.forOperations(false);
  const {a, b, scaling} = update?.factors as Factors;
  return {a: tf.transpose(b), b: tf.transpose(a), scaling};
}

/** @throws LoRAError because a tied head has an update of its own while rows of its table train. */
export function refuseTwoUpdates(head: tf.layers.Layer): never {
  throw unsupportedError(
    `"${head.name}" computes with a token embedding of which some tokens train, and cannot have another update ` +
      'beside. Exclude it from the targets.',
  );
}
