import {fileURLToPath} from 'node:url';
import {defineConfig, type Plugin} from 'vite';
import {builtEntries} from '../../scripts/entries';
import {samples} from '../shared/emoji';

/** The drawings of the page, as the module `virtual:samples`: three kinds, ten each to train on and four to try. */
const drawings: Plugin = {
  name: 'samples',
  resolveId: id => (id === 'virtual:samples' ? '\0samples' : undefined),
  load: id => (id === '\0samples' ? `export default ${JSON.stringify(samples(3, 0, 14))}` : undefined),
};

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  // As in a project that has installed the library.
  resolve: {alias: builtEntries(fileURLToPath(new URL('../..', import.meta.url)))},
  plugins: [drawings],
  server: {host: '127.0.0.1'},
  preview: {host: '127.0.0.1'},
  // The base is a module of 3.5 MB, and TensorFlow.js is large.
  build: {outDir: 'output/site', emptyOutDir: true, chunkSizeWarningLimit: 5000},
});
