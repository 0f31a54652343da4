export {files, url} from './language';
