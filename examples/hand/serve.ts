/**
 * Brings the model where it is not here yet, builds the page, and serves both on this machine.
 *
 *     npm run example -- hand-page
 */
import {fileURLToPath} from 'node:url';
import {servePage} from '../shared/serve';
import {modelFolder} from './files';

modelFolder();
await servePage(fileURLToPath(new URL('vite.config.ts', import.meta.url)));
