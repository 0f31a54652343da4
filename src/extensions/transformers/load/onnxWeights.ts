import {unsupportedError} from '../../../platform/errors';
import {ByteReader, concatenate} from '../../../platform/formats/byteReader';
import {explained} from '../../../platform/formats/explained';
import {sizeOf, transpose} from '../../../platform/formats/layout';
import {type OpenSafetensors, openSafetensors} from '../../../platform/formats/decodeSafetensors';
import type {NamedTensor} from '../../onnx/import/namedTensors';
import type {Architecture} from '../net/architecture';
import type {Expected} from '../net/netSources';
import {plainer} from './fileTensors';

/** Tensors of a file of weights. */
export interface OpenWeights extends OpenSafetensors {
  /** Matrices that the file has in blocks of integers, by their names. `read` gives no values for them. */
  blocks?: ReadonlyMap<string, PackedMatrix>;
}

/** A matrix in blocks, and its values. */
interface PackedMatrix {
  format: 'Q4_0' | 'Q8_0';
  bytes: number;
  words: () => Int32Array;
  values: () => Float32Array;
}

/** Enough bytes to tell the format of a file. */
const FIRST = 64;

/** What a file of weights is opened for. */
interface Opening {
  architecture: Architecture;
  expected: () => readonly Expected[];
  /** Reads a file next to this one. */
  beside: (name: string) => Promise<Uint8Array>;
}

/** Opens a file of weights: safetensors, or ONNX, whose tensors get the names that they have on the hub. */
export async function openWeights(reader: ByteReader, opening: Opening): Promise<OpenWeights> {
  const start: Uint8Array[] = [];
  for (let count = 0; count < FIRST && (await reader.hasMore()); count += start.at(-1)?.length ?? 0) {
    start.push((await reader.some(FIRST - count)) as Uint8Array);
  }
  const first = concatenate(start);
  try {
    return await openFormat(reader, first, opening);
  } catch (error) {
    throw await explained(error, first, first[0] === 8 ? 'an ONNX file' : 'a safetensors file');
  }
}

async function openFormat(
  reader: ByteReader,
  first: Uint8Array,
  {architecture, expected, beside}: Opening,
): Promise<OpenWeights> {
  // The version of ONNX, where the header of safetensors has its length; after that, safetensors has a brace.
  if (first[0] !== 8 || first[8] === 0x7b) {
    let isTaken = false;
    const next = async () => {
      const bytes = isTaken ? await reader.some(Infinity) : first;
      isTaken = true;
      return bytes;
    };
    return openSafetensors(new ByteReader({next, size: reader.size, cancel: reason => reader.cancel(reason)}));
  }
  const parts: Uint8Array[] = [first];
  for (let bytes = await reader.some(Infinity); bytes !== undefined; bytes = await reader.some(Infinity)) {
    parts.push(bytes);
  }
  const {readOnnx} = await import('../../onnx/file/readOnnx');
  const {namedTensors} = await import('../../onnx/import/namedTensors');
  const {supplyExternal} = await import('../../onnx/file/supplyExternal');
  const {withHubNames} = await import('../../onnx/adapt/builderNames');
  const model = readOnnx(concatenate(parts));
  const isGemma = Object.keys(architecture.classes).some(name => name.startsWith('Gemma'));
  if (isGemma && model.graph.nodes.some(({op}) => /^(?:Skip)?SimplifiedLayerNormalization$/.test(op))) {
    throw unsupportedError(
      'The ONNX file of a Gemma has normalization weights to which 1 is added, as the model builder writes them. Load ' +
        'the safetensors files, or a file of optimum.',
    );
  }
  await supplyExternal(model, beside);
  const plain = plainer(architecture);
  const wanted = new Map(
    expected().flatMap(weight =>
      [weight.fileName, weight.orElse ?? weight.fileName].map(name => [plain(name), weight]),
    ),
  );
  const tensors = withHubNames(namedTensors(model), name => wanted.get(plain(name))?.shape[0]);
  const names = hubNames(tensors, name => wanted.has(plain(name)));
  let end = 0;
  let inexact = 0;
  const entries: OpenSafetensors['entries'] = [];
  const read: (() => Float32Array | null)[] = [];
  const blocks = new Map<string, PackedMatrix>();
  tensors.forEach(({shape, values, isFactor, blocks: blocksOf}, raw) => {
    const name = names.get(raw);
    if (name === undefined) {
      return;
    }
    const weight = wanted.get(plain(name));
    // GPT-2 has matrices that are factors on the hub, too.
    const isTransposed = isFactor === true && !(weight !== undefined && weight.axes === undefined);
    const begin = end;
    end += 4 * sizeOf(shape);
    entries.push([name, {dtype: 'F32', shape: isTransposed ? [...shape].reverse() : [...shape], begin, end}]);
    const inBlocks = blocksOf?.();
    inexact += Number(blocksOf !== undefined && inBlocks === undefined);
    if (inBlocks !== undefined) {
      blocks.set(name, {...inBlocks, values});
      read.push(() => null);
      return;
    }
    read.push(() => (isTransposed ? transpose({shape, data: values()}, [1, 0]).data : values()));
  });
  if (inexact > 0) {
    console.warn(
      `${inexact} matrices of the ONNX file are loaded as float32: their blocks have zero points, or scales that ` +
        'float16 does not hold. Files that compute in float16, such as model_q4f16.onnx, stay in blocks.',
    );
  }
  return {
    entries,
    ...(blocks.size > 0 && {blocks}),
    read: async visit => {
      for (const [i, [name, entry]] of entries.entries()) {
        await visit(name, entry, (read[i] as () => Float32Array | null)());
      }
    },
  };
}

/** Longer names belong to no module. Looking for modules in them would take long. */
const LONGEST_NAME = 500;

/**
 * Names without a prefix before those of the model, as in `model.0.auto_model.encoder…`. Constants that belong to no
 * module are left out.
 */
function hubNames(tensors: ReadonlyMap<string, NamedTensor>, isWanted: (name: string) => boolean): Map<string, string> {
  const names = new Map<string, string>();
  const prefixes = new Set(['']);
  for (const name of tensors.keys()) {
    const parts = name.length > LONGEST_NAME ? [] : name.split('.');
    const at = parts.findIndex((_, i) => isWanted(parts.slice(i).join('.')));
    if (at >= 0) {
      names.set(name, parts.slice(at).join('.'));
      prefixes.add(
        parts
          .slice(0, at)
          .map(module => `${module}.`)
          .join(''),
      );
    }
  }
  for (const [name, {isUnplaced}] of tensors) {
    if (!names.has(name) && (isUnplaced === true || /\.(?:weight|bias)$/.test(name))) {
      let length = name.length > LONGEST_NAME ? 0 : name.length;
      while (!prefixes.has(name.slice(0, length))) {
        length = length < 2 ? 0 : name.lastIndexOf('.', length - 2) + 1;
      }
      names.set(name, name.slice(length));
    }
  }
  return names;
}
