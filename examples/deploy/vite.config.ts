import {join} from 'node:path';
import {modelFiles} from '../shared/modelFiles';
import {pageConfig} from '../shared/page/viteConfig';
import {OUTPUT, runtime, transformersJs} from './files';

export default pageConfig(import.meta.url, {
  plugins: [
    modelFiles(() => OUTPUT),
    modelFiles(() => join(OUTPUT, 'onnx'), '/model/onnx'),
    modelFiles(transformersJs, '/transformers'),
    modelFiles(runtime, '/runtime'),
  ],
});
