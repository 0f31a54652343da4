/**
 * Brings the encoder where it is not here yet, builds the page, and serves both on this machine.
 *
 *     npm run example -- sentences
 */
import {fileURLToPath} from 'node:url';
import {minilm} from '../../scripts/pretrained';
import {servePage} from '../shared/serve';

await minilm();
await servePage(fileURLToPath(new URL('vite.config.ts', import.meta.url)));
