import {fileURLToPath} from 'node:url';
import {defineConfig} from 'vite';
import {builtEntries} from '../../scripts/entries';

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './', // the built page works in any folder
  // As in a project that has installed the library.
  resolve: {alias: builtEntries(fileURLToPath(new URL('../..', import.meta.url)))},
  // Known beforehand, or the development server finds some of them late and loads the page again.
  optimizeDeps: {
    include: ['@tensorflow/tfjs', '@tensorflow/tfjs-backend-wasm', '@tensorflow/tfjs-backend-webgpu'],
  },
  server: {host: '127.0.0.1'},
  preview: {host: '127.0.0.1'},
  worker: {
    format: 'es',
    // All of the library at once, also what it loads when it is needed: the page works offline.
    rollupOptions: {
      output: {
        manualChunks: id => (/\/dist\/[\w-]+\.js$/.test(id) && !id.includes('node_modules') ? 'library' : undefined),
      },
    },
  },
  build: {
    outDir: 'output/site',
    emptyOutDir: true,
    // TensorFlow.js is large; that is known.
    chunkSizeWarningLimit: 3000,
  },
});
