import {fileURLToPath} from 'node:url';
import {defineConfig} from 'vite';

const built = (name: string) => fileURLToPath(new URL(`../../dist/${name}.js`, import.meta.url));

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  // As in a project that has installed the library. The longer names first: an alias takes whatever begins with it.
  resolve: {
    alias: {'tfjs-lora/onnx': built('onnx'), 'tfjs-lora/sound': built('sound'), 'tfjs-lora': built('index')},
  },
  server: {host: '127.0.0.1'},
  preview: {host: '127.0.0.1'},
  build: {outDir: 'output/site', emptyOutDir: true, chunkSizeWarningLimit: 3000},
});
