import {readFileSync} from 'node:fs';
import {Agent} from 'node:https';
import {fileURLToPath} from 'node:url';
import type {Digits} from '../shared/digits';
import {modelFiles} from '../shared/modelFiles';
import {dataModule, pageConfig} from '../shared/page/viteConfig';
import {digitsOf, heldOut} from './data';

const {FLOWER_URL, FLOWER_CERTIFICATE} = process.env;

/** Pixels from 0 to 255 in base 64. */
function text({images}: Digits): string {
  return Buffer.from(Uint8Array.from(images.dataSync(), ink => Math.round(255 * ink))).toString('base64');
}

const digits = dataModule('digits', () => ({ofClients: text(digitsOf('all', 1)), heldOut: text(heldOut(30))}));

export default pageConfig(import.meta.url, {
  plugins: [modelFiles(() => fileURLToPath(new URL('output/page', import.meta.url)))],
  preview: {
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
  worker: {plugins: () => [digits]},
});
