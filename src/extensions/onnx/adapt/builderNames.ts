import type {NamedTensor} from '../import/namedTensors';
import {asModule, JOINED} from './moduleNames';

/**
 * Tensors under the names of the hub, where onnxruntime-genai's model builder gave them others: joined q, k and v, or
 * gate and up, are split.
 *
 * @param rowsOf the rows of a tensor that is needed, by its name on the hub; `undefined` for other names.
 */
export function withHubNames(
  tensors: ReadonlyMap<string, NamedTensor>,
  rowsOf: (name: string) => number | undefined,
): Map<string, NamedTensor> {
  const named = new Map<string, NamedTensor>();
  for (const [name, tensor] of tensors) {
    const other = hubName(name);
    if (rowsOf(name) !== undefined || other === name) {
      named.set(name, tensor);
      continue;
    }
    const [, root = '', leaf = '', end = ''] = /^(.*\.)(\w+)(\.\w+)$/.exec(other) ?? [];
    const modules = Object.hasOwn(JOINED, leaf) ? (JOINED[leaf] as readonly string[]) : [];
    const split = modules.map(module => `${root}${module}${end}`);
    const rows = split.map(rowsOf);
    if (rowsOf(other) !== undefined || rows.length === 0 || rows.includes(undefined)) {
      named.set(other, tensor);
      continue;
    }
    let from = 0;
    split.forEach((splitName, i) => {
      const to = from + (rows[i] ?? 0);
      named.set(splitName, rowsIn(tensor, from, to));
      from = to;
    });
  }
  return named;
}

function hubName(name: string): string {
  return asModule(name)
    .replace(/\.attn\.(?=[qk]_norm\.)/, '.self_attn.')
    .replace(/layers\.\d+\.final_norm_layernorm\./, 'norm.')
    .replace(/\.(?:MatMul|Add|layernorm)\.(weight|bias)$/, '.$1');
}

/** Some outputs of a matrix, or of its bias. */
function rowsIn({shape, values, blocks, ...tensor}: NamedTensor, from: number, to: number): NamedTensor {
  const [height = 1, width = 1] = shape;
  if (tensor.isFactor === true && shape.length === 2) {
    return {
      ...tensor,
      shape: [height, to - from],
      values: () => {
        const all = values();
        const columns = to - from;
        return Float32Array.from({length: height * columns}, (_, i) => {
          return all[Math.floor(i / columns) * width + from + (i % columns)] ?? 0;
        });
      },
    };
  }
  return {
    ...tensor,
    shape: [to - from, ...shape.slice(1)],
    values: () => values().slice(from * width, to * width),
    ...(blocks && {blocks: () => blockRows(blocks(), {from, to, rows: height})}),
  };
}

type Blocks = ReturnType<NonNullable<NamedTensor['blocks']>>;

function blockRows(blocks: Blocks, {from, to, rows}: Record<'from' | 'to' | 'rows', number>): Blocks {
  return (
    blocks && {
      ...blocks,
      bytes: ((to - from) * blocks.bytes) / rows,
      words: () => {
        const row = blocks.bytes / rows;
        const bytes = new Uint8Array(blocks.words().buffer, from * row, (to - from) * row);
        const words = new Int32Array(Math.ceil(bytes.length / 4));
        new Uint8Array(words.buffer).set(bytes);
        return words;
      },
    }
  );
}
