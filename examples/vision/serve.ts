/**
 * Brings the model where it is not here yet, builds the page, and serves both on this machine.
 *
 *     npm run example -- vision-page
 */
import {fileURLToPath} from 'node:url';
import {dinov2} from '../../scripts/dinov2';
import {servePage} from '../shared/serve';

dinov2();
await servePage(fileURLToPath(new URL('vite.config.ts', import.meta.url)));
