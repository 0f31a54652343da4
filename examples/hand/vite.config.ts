import {fileURLToPath} from 'node:url';
import {defineConfig} from 'vite';
import {builtEntries} from '../../scripts/entries';
import {modelFiles} from '../shared/modelFiles';
import {modelFolder} from './files';

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  // As in a project that has installed the library.
  resolve: {alias: builtEntries(fileURLToPath(new URL('../..', import.meta.url)))},
  plugins: [modelFiles(modelFolder)],
  server: {host: '127.0.0.1'},
  preview: {host: '127.0.0.1'},
  worker: {format: 'es'},
  build: {outDir: 'output/site', emptyOutDir: true, chunkSizeWarningLimit: 3000},
});
