import {fileURLToPath} from 'node:url';
import {defineConfig} from 'vite';
import {modelFiles} from '../shared/modelFiles';
import {modelFolder} from './files';

const built = (name: string) => fileURLToPath(new URL(`../../dist/${name}.js`, import.meta.url));

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  // As in a project that has installed the library. The longer names first: an alias takes whatever begins with it.
  resolve: {
    alias: {
      'tfjs-lora/graph': built('graph'),
      'tfjs-lora/landmarks': built('landmarks'),
      'tfjs-lora': built('index'),
    },
  },
  plugins: [modelFiles(modelFolder)],
  server: {host: '127.0.0.1'},
  preview: {host: '127.0.0.1'},
  worker: {format: 'es'},
  build: {outDir: 'output/site', emptyOutDir: true, chunkSizeWarningLimit: 3000},
});
