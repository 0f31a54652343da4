import * as tf from '@tensorflow/tfjs';
import {misfitError, show} from '../../platform/errors';
import {checksumOf} from '../../platform/formats/checksum';
import {changingVariables} from './snapshot';
import type {SeededDataset} from './seededBatches';

/** Name of data, of an option or of the base → a text that another run must equal to be the same one. */
export type RunIdentity = Readonly<Record<string, string>>;

/** How many examples are read at a time, whatever the size of a batch. */
const EXAMPLES_READ = 64;

/** How many values of a frozen weight are read. */
const VALUES_READ = 256;

/** What examples are: their number, and a checksum of their values. */
export async function identityOfExamples(batches: SeededDataset): Promise<string> {
  const checksums: string[] = [];
  for (let start = 0; start < batches.examples; start += EXAMPLES_READ) {
    const batch = batches.inOrder(start, EXAMPLES_READ);
    checksums.push(await checksumOfTensors(tensorsIn(batch)));
    tf.dispose(batch);
  }
  return `${batches.examples} examples (${checksumOf(checksums.join())})`;
}

/** What the weights of a model are that do not train: a checksum of their shapes and some values of each. */
export async function identityOfBase(model: tf.LayersModel): Promise<string> {
  const changing = new Set(changingVariables(model).values());
  const samples = model.weights
    .filter(weight => !changing.has(weight))
    .map(weight =>
      tf.tidy(() => {
        const flat = tf.reshape(weight.read(), [-1]);
        return tf.stridedSlice(flat, [0], [flat.size], [Math.max(1, Math.floor(flat.size / VALUES_READ))]);
      }),
    );
  const checksum = await checksumOfTensors(samples);
  tf.dispose(samples);
  return `${samples.length} weights (${checksum})`;
}

/** @throws LoRAError that names what differs, if a run is not the one that a checkpoint is of. */
export function checkIdentity(identity: RunIdentity, recorded: unknown): void {
  if (typeof recorded !== 'object' || recorded === null) {
    throw misfitError('It was not written by fineTune, so it does not say with which data and options.');
  }
  const before = recorded as Partial<Record<string, unknown>>;
  const differences = Object.entries(identity)
    .filter(([name, value]) => before[name] !== value)
    .map(([name, value]) => {
      const former = before[name];
      return `${name}: ${value}, and ${typeof former === 'string' ? former : show(former)} before`;
    });
  if (differences.length > 0) {
    throw misfitError(`It is of another run. ${differences.join('; ')}.`);
  }
}

function tensorsIn(container: tf.TensorContainer): tf.Tensor[] {
  return container instanceof tf.Tensor ? [container] : Object.values(container as object).flatMap(tensorsIn);
}

async function checksumOfTensors(tensors: readonly tf.Tensor[]): Promise<string> {
  const parts: (string | ArrayBuffer)[] = [];
  for (const tensor of tensors) {
    parts.push(`${tensor.dtype}[${tensor.shape.join()}]`, (await tensor.data<'float32'>()).slice().buffer);
  }
  return checksumOf(...parts);
}
