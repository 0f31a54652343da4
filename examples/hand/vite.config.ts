import {modelFiles} from '../shared/modelFiles';
import {pageConfig} from '../shared/page/viteConfig';
import {modelFolder} from './files';

export default pageConfig(import.meta.url, {plugins: [modelFiles(modelFolder)]});
