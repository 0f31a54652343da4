/**
 * Downloads what a page needs where it is not here yet, builds the page, and serves it on this machine.
 *
 *     npm run example -- vision-page
 */
import {existsSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {dinov2} from '../../../scripts/dinov2';
import {minilm, smollm2} from '../../../scripts/pretrained';
import {OUTPUT} from '../../deploy/files';
import {servePage} from '../serve';

/** What pages load beside their own files. */
const MODELS: Readonly<Record<string, () => unknown>> = {
  deploy: () => existsSync(join(OUTPUT, 'adapters.json')) || import('../../deploy/train'),
  language: smollm2,
  rewards: smollm2,
  sentences: minilm,
  vision: dinov2,
};

const name = process.argv[2]!;
await MODELS[name]?.();
await servePage(fileURLToPath(new URL(`../../${name}/vite.config.ts`, import.meta.url)));
