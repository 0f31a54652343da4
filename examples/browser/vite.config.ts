import {pageConfig} from '../shared/page/viteConfig';

export default pageConfig(import.meta.url, {
  // Known beforehand, or the development server finds some of them late and loads the page again.
  optimizeDeps: {include: ['@tensorflow/tfjs', '@tensorflow/tfjs-backend-wasm', '@tensorflow/tfjs-backend-webgpu']},
  worker: {
    // All of the library at once, also what it loads when it is needed: the page works offline.
    rollupOptions: {
      output: {
        manualChunks: id => (/\/dist\/[\w-]+\.js$/.test(id) && !id.includes('node_modules') ? 'library' : undefined),
      },
    },
  },
});
