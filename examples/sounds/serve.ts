/**
 * Builds the page and serves it on this machine.
 *
 *     npm run example -- sounds-page
 */
import {fileURLToPath} from 'node:url';
import {servePage} from '../shared/serve';

await servePage(fileURLToPath(new URL('vite.config.ts', import.meta.url)));
