import {fileURLToPath} from 'node:url';
import {defineConfig, type Plugin} from 'vite';
import {entrySources} from '../../scripts/entries';
import {dinov2} from '../../scripts/dinov2';
import {modelFiles} from '../shared/modelFiles';
import {choose, DRAWINGS, KINDS} from './data';

const library = fileURLToPath(new URL('../..', import.meta.url));

/** The emoji of the page, as the module `virtual:emoji`: ten of each kind to train on and four to try. */
const emoji: Plugin = {
  name: 'emoji',
  resolveId: id => (id === 'virtual:emoji' ? '\0emoji' : undefined),
  load: id => {
    const {train, test} = choose({train: 10, test: 4}, 1);
    const at = (drawings: number[]) => drawings.map(i => DRAWINGS[i]!);
    return id === '\0emoji'
      ? `export default ${JSON.stringify({names: KINDS, train: at(train), test: at(test)})}`
      : undefined;
  },
};

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  // The source, since the example splits a model, which no entry exports.
  resolve: {alias: entrySources(library)},
  plugins: [emoji, modelFiles(dinov2)],
  server: {host: '127.0.0.1'},
  preview: {host: '127.0.0.1'},
  worker: {format: 'es'},
  build: {outDir: 'output/site', emptyOutDir: true, chunkSizeWarningLimit: 3000},
});
