import {fileHandler} from './node/fileHandler';
import {readPEFTFolder, writePEFTFolder} from './node/peftFolder';
import {fallbackHandlers} from './storage/storage';

// tfjs has no handler for file:// unless tfjs-node brings one. Registering a router would leave two beside it.
fallbackHandlers.set('file:', fileHandler);

// The front door in Node: that of the browser, and files. These are few names more, not another list of names to keep in step.
export * from './index';
export {fileHandler, readPEFTFolder, writePEFTFolder};
