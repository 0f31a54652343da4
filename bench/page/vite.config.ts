import {fileURLToPath} from 'node:url';
import {defineConfig} from 'vite';
import {wasmThreads} from '../../examples/shared/wasmThreads';
import {entrySources} from '../../scripts/entries';

/** What it takes to have threads, as wasm does. */
const headers = {'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp'};

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  // The source, since the trials ask what no entry exports.
  resolve: {alias: entrySources(fileURLToPath(new URL('../..', import.meta.url)))},
  server: {host: '127.0.0.1', headers},
  preview: {host: '127.0.0.1', headers},
  plugins: [wasmThreads()],
  worker: {format: 'es', plugins: () => [wasmThreads()]},
  build: {outDir: 'output/site', emptyOutDir: true, chunkSizeWarningLimit: 5000},
});
