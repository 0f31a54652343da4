import {readFile} from 'node:fs/promises';
import type {BenchCase} from './case';
import {conv} from './conv';
import {mlp} from './mlp';
import {mobilenet} from './mobilenet';
import {superresFrom} from './superres';
import {transformer} from './transformer';

/** The package's `exports` hide the files of the model. */
const UPSCALER = new URL('../../node_modules/@upscalerjs/default-model/models/', import.meta.url);

const superres = superresFrom(async file => Uint8Array.from(await readFile(new URL(file, UPSCALER))));

/** All cases, by the name that the command line knows them under. */
export const CASES = {mlp, conv, mobilenet, superres, transformer} satisfies Record<string, BenchCase>;
export type CaseName = keyof typeof CASES;
export const CASE_NAMES = Object.keys(CASES) as CaseName[];

export function isCaseName(name: string): name is CaseName {
  return Object.hasOwn(CASES, name);
}
