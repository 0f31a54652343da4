/**
 * Downloads the language model unless it is in the cache, builds the page, and serves both on this machine.
 *
 *     npm run example -- language-page
 */
import {fileURLToPath} from 'node:url';
import {smollm2} from '../../scripts/pretrained';
import {servePage} from '../shared/serve';

smollm2();
await servePage(fileURLToPath(new URL('vite.config.ts', import.meta.url)));
