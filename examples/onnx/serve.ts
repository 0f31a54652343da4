/**
 * Downloads the model and onnxruntime-web where they are not here yet, builds the page, and serves it on this machine.
 *
 *     npm run example -- onnx-page
 */
import {fileURLToPath} from 'node:url';
import {servePage} from '../shared/serve';
import {folders} from './files';

folders();
await servePage(fileURLToPath(new URL('vite.config.ts', import.meta.url)));
