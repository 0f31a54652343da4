import {faultLines, LoRAError, showShape} from '../errors';
import type {OpenSafetensors} from '../formats/safetensors';
import type {Architecture} from './architecture';
import type {Expected} from './net';

/** Tensors of the hub's files that are no weights: tables that can be computed, and masks. */
const COMPUTED = /(^|\.)(position_ids|token_type_ids|inv_freq|masked_bias)$|(^|\.)h\.\d+\.attn\.bias$/;
/**
 * Heads and the pooler, which a model may do without: by the first part of their names, without the prefix of the body.
 */
const OPTIONAL = new Set([
  ...['pooler', 'cls', 'classifier', 'pre_classifier', 'score', 'lm_head', 'qa_outputs'],
  ...['vocab_transform', 'vocab_layer_norm', 'vocab_projector'],
]);

/** The weights of each tensor in the files. A tensor may be several weights. */
export type Assignment = ReadonlyMap<string, readonly Expected[]>;

/**
 * Compares what the files have with what the model needs, before anything is made. Names count with and without the
 * prefix of the body, which a file of the body alone does not have.
 *
 * @throws LoRAError with a line for each tensor that is missing, surplus, there twice, or of another shape or type.
 */
export function assignTensors(
  files: readonly OpenSafetensors[],
  expected: readonly Expected[],
  {prefix}: Architecture,
): Assignment {
  const plain = (name: string) => modern(name.startsWith(`${prefix}.`) ? name.slice(prefix.length + 1) : name);
  const needed = new Map<string, Expected[]>();
  const present = new Set(files.flatMap(({entries}) => entries.map(([name]) => plain(name))));
  for (const weight of expected) {
    const {fileName, orElse = fileName} = weight;
    const name = plain(present.has(plain(fileName)) ? fileName : orElse);
    needed.set(name, [...(needed.get(name) ?? []), weight]);
  }
  const assigned = new Map<string, Expected[]>();
  const found = new Map<string, string>();
  const faults: string[] = [];
  for (const [name, {shape, dtype}] of files.flatMap(({entries}) => entries)) {
    const weights = needed.get(plain(name));
    if (weights === undefined) {
      const [first = ''] = plain(name).split('.');
      if (!COMPUTED.test(name) && !OPTIONAL.has(first)) {
        faults.push(`${name}: no weight of the model`);
      }
      continue;
    }
    const other = found.get(plain(name));
    const [{shape: wanted}] = weights as [Expected];
    if (other !== undefined) {
      faults.push(`${name}: there is ${other} too`);
    } else if (!['F32', 'F16', 'BF16'].includes(dtype)) {
      faults.push(`${name}: of type ${dtype}, not F32, F16 or BF16`);
    } else if (shape.length !== wanted.length || shape.some((size, i) => size !== wanted[i])) {
      faults.push(`${name}: shape ${showShape(shape)} in the file, ${showShape(wanted)} by the config`);
    }
    found.set(plain(name), name);
    assigned.set(name, weights);
  }
  for (const [name, [weight]] of needed) {
    if (!found.has(name)) {
      const isHead = OPTIONAL.has(name.split('.')[0] ?? '') ? '; a new head for classes is made with {labels}' : '';
      faults.push(`${weight?.fileName ?? name}: not in the files${isHead}`);
    }
  }
  if (faults.length > 0) {
    throw new LoRAError(`The files do not fit the model's config:\n${faultLines(faults)}`);
  }
  return assigned;
}

/** Old files of BERT have TensorFlow's names for the weights of normalizations. */
function modern(name: string): string {
  return name.replace(/LayerNorm\.gamma$/, 'LayerNorm.weight').replace(/LayerNorm\.beta$/, 'LayerNorm.bias');
}
