import {fileURLToPath} from 'node:url';
import {defineConfig} from 'vite';
import {wasmThreads} from '../../examples/shared/wasmThreads';

const source = (name: string) => fileURLToPath(new URL(`../../src/${name}.ts`, import.meta.url));

/** What it takes to have threads, as wasm does. */
const headers = {'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp'};

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  // The source, since the trials ask what no entry exports. The longer names first: an alias takes whatever begins with
  // it.
  resolve: {
    alias: {
      'tfjs-lora/quantized': source('quantized'),
      'tfjs-lora/transformers': source('transformers'),
      'tfjs-lora': source('index'),
    },
  },
  server: {host: '127.0.0.1', headers},
  preview: {host: '127.0.0.1', headers},
  plugins: [wasmThreads()],
  worker: {format: 'es', plugins: () => [wasmThreads()]},
  build: {outDir: 'output/site', emptyOutDir: true, chunkSizeWarningLimit: 5000},
});
