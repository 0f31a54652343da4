import group from '../../node_modules/@upscalerjs/default-model/models/group1-shard1of1.bin?url';
import model from '../../node_modules/@upscalerjs/default-model/models/model.json?url';
import type {BenchCase} from '../cases/case';
import {conv} from '../cases/conv';
import {mlp} from '../cases/mlp';
import {mobilenet} from '../cases/mobilenet';
import {superresFrom} from '../cases/superres';
import {transformer} from '../cases/transformer';
import type {CaseName} from './protocol';

const UPSCALER: Readonly<Record<string, string>> = {'model.json': model, 'group1-shard1of1.bin': group};

const superres = superresFrom(async file => {
  const response = await fetch(UPSCALER[file]!);
  return new Uint8Array(await response.arrayBuffer());
});

/** The cases, as a page has them. Nothing here loads the library. */
export const CASES: Readonly<Record<CaseName, BenchCase>> = {mlp, conv, mobilenet, superres, transformer};
