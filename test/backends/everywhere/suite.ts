import * as tf from '@tensorflow/tfjs';
import {type Case, type Outcome, use} from './case';
import {graphCases} from './graphCases';
import {blockCases} from './blockCases';
import {casesOf, type Range} from './kindCases';
import {kerasCases} from './kerasCases';
import {KINDS, METHOD_KINDS} from './kinds';
import {landmarkCases} from './landmarkCases';
import {modelCases, orderCases} from './modelCases';
import {onnxCases} from './onnxCases';
import {programCases} from './programCases';
import {quantizedCases} from './quantizedCases';
import {soundCases} from './soundCases';
import {trainingCases} from './trainingCases';
import type {Place} from './start';
import {transformerCases} from './transformerCases';

/** A kind with a product, one with a convolution and one with a look-up. The operations of the others are these. */
const FORMS = /^(?:Dense|Conv2D|Embedding)$/;
/** Those, and two kinds whose convolutions are of other operations. Kinds with a state repeat those of Dense. */
const EACH_OPERATION = /^(?:Dense|Conv2D|Embedding|DepthwiseConv2D|Conv3D)$/;
/** Principal components are taken of matrices, whatever the kind of layer that these are of. */
const isRepeated = ({kind = '', behaviour}: Case) => behaviour.startsWith('pissa:') && !kind.startsWith('Dense');
/**
 * Shapes and combinations that are other programs with floats of 32 bits. With 16 they are the same ones again: sums,
 * masks, biases and angles, in which these round, are in the other cases.
 */
const OTHER_SHAPES = new RegExp(
  '^Attention.*(?:both sides|more queries|long heads|one place|some of the numbers|far below)' +
    '|^Attention, causal|^Attention of one position|^Attention of even lengths, packed|in a window' +
    '|bias for each example|of each head|^queries and values|of high rank',
);
/** What depends on the operations of a kind alone. The rest is the same for all kinds whose operations are there. */
const OF_OPERATIONS = /changes nothing|of the cpu backend/;

/** What depends on the backend, of each method. `test/core/methods/everyKind.slow.test.ts` tests the rest on wasm. */
const methodCases = METHOD_KINDS.flatMap(kind =>
  casesOf(kind).filter(({behaviour}) =>
    /changes nothing|of the cpu backend|of the stock layer|merged model/.test(behaviour),
  ),
);

const ofKinds = (cases: readonly Case[], kinds: RegExp) => cases.filter(({kind = ''}) => kinds.test(kind));

/**
 * The cases of layers that are for a backend. All kinds with all methods and activations take minutes where each
 * operation and shape compiles a shader, and are made of the same operations. What is the same code elsewhere is tried
 * in part: with 16-bit floats these are the same shaders once more, which round otherwise, and in Chromium cpu and wasm
 * are what they are in Node, save for the threads of wasm.
 */
function layerCases(backend: string, precision: Precision, site: Place['site']): Case[] {
  const compiles = backend.startsWith('web');
  const few = precision === 16 || (backend === 'cpu' && site === 'Chromium');
  const rangeOf = (kind: string): Range => {
    const [form, other]: [Range, Range] =
      site === 'Chromium' ? [few ? 'some' : 'every', 'one'] : ['every', backend === 'wasm' ? 'every' : 'some'];
    return FORMS.test(kind) ? form : other;
  };
  const kinds = KINDS.flatMap(kind => casesOf(kind, rangeOf(kind.name)));
  const gradients = methodCases.filter(({behaviour}) => behaviour.includes('gradients'));
  if (precision === 16) {
    return [...ofKinds(kinds, FORMS), ...ofKinds(gradients, /^Dense$/)];
  }
  if (few) {
    return [...ofKinds(kinds, EACH_OPERATION), ...ofKinds(methodCases, FORMS)];
  }
  if (compiles) {
    const isFor = ({kind = '', behaviour}: Case) => EACH_OPERATION.test(kind) || OF_OPERATIONS.test(behaviour);
    const ofWholeKernels = gradients.filter(
      ({kind = '', behaviour}) => behaviour.startsWith('dora:') && !FORMS.test(kind),
    );
    return [...kinds.filter(isFor), ...ofKinds(methodCases, FORMS), ...ofKinds(ofWholeKernels, EACH_OPERATION)];
  }
  if (backend === 'wasm') {
    return site === 'Node' ? kinds : [...kinds, ...ofKinds(methodCases, FORMS)];
  }
  // TensorFlow compiles nothing for a kind, and methods compute with the operations of its kinds.
  return [...kinds, ...(backend === 'tensorflow' ? ofKinds(methodCases, EACH_OPERATION) : methodCases)];
}

/** What is made of operations of tfjs alone, or of programs that other cases run: cells of LSTM and GRU, for instance. */
const isRepeatedOnCards = (one: Case) =>
  isRepeated(one) || /by kto/.test(one.behaviour) || /^(?:RNN|Bidirectional)$/.test(one.kind ?? '');

/**
 * Everything that has to hold on a backend, with the cases that only this place has. What stands around `fit` asks
 * nothing of the size of a float.
 */
export function casesOn(backend: string, precision: Precision, site: Place['site'], own: readonly Case[]): Case[] {
  return [
    ...layerCases(backend, precision, site),
    ...modelCases,
    ...(precision === 16 ? [] : [...trainingCases, ...landmarkCases, ...soundCases]),
    ...programCases,
    ...graphCases,
    ...kerasCases,
    ...onnxCases,
    ...quantizedCases,
    ...[...blockCases, ...transformerCases].filter(({kind = ''}) => precision === 32 || !OTHER_SHAPES.test(kind)),
    ...own,
  ].filter(one => !(backend.startsWith('web') && isRepeatedOnCards(one)));
}

/** What has to hold where the backend was there before the library. */
export const ORDER_CASES: readonly Case[] = orderCases;

/** How many bits the floats of a backend have. */
export type Precision = 16 | 32;

/** Runs cases on a backend, one after the other, and reports each. */
export async function runCases(
  cases: readonly Case[],
  backend: string,
  precision: Precision,
  report: (outcome: Outcome) => unknown,
): Promise<void> {
  for (const one of cases) {
    const {behaviour, kind, halfTolerance = one.tolerance} = one;
    const tolerance = precision === 16 ? halfTolerance : one.tolerance;
    if (tolerance === null) {
      continue;
    }
    const named = {behaviour, ...(kind !== undefined && {kind}), tolerance};
    await use(backend);
    tf.engine().startScope();
    try {
      await report({...named, deviation: await one.run(backend)});
    } catch (error) {
      const {message, stack = ''} = error instanceof Error ? error : new Error(String(error));
      await report({...named, error: `${message}\n${stack}`.slice(0, 600)});
    } finally {
      await use(backend);
      tf.engine().endScope();
    }
  }
}
