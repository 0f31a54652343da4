/**
 * Builds the page that measures the visitor's own device, and serves it on this machine.
 *
 *     npm run bench -- page
 */
import {fileURLToPath} from 'node:url';
import {serveSource} from '../../examples/shared/serve';

await serveSource(fileURLToPath(new URL('vite.config.ts', import.meta.url)));
