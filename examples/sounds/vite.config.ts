import {pageConfig} from '../shared/page/viteConfig';

export default pageConfig(import.meta.url);
