import {listed, show, showShape, throwFaults} from '../../../platform/errors';
import type {OpenSafetensors} from '../../../platform/formats/decodeSafetensors';
import {type Architecture, NEW_HEADS, type Purpose} from '../net/architecture';
import type {Expected} from '../net/netSources';

/** Tensors of the hub's files that are not weights: computed tables and masks. */
const COMPUTED =
  /(^|\.)(position_ids|token_type_ids|inv_freq|masked_bias|num_batches_tracked)$|(^|\.)h\.\d+\.attn\.bias$/;
/** Heads and the pooler, which a model may lack: by the first part of their names, without the prefix of the body. */
const OPTIONAL = new Set([
  ...['cls_classifier', 'distillation_classifier', 'pooler', 'cls', 'classifier', 'pre_classifier', 'score'],
  ...['lm_head', 'qa_outputs', 'head', 'decoder', 'vocab_transform', 'vocab_layer_norm', 'vocab_projector'],
  ...['predictions', 'sop_classifier', 'generator_predictions', 'generator_lm_head', 'discriminator_predictions'],
  ...['proj_out', 'projector', 'sequence_summary', 'classification_head', 'lm_predictions', 'mask_predictions'],
  'decode_head',
]);

/** The dtypes of weights in files. */
const FLOATS = ['F32', 'F16', 'BF16'];

export interface Assignment {
  /** The weights of each tensor. A tensor may hold several. */
  weights: ReadonlyMap<string, readonly Expected[]>;
  /** The tensors of heads that the model does not have. */
  leftOut: readonly string[];
  /** Tensors that the class has in PyTorch, but the model does not use, by their current names. */
  uncomputed: ReadonlyMap<string, string>;
}

/** The current names in a file of the body alone, without its prefix. */
export function plainer({prefix, renamed = name => name}: Architecture): (name: string) => string {
  // Old files of BERT have TensorFlow's names for normalization weights.
  const modern = (name: string) =>
    name.replace(/LayerNorm\.gamma$/, 'LayerNorm.weight').replace(/LayerNorm\.beta$/, 'LayerNorm.bias');
  return name => renamed(modern(name.startsWith(`${prefix}.`) ? name.slice(prefix.length + 1) : name));
}

/** Looks up names in the files, with or without the prefix of the body. */
export function namesIn(files: readonly OpenSafetensors[], architecture: Architecture): (name: string) => boolean {
  const plain = plainer(architecture);
  const names = new Set(files.flatMap(({entries}) => entries.map(([name]) => plain(name))));
  return name => names.has(plain(name));
}

/**
 * Compares the tensors in the files with the weights of the model, before anything is made. Names match with and
 * without the prefix of the body, because files of the body alone lack it.
 *
 * @param options `head`; `unprunedWeights`: what a model expects that does not end with an earlier stage.
 * @throws LoRAError with a line for each tensor that is missing, unexpected, duplicated, or of another shape or type.
 */
export function assignTensors(
  files: readonly OpenSafetensors[],
  expected: readonly Expected[],
  architecture: Architecture,
  {head, unprunedWeights = []}: {head: Purpose['head']; unprunedWeights?: readonly Expected[] | undefined},
): Assignment {
  const plain = plainer(architecture);
  const needed = new Map<string, Expected[]>();
  const isPresent = namesIn(files, architecture);
  const leftOut: string[] = [];
  const uncomputed = new Map<string, string>();
  const root = head === 'none' ? '' : `${architecture.prefix}.`;
  const ofWhole = new Set(unprunedWeights.map(({fileName}) => plain(fileName)));
  // The bias that a head would share if it were tied.
  const shared = new Set<string>();
  for (const weight of expected) {
    const {fileName, orElse = fileName} = weight;
    const isOwn = isPresent(fileName);
    const name = plain(isOwn ? fileName : orElse);
    if (isOwn && weight.weight === 'bias' && weight.rowSlice === undefined) {
      shared.add(orElse);
    }
    needed.set(name, [...(needed.get(name) ?? []), isOwn ? {...weight, rowSlice: undefined} : weight]);
  }
  const assigned = new Map<string, Expected[]>();
  const fileOf = new Map<string, string>();
  const faults: string[] = [];
  for (const [name, {shape, dtype}] of files.flatMap(({entries}) => entries)) {
    const weights = needed.get(plain(name));
    if (weights === undefined) {
      const [first = ''] = plain(name).split('.');
      if (shared.has(name) && FLOATS.includes(dtype)) {
        uncomputed.set(name, name);
      } else if (architecture.uncomputed?.test(plain(name)) === true || ofWhole.has(plain(name))) {
        if (FLOATS.includes(dtype) && (head === 'none' || first !== 'pooler')) {
          uncomputed.set(name, root + plain(name));
        }
      } else if (!COMPUTED.test(name) && !OPTIONAL.has(first) && architecture.unused?.test(plain(name)) !== true) {
        faults.push(`${name}: no weight of the model`);
      } else if (OPTIONAL.has(first) && first !== 'pooler') {
        leftOut.push(name);
      }
      continue;
    }
    const other = fileOf.get(plain(name));
    const wanted = shapeInFile((weights as [Expected])[0]);
    if (other !== undefined) {
      faults.push(`${name}: there is ${other} too`);
    } else if (!FLOATS.includes(dtype)) {
      faults.push(`${name}: of type ${dtype}, not F32, F16 or BF16`);
    } else if (shape.length !== wanted.length || shape.some((size, i) => size !== wanted[i])) {
      faults.push(`${name}: shape ${showShape(shape)} in the file, ${showShape(wanted)} by the config`);
    }
    fileOf.set(plain(name), name);
    assigned.set(name, weights);
  }
  for (const [name, [weight]] of needed) {
    if (!fileOf.has(name)) {
      const isHead = OPTIONAL.has(name.split('.')[0] ?? '') ? `; ${bodyAlone(architecture)}` : '';
      faults.push(`${weight?.fileName ?? name}: not in the files${isHead}`);
    }
  }
  throwFaults(faults, 'ERR_MISFIT', "The files do not match the model's config:");
  return {weights: assigned, leftOut, uncomputed};
}

function shapeInFile({shape, rowSlice}: Expected): number[] {
  const [rows = 1, ...rowShape] = shape;
  return rowSlice === undefined ? shape : [rows * rowSlice.of, ...rowShape];
}

/** How to load a model without the head that its files or its config have. */
export function bodyAlone({classes}: Architecture): string {
  const body = Object.keys(classes).find(name => classes[name] === 'none') ?? '';
  const isHeadless = Object.values(classes).every(head => NEW_HEADS[head] === undefined);
  return `{architecture: ${show(body)}} loads only the body${isHeadless ? '' : ', and {labels} adds a new head'}`;
}

/** Warns about tensors of heads that are not loaded, and names the class that has them. */
export function warnOfLeftOut(architecture: Architecture, leftOut: readonly string[], owners: readonly string[]): void {
  if (leftOut.length > 0) {
    const way =
      owners.length > 0
        ? `Load it by its class: {architecture: ${owners.map(show).join(' or ')}}.`
        : `No class of this library uses all of it; ${bodyAlone(architecture)}.`;
    console.warn(`The files have a head that is not loaded: ${listed([...leftOut])}. ${way}`);
  }
}
