import type {AdapterConfig} from '../adapter/adapter';
import {toTorch, type Values} from '../../platform/formats/layout';
import type {SharedSide} from '../methods/method';
import {sharedParameters} from '../methods/registry';

// A file stores a tensor that several layers share parts of (`Method.shared`) once: `[fan-in, rank]`, of which layers
// have the first rows, or `[rank, out]`, of which they have the first columns. The config of the file says which part
// each tensor is.

/** The shapes of tensors that are parts of another one, which has the last part of their names. */
type Parts = Readonly<Record<string, readonly number[]>>;

/** The contents of a file. */
interface Packed {
  config: AdapterConfig & {parts?: Parts};
  values: Readonly<Record<string, Values>>;
}

/** Joins tensors that are the beginnings of one. Separate random factors of layers stay. */
export function packShared(config: AdapterConfig, values: Readonly<Record<string, Values>>): Packed {
  const packed = {...values};
  const parts: Record<string, readonly number[]> = {};
  for (const [name, side] of sharedParameters()) {
    const sharingKeys = Object.keys(values).filter(key => key.endsWith(`/${name}`));
    const matrices = sharingKeys.map(key => ({key, ...asRows(side, values[key] as Values)}));
    const [first, ...smaller] = [...matrices].sort((one, other) => other.data.length - one.data.length);
    const [, rank] = first?.shape ?? [];
    const alike = smaller.every(({shape, data}) => shape[1] === rank && data.every((x, i) => x === first?.data[i]));
    if (first === undefined || smaller.length === 0 || !alike) {
      continue;
    }
    const {key} = first;
    const largest = values[key] as Values;
    packed[name] = {
      ...largest,
      shape: side === 'rows' ? [first.shape[0], first.shape[1]] : [first.shape[1], first.shape[0]],
    };
    for (const sharingKey of sharingKeys) {
      parts[sharingKey] = (values[sharingKey] as Values).shape;
      Reflect.deleteProperty(packed, sharingKey);
    }
  }
  return Object.keys(parts).length === 0 ? {config, values} : {config: {...config, parts}, values: packed};
}

/** A part with a row for each input or output. */
function asRows(side: SharedSide, {shape, data}: Values): {shape: [number, number]; data: Float32Array} {
  const rank = (side === 'rows' ? shape.at(-1) : shape[0]) ?? 1;
  const rows = data.length / rank;
  return side === 'rows'
    ? {shape: [rows, rank], data}
    : {shape: [rows, rank], data: toTorch({shape: [rank, rows], data}).data};
}
