import {samples} from '../shared/emoji';
import {dataModule, pageConfig} from '../shared/page/viteConfig';

export default pageConfig(import.meta.url, {
  // The drawings of the page.
  plugins: [dataModule('samples', () => samples(3, 0, 22))],
  // The base is a module of 3.5 MB, and TensorFlow.js is large.
  build: {chunkSizeWarningLimit: 5000},
});
