import {readFileSync} from 'node:fs';
import {Agent} from 'node:https';
import {fileURLToPath} from 'node:url';
import {defineConfig, type Plugin} from 'vite';
import {builtEntries} from '../../scripts/entries';
import type {Digits} from '../shared/digits';
import {modelFiles} from '../shared/modelFiles';
import {digitsOf, heldOut} from './data';

const {FLOWER_URL, FLOWER_CERTIFICATE} = process.env;

/** Pixels from 0 to 255 in base 64. */
function text({images}: Digits): string {
  return Buffer.from(Uint8Array.from(images.dataSync(), ink => Math.round(255 * ink))).toString('base64');
}

/** The digits of all clients, and 300 that are held out, as the module `virtual:digits`. */
const digits: Plugin = {
  name: 'digits',
  resolveId: id => (id === 'virtual:digits' ? '\0digits' : undefined),
  load: id =>
    id === '\0digits'
      ? `export default ${JSON.stringify({ofClients: text(digitsOf('all', 1)), heldOut: text(heldOut(30))})}`
      : undefined,
};

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  // As in a project that has installed the library.
  resolve: {alias: builtEntries(fileURLToPath(new URL('../..', import.meta.url)))},
  plugins: [digits, modelFiles(() => fileURLToPath(new URL('output/page', import.meta.url)))],
  server: {host: '127.0.0.1'},
  preview: {
    host: '127.0.0.1',
    // The server sends no CORS headers, so that a page reaches it through its own origin.
    proxy: {
      '/flower': {
        target: FLOWER_URL,
        rewrite: path => path.replace(/^\/flower/, ''),
        // A certificate that no authority has signed.
        agent: FLOWER_CERTIFICATE ? new Agent({ca: readFileSync(FLOWER_CERTIFICATE)}) : undefined,
      },
    },
  },
  worker: {format: 'es', plugins: () => [digits]},
  build: {outDir: 'output/site', emptyOutDir: true, chunkSizeWarningLimit: 3000},
});
