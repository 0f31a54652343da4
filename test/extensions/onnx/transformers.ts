import {readFileSync} from 'node:fs';

/** A transformer that PyTorch exported, and what it gives (`test/python/make_onnx_transformers.py`). */
interface ExportedTransformer {
  name: string;
  config: Record<string, unknown>;
  file: Uint8Array;
  ids: number[][];
  shape: number[];
  values: number[];
}

const STORED = JSON.parse(readFileSync(`${process.cwd()}/test/fixtures/onnx/transformers.json`, 'utf8')) as (Omit<
  ExportedTransformer,
  'file'
> & {file: string})[];

export const TRANSFORMERS: ExportedTransformer[] = STORED.map(({file, ...rest}) => ({
  ...rest,
  file: Uint8Array.from(atob(file), character => character.charCodeAt(0)),
}));
