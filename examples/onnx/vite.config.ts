import {fileURLToPath} from 'node:url';
import {defineConfig, type Plugin} from 'vite';
import {builtEntries} from '../../scripts/entries';
import {modelFiles} from '../shared/modelFiles';
import {makeLines} from './data';
import {folders} from './files';
import type {Line} from './lines';

/** The lines of the page, as the module `virtual:lines`: some to train on and others to test on, in 8 bits. */
const lines: Plugin = {
  name: 'lines',
  resolveId: id => (id === 'virtual:lines' ? '\0lines' : undefined),
  load: id => {
    const packed = ({ink, ...size}: Line) => {
      const bytes = Uint8Array.from(ink, value => Math.round(255 * value));
      return {...size, ink: Buffer.from(bytes).toString('base64')};
    };
    const {train, test} = makeLines({train: 60, test: 24}, 1);
    return id === '\0lines'
      ? `export default ${JSON.stringify({train: train.map(packed), test: test.map(packed)})}`
      : undefined;
  },
};

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  // As in a project that has installed the library.
  resolve: {alias: builtEntries(fileURLToPath(new URL('../..', import.meta.url)))},
  plugins: [lines, modelFiles(() => folders().model), modelFiles(() => folders().runtime, '/runtime')],
  server: {host: '127.0.0.1'},
  preview: {host: '127.0.0.1'},
  worker: {format: 'es'},
  build: {outDir: 'output/site', emptyOutDir: true, chunkSizeWarningLimit: 3000},
});
