import type {Family} from './families';

/** The row of the hub's tensor for a row of a GGUF tensor, if there are `count`. */
export type RowOrder = (row: number, count: number) => number;

/** The row of the hub's tensor for each row of a GGUF tensor. */
export function rowsInOrder(order: RowOrder, rows: number): Int32Array {
  return Int32Array.from({length: rows}, (_, row) => order(row, rows));
}

/** The order of a tensor's rows in a family; `undefined` if it is that of the hub. */
export function rowOrder(
  {rows}: Family,
  tensor: string,
  config: Readonly<Record<string, unknown>>,
): RowOrder | undefined {
  const [, kind] = /^blk\.\d+\.attn_(q|k|qkv)\./.exec(tensor) ?? [];
  const heads = Number(config.num_attention_heads);
  if (rows === 'parts' && kind === 'qkv') {
    return (row, count) => headRow(row, count, heads);
  }
  if (rows !== 'pairs' || kind === undefined || kind === 'qkv') {
    return undefined;
  }
  const headCount = kind === 'q' ? heads : Number(config.num_key_value_heads ?? heads);
  return (row, count) => pairRow(row, count, headCount);
}

/**
 * GGUF files of Llama keep the two rows of a rotated pair next to each other; the hub has all first rows before all
 * second ones.
 */
function pairRow(row: number, rows: number, heads: number): number {
  const size = rows / heads;
  const [head, inHead] = [Math.floor(row / size), row % size];
  return head * size + (inHead % 2) * (size / 2) + Math.floor(inHead / 2);
}

/** GGUF files of GPT-NeoX have all queries, then all keys, then all values; the hub has them head by head. */
function headRow(row: number, rows: number, heads: number): number {
  const size = rows / heads / 3;
  const [projection, head, inHead] = [Math.floor(row / (heads * size)), Math.floor(row / size) % heads, row % size];
  return (head * 3 + projection) * size + inHead;
}
