import {smollm2} from '../../scripts/pretrained';
import {modelFiles} from '../shared/modelFiles';
import {pageConfig} from '../shared/page/viteConfig';

export default pageConfig(import.meta.url, {plugins: [modelFiles(smollm2)]});
